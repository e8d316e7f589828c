"""Conditions of an object's status. May import: nothing of ours. Pure.

In: a verdict, and the conditions that stand there.  Out: those that are to stand there. After kstatus
(kubernetes-sigs/cli-utils): Ready always, Reconciling and Stalled only while they are True. A condition's time moves
only with its status, so what did not change is not written.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"
LONGEST: Final = 1500  # of a message: a status stays a summary, and the log has the rest

# Reasons; the first ones are those of other GitOps reconcilers.
SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"
PROGRESSING: Final = "Progressing"
RETRYING: Final = "ProgressingWithRetry"
SUSPENDED: Final = "Suspended"
DEPENDENCY: Final = "DependencyNotReady"
BUILD_FAILED: Final = "BuildFailed"
UNHEALTHY: Final = "HealthCheckFailed"
CONFLICT: Final = "Conflict"
DRIFT_REPORTED: Final = "DriftReported"
NOT_FROM_GIT: Final = "NotFromGit"
PLAN_HELD: Final = "PlanHeld"
ROLLED_BACK: Final = "RolledBack"
REJECTED: Final = "Rejected"
APPLIED: Final = "Applied"


class Verdict(NamedTuple):
    """What is so. ready: True, False or Unknown.  going: it is being worked on.  stuck: it waits for a person."""

    ready: str
    reason: str
    message: str
    going: bool = False
    stuck: bool = False


def conditions(
    verdict: Verdict,
    generation: int,
    before: Iterable[Mapping[str, Any]],
    now: str,
    beside: Mapping[str, Verdict] = {},
) -> list[dict[str, Any]]:
    """The conditions of a verdict. before: those that stand there.  now: RFC 3339, whole seconds.

    beside: what further stages say, by type.
    """
    stood = {one.get("type"): one for one in before}
    said = {"Ready": verdict} | ({"Reconciling": verdict._replace(ready=TRUE)} if verdict.going else {})
    said |= {"Stalled": verdict._replace(ready=TRUE)} if verdict.stuck else {}
    found = []
    for type_, (status, reason, message, *_) in (said | dict(beside)).items():
        there = stood.get(type_, {})
        since = there.get("lastTransitionTime") if there.get("status") == status else None
        found.append(
            {
                "type": type_,
                "status": status,
                "reason": reason,
                "message": message if len(message) <= LONGEST else f"{message[: LONGEST - 1]}…",
                "lastTransitionTime": since or now,
                "observedGeneration": generation,
            }
        )
    return found
