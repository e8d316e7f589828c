"""Sums over edges: of one order, and of many together. May import: history. Pure.

In: State and keys.  Out: verdicts and counts, to published.py. A count costs its members, and is made where one of them
changed.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, Final

from reconciler.history import conditions as said
from reconciler.history.conditions import Verdict
from reconciler.history.keys import DECLARE, DELIVER, Key
from reconciler.history.state import FAILED, EdgeSeen, Served, State
from reconciler.history.times import shown
from reconciler.model.identity import SERVICE

MOST_VERSIONS: Final = 50
NAMED: Final = 3  # failures that are told by name


def delivery(served: Served, edge: str, heard: EdgeSeen | None) -> Verdict:
    """What an edge said of an order."""
    version = served.order.get("version", "")
    log = f" (log entry {served.phase_seq})"
    code = f"{served.code}: " if served.code else ""
    if heard is None or not heard.present:
        since = (
            f"unknown since {shown(heard.since)} (last event {heard.last_sequence})" if heard else "it was never heard"
        )
        return Verdict(said.UNKNOWN, said.DEPENDENCY, f"edge {edge}: {since}")
    if served.phase in FAILED:
        reason = said.ROLLED_BACK if served.phase == "RolledBack" else said.REJECTED
        serving = served.live.get("version")
        stays = f"; version {serving} keeps serving" if serving else ""
        what = "went back from" if reason == said.ROLLED_BACK else "refused"
        message = f"edge {edge} {what} version {version}: {code}{served.message}{stays}{log}"
        return Verdict(said.FALSE, reason, message, stuck=True)
    if served.phase == "Degraded":
        return Verdict(said.FALSE, said.UNHEALTHY, f"edge {edge}: {served.message}{log}", going=True)
    if served.phase == "Committed" and not served.open:
        return Verdict(said.TRUE, said.SUCCEEDED, f"edge {edge} serves version {version}")
    reason = said.RETRYING if served.code else said.PROGRESSING
    why = f": {code}{served.message}" if served.message else ""
    return Verdict(said.FALSE, reason, f"edge {edge}: version {version} is {served.phase}{why}", going=True)


def members_told(wanted: int, ready: int, failed: int, failures: Iterable[str], what: str) -> Verdict:
    """The verdict on several together."""
    if failed:
        named = list(failures)[:NAMED]
        more = f"; and {failed - len(named)} more" if failed > len(named) else ""
        message = f"{failed} of {wanted} {what} failed: {'; '.join(named)}{more}"
        return Verdict(said.FALSE, said.FAILED, message, stuck=True)
    if ready >= wanted:
        return Verdict(said.TRUE, said.SUCCEEDED, f"{ready} of {wanted} {what} are as wanted")
    return Verdict(said.FALSE, said.PROGRESSING, f"{ready} of {wanted} {what} are as wanted", going=True)


def is_ready(state: State, text: str) -> bool:
    """Whether the edge of this key serves what was ordered."""
    served = state.stage(DELIVER).keys.get(text)
    if served is None or served.open or served.phase != "Committed":
        return False
    heard = state.edges.get(Key.parse(text).edge)
    return heard is not None and heard.present


def set_counts(state: State, members: Collection[str]) -> tuple[dict[str, int], list[str]]:
    """(counts, failures in words) of the objects that a set makes. members: their keys on their edges."""
    counts = dict.fromkeys(("desired", "updated", "ready", "pinned", "failed"), 0)
    failures = []
    objects, given_to = state.stage(DECLARE), state.stage(DELIVER).keys
    for text in sorted(members):
        counts["desired"] += 1
        ordered, given = objects.known(Key.parse(text)._replace(edge="")), given_to.get(text)
        is_failed = given is not None and given.phase in FAILED
        counts["updated"] += bool(ordered.operation) and not ordered.open and ordered.phase == "Committed"
        counts["pinned"] += ordered.reason.startswith("pinned on ")
        counts["ready"] += is_ready(state, text)
        if is_failed or ordered.phase in FAILED:
            counts["failed"] += 1
            failures.append(_failure(text, given if given is not None and is_failed else ordered))
    return counts, failures


def _failure(text: str, served: Served) -> str:
    code = f"{served.code}: " if served.code else ""
    return f"{Key.parse(text).edge or text}: {code}{served.message[:200]}"


def edge_counts(state: State, members: Collection[str]) -> tuple[int, int, list[str]]:
    """(models that an edge is to serve, that it serves, failures in words)."""
    keys = state.stage(DELIVER).keys
    models = sorted(text for text in members if text.startswith(f"{SERVICE}/") and text in keys)
    failed = (text for text in models if keys[text].phase in FAILED)
    serving = sum(is_ready(state, text) for text in models)
    return len(models), serving, [f"{Key.parse(text).name}: {keys[text].message[:200]}" for text in failed]


def model_counts(state: State, members: Collection[str]) -> tuple[int, list[dict[str, Any]]]:
    """(how many edges serve a model, which versions on how many), the most spread first."""
    keys = state.stage(DELIVER).keys
    served = (keys[text].live.get("version") for text in members if text in keys)
    used = Counter(str(version) for version in served if version)
    most = sorted(used.items(), key=lambda one: (-one[1], one[0]))[:MOST_VERSIONS]
    return sum(used.values()), [{"version": version, "edges": count} for version, count in most]


def dataset_counts(state: State, members: Collection[str]) -> tuple[dict[str, int], str, list[str]]:
    """(counts, the version that every edge without a pin has or "", failures in words)."""
    counts = dict.fromkeys(("bytes", "metadata", "ready"), 0)
    versions: set[str] = set()
    failures = []
    keys = state.stage(DELIVER).keys
    for text in sorted(members):
        served = keys.get(text)
        if served is None:
            continue
        counts["metadata" if served.order.get("bytes") is False else "bytes"] += 1
        counts["ready"] += is_ready(state, text)
        if served.phase in FAILED:
            failures.append(_failure(text, served))
        if not served.reason.startswith("pinned on "):
            versions.add(str(served.live.get("version", "")))
    return counts, versions.pop() if len(versions) == 1 else "", failures
