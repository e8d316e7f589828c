"""The events, under their stored names. Imports nothing of ours.

In: whoever performs or observes something.  Out: the log, as bytes; projections, as folds.
Attribute names are CloudEvents 1.0 and its extensions (lower-case letters and digits, at most 20 characters).
A stored name is for ever: explicit, past tense, versioned. A new meaning is a new name.
"""

from datetime import UTC, datetime
from hashlib import sha1
from typing import Any, Final, NamedTuple

import msgspec

NAMESPACE: Final = bytes.fromhex("5b1f0a529b0e5f0e8a4e0c8f3c2a7d11")  # a UUID: our names are made within it

# Git
REF_ADVANCED: Final = "ref.advanced.v1"  # a commit was read: its facts and which files it changed
REF_REWRITTEN: Final = "ref.rewritten.v1"  # the branch no longer contains the last commit
REF_LOST: Final = "ref.lost.v1"  # the branch cannot be read; what was read last stays in force
REF_FOUND: Final = "ref.found.v1"  # it can be read again
MANIFESTS_CHECKED: Final = "manifests.checked.v1"  # the set of problems in force changed (may be empty now)
# Planning and applying
CHANGE_PLANNED: Final = "change.planned.v1"  # a plan was made: counts and digest; its steps are the intents
CHANGE_NARROWED: Final = "change.narrowed.v1"  # so many steps of a plan are not begun any more, and why
CHANGE_APPROVED: Final = "change.approved.v1"  # a person released a held plan by its digest
APPLY_INTENDED: Final = "apply.intended.v1"  # durable before the effect; on the hub it is the order
APPLY_SUCCEEDED: Final = "apply.succeeded.v1"  # the effect is there; data.live is what was observed
APPLY_FAILED: Final = "apply.failed.v1"  # terminal: it will not be tried again with the same content
APPLY_ABANDONED: Final = "apply.abandoned.v1"  # superseded, or settled after a crash as not done
STEPS_WAITING: Final = "steps.waiting.v1"  # which steps wait, and for what, where that changed; "" waits no more
ORDER_EXPLAINED: Final = "order.explained.v1"  # what was ordered is wanted for another reason now; nothing is done
HOLD_PLACED: Final = "hold.placed.v1"  # a digest is not given to an edge until its content changes or it is released
HOLD_LIFTED: Final = "hold.lifted.v1"
RETRY_ASKED: Final = "retry.asked.v1"  # what was refused or waits is ordered once more: a person, or a start, asks it
RECONCILE_SUSPENDED: Final = "reconcile.suspended.v1"
RECONCILE_RESUMED: Final = "reconcile.resumed.v1"
# Kubernetes
APPLY_CONFLICTED: Final = "apply.conflicted.v1"  # a field is another manager's: both are named
DRIFT_DETECTED: Final = "drift.detected.v1"  # somebody else changed what Git declares: who, which fields
DRIFT_RESOLVED: Final = "drift.resolved.v1"  # what was reported is as declared again, and not by us
DRIFT_FOUGHT: Final = "drift.fought.v1"  # one field was taken back too often in a minute: backed off
OBJECT_ADOPTED: Final = "object.adopted.v1"  # an object that this log did not make is kept from now on
OBJECT_GONE: Final = "object.gone.v1"  # it is neither declared nor there any more, and nobody had to delete it
CLUSTER_LOST: Final = "cluster.lost.v1"  # the API server, or one kind of it, cannot be read
CLUSTER_FOUND: Final = "cluster.found.v1"  # it can be read (first time or again)
LEASE_ACQUIRED: Final = "lease.acquired.v1"  # this process alone may write to the cluster
LEASE_LOST: Final = "lease.lost.v1"  # it may not any more
# Edges
EDGE_FOUND: Final = "edge.found.v1"  # the agent answers (first time or again)
EDGE_LOST: Final = "edge.lost.v1"  # the agent's process is gone
LINK_REFUSED: Final = "link.refused.v1"  # another log has a gap, a fork or a broken chain: nothing more of it is copied
LINK_RESTORED: Final = "link.restored.v1"
DOWNLOAD_STARTED: Final = "download.started.v1"
DOWNLOAD_RESUMED: Final = "download.resumed.v1"
DOWNLOAD_FAILED: Final = "download.failed.v1"  # transient: data.retry says when it is tried again
ARTIFACT_VERIFIED: Final = "artifact.verified.v1"
ARTIFACT_STAGED: Final = "artifact.staged.v1"
ARTIFACT_EVICTED: Final = "artifact.evicted.v1"
MODEL_ACTIVATED: Final = "model.activated.v1"  # flipped: the runtime itself answers with this version
MODEL_ROLLEDBACK: Final = "model.rolledback.v1"  # the probe failed: the previous slot serves again
MODEL_DEGRADED: Final = "model.degraded.v1"  # the runtime died or answers another version than ordered
DATASET_SYNCED: Final = "dataset.synced.v1"
STATE_UNSTABLE: Final = "state.unstable.v1"  # a key flips too often; a count a window stands for its events
# The log itself
LOG_GENESIS: Final = "log.genesis.v1"
SEGMENT_SEALED: Final = "segment.sealed.v1"

OUTCOMES: Final = frozenset({APPLY_SUCCEEDED, APPLY_FAILED, APPLY_ABANDONED})


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened. What a writer says, and what its log adds (source, sequence, version, recordedtime).

    id            unique within its source for ever; made by `event_id`, so that a retry names the same event
    partitionkey  the stream; `version` counts within it, from 1
    time          when it happened, by the writer's clock: RFC 3339, UTC, microseconds, `Z`
    recordedtime  when its log stored it; never goes back within one log
    sequence      20 digits; its number among the own events of its log, from 1, without gaps there
    subject       `<Kind>/<namespace>/<name>@<edge>` where it is about an object
    data          JSON without floats and without integers above 2**53; numbers with a fraction are text
    """

    id: str
    type: str
    partitionkey: str
    time: str
    specversion: str = "1.0"
    source: str = ""
    sequence: str = ""
    version: int = 0
    recordedtime: str = ""
    subject: str = ""
    actor: str = ""
    causationid: str = ""
    correlationid: str = ""
    operationid: str = ""
    gitcommit: str = ""
    prevdigest: str = ""
    newdigest: str = ""
    epoch: str = ""
    data: dict[str, Any] = {}


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a copied event comes from: its place in the chain of its reader, so that this can be checked here again."""

    source: str
    position: int
    hash: str
    prev: str


class Entry(NamedTuple):
    """One row of a log: its position here, its hash (32 bytes) here, the event, and for a copied one its origin."""

    seq: int
    hash: bytes
    event: Event
    origin: Origin | None = None


class Head(NamedTuple):
    """The end of a log: last sequence number (0: empty) and its hash (32 zero bytes: empty)."""

    seq: int
    hash: bytes


EMPTY: Final = Head(0, bytes(32))


_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC).timestamp()
_LAST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


def rfc3339(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 text, UTC, with microseconds; what lies outside the years that it can write is
    the first or the last of them.
    """
    return datetime.fromtimestamp(min(max(seconds, _FIRST), _LAST), UTC).isoformat(timespec="microseconds")[:26] + "Z"


def event_id(*parts: str | int) -> str:
    """The id of the event that these parts name, equal on every try (UUID version 5, RFC 9562).

    Written out, as uuid.uuid5 makes an object that is only turned into text; there are several ids an order.
    """
    digest = sha1(NAMESPACE + "\x1f".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
