"""The state, which is what folding a log comes to: live values, by stage. May import: history.keys, history.times.

In: what history.fold tells it, an entry at a time.  Out: State, to planning, the command line and snapshots. It keeps
what is live, never a list that grows with time: the timeline and `why` read the log by index instead.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from reconciler.errors import Retry, retry_of
from reconciler.history.keys import DECLARE, Key
from reconciler.history.times import shown

PINNED: Final = "pinned on "  # how the reason of an order begins whose version a pin chose
FAILED: Final = frozenset({"Rejected", "RolledBack"})  # phases of an order that its edge refused
OWN_STATE: Final = "a second fleet needs a state directory of its own: --state DIR or RECONCILER_STATE"


class Served(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One key: its newest order, and the outcomes and observations since."""

    order: dict[str, Any] = {}  # spec of the newest order; empty after a delete
    before: dict[str, Any] = {}  # spec of the order before, which stands until the newest one has had its effect
    policy: dict[str, Any] = {}
    action: str = ""
    operation: str = ""
    ordered_seq: int = 0
    ordered_id: str = ""
    reason: str = ""  # why it was ordered
    origin: str = ""  # path:line@commit that asked
    open: bool = False
    phase: str = "Desired"
    phase_seq: int = 0
    phase_time: str = ""
    message: str = ""
    code: str = ""
    retry: str = ""  # when what failed is tried again by itself
    tries: int = 0  # failures in a row of what is ordered
    live: dict[str, Any] = {}  # what the edge observed last: version, sha256, url, ...; from the runtime itself
    previous: str = ""  # version served before
    lifted: bool = False  # a person lets or has it tried again: it is ordered once more
    anew: bool = False  # and asked for it, so that bytes are fetched which are said to be unchanged
    own: str = ""  # operation of this log's own open intent
    own_spec: dict[str, Any] = {}
    flips: list[str] = []  # times of the last flips that were recorded one by one
    unstable: str = ""  # when `state.unstable` last stood for further ones
    drift: dict[str, Any] = {}  # what somebody else last made of it, and what was done: fields, writer, policy, time
    fought: str = ""  # until when its contested fields are left alone
    left: bool = False  # the newest order left fields to others, as rules say

    @property
    def is_tried_again(self) -> bool:
        """Whether it failed, and what failed so is tried again by itself, so that somebody may have that now."""
        refused = self.phase in FAILED and retry_of(self.code) is not Retry.CONTENT
        return refused or (self.open and bool(self.code))


class Ref(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The branch that is followed: newest commit read, newest commit accepted, and the files they stand on."""

    commit: str = ""
    accepted: str = ""
    time: str = ""
    author: str = ""
    subject: str = ""
    seq: int = 0
    event: str = ""
    source: dict[str, str] = {}  # what it was read from: repo, branch, path; {} in a log of before this was kept
    switched: dict[str, str] = {}  # the source that was accepted last, until one commit of the new one is
    missing: str = ""  # that the followed folder is gone, until a plan that says so is approved
    rewritten_from: str = ""
    reverts: bool = False  # every commit read since the accepted one brings earlier files back
    lost: str = ""  # why the branch cannot be read, and since when
    lost_since: str = ""
    ahead: list[str] = []  # commits that another reconciler applied and this log never read: Git is asked first
    ahead_since: str = ""

    @property
    def is_accepted(self) -> bool:
        """Whether the newest commit is, as it was read last."""
        return self.commit == self.accepted and not (self.rewritten_from or self.missing or self.switched)

    @property
    def waits_for_git(self) -> str:
        """What Git is asked before anything is changed, in words; "" where nothing is."""
        if not self.ahead:
            return ""
        more = f" and {len(self.ahead) - 1} more" if len(self.ahead) > 1 else ""
        applied = f"commit {self.ahead[-1][:12]}{more} was applied by another one"
        return f"{applied}, and is not known here before Git was read"


class Wish(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The change of a key that waits. version: "" where it has none.  until: when it may be done (RFC 3339)."""

    action: str = ""
    version: str = ""
    origin: str = ""
    until: str = ""


class HeldPlan(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Steps that wait for a person.

    keys: theirs.  commit: that asked for them last.  fleet: the policy that came with it, in force once it is released.
    """

    digest: str
    reason: str
    keys: list[str]
    counts: dict[str, int]
    commit: str = ""
    fleet: dict[str, Any] | None = None
    seq: int = 0
    time: str = ""
    wishes: dict[str, Wish] = {}


class EdgeSeen(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The agent of one edge."""

    present: bool = False
    since: str = ""
    last_time: str = ""  # of the newest event that it sent
    last_sequence: int = 0
    source: str = ""
    artifacts: dict[str, int] = {}  # sha256 -> bytes, complete on its disk
    error: str = ""  # the last words of an agent that ended by itself
    refusal: str = ""  # why it does not copy the hub's log
    forked: bool = False  # as that log is a fork of what the edge holds


class Leading(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The Lease on the cluster, as this log knows it."""

    held: bool = False
    holder: str = ""
    transitions: int = 0
    since: str = ""
    install: str = ""  # the name that this one's objects carry


class StageState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The part of the state of one stage. No event of another stage changes it."""

    keys: dict[str, Served] = {}
    waits: dict[str, str] = {}  # key -> why a change of it waits
    wishes: dict[str, Wish] = {}  # key that waits -> the change
    waiting: dict[str, str] = {}  # key that waits -> since when, whatever for
    undoes: dict[str, str] = {}  # key -> fingerprint of what it goes back to, by a commit that undoes: not done yet
    approved: dict[str, str] = {}  # key that is to go -> digest of the plan that was released: not done yet
    problems: dict[str, list[dict[str, Any]]] = {}  # key -> diagnostics in force
    holds: dict[str, dict[str, dict[str, Any]]] = {}  # key -> content digest -> {reason, code, seq, time, version}
    held_plan: HeldPlan | None = None
    deletes: list[str] = []  # times of delete intents in the hour before the newest one
    plans: int = 0  # version of the stream `plan/<stage>`: who plans from an older state is refused by the log
    to_begin: dict[str, int] = {}  # id of a plan under way -> steps of it that are still to be begun

    def known(self, key: Key | str) -> Served:
        """The entry of `key`, to read; where there is none, one that says nothing and is not kept."""
        return self.keys.get(str(key)) or Served()

    def wish(self, key: Key | str) -> Wish:
        """What Git wants of a key that waits, by itself or with a plan that is held; nothing where none does."""
        text, held = str(key), self.held_plan
        if text in self.waits:
            return self.wishes.get(text) or Wish()
        return (held.wishes.get(text) if held is not None else None) or Wish()

    def waits_since(self, key: Key | str) -> str:
        """Since when a key waits, by itself or with a plan that is held; "" where it does not."""
        text, held = str(key), self.held_plan
        return self.waiting.get(text) or (held.time if held is not None and text in held.keys else "")

    def served(self, key: Key | str) -> Served:
        """The entry of `key`, for the fold: made when there is none yet."""
        text = str(key)
        found = self.keys.get(text)
        if found is None:
            found = self.keys[text] = Served()
        return found


class State(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Everything live at `seq`. Mutable: `fold` moves it one entry on."""

    seq: int = 0
    hash: bytes = b""
    source: str = ""
    epoch: int = 0  # the first entry of its source: what was ordered before it is not known to the edges
    hub: str = ""  # the source that the hub's log has now, as an edge copied it last
    put_back: list[Any] = []  # [position, hash] of what a hub holds of this edge's log, that refuses it now
    time: str = ""
    ref: Ref = msgspec.field(default_factory=Ref)
    documents: dict[str, list[str]] = {}  # path -> blob id of the last good content, per position in the file
    files: dict[str, str] = {}  # path -> blob id, at ref.commit
    problems: dict[str, list[dict[str, Any]]] = {}  # of Git: "path#index", or an Edge for its pins -> diagnostics
    fleet: dict[str, Any] = {}  # the policy in force: Fleet of the last accepted commit
    stages: dict[str, StageState] = {}
    edges: dict[str, EdgeSeen] = {}
    links: dict[str, str] = {}  # peers whose log is refused -> why
    suspended: dict[str, dict[str, Any]] = {}  # "*" or an edge -> {actor, reason, until}
    annotated: dict[str, dict[str, Any]] = {}  # the same by annotation on a live object, and which object
    lost: dict[str, dict[str, str]] = {}  # what of the cluster cannot be read -> {error, code, since}
    cluster: str = ""  # the one that is kept: uid of its namespace kube-system
    lease: Leading = msgspec.field(default_factory=Leading)
    digests: dict[str, str] = {}  # "<url> <version>" -> sha256, where policy trusted the first use

    @property
    def all_problems(self) -> list[dict[str, Any]]:
        """Every diagnostic in force: of Git, and of every stage's keys."""
        tables = (self.problems, *(stage.problems for stage in self.stages.values()))
        groups = sorted(((slot, group) for table in tables for slot, group in table.items()), key=lambda one: one[0])
        return [problem for _, group in groups for problem in group]

    def suspensions(self) -> dict[str, dict[str, Any]]:
        """What keeps scopes from being changed beside annotations, over by its time or not."""
        why = self.ref.waits_for_git
        if not why:
            return self.suspended
        return {**self.suspended, "*": {"actor": "reconciler", "reason": why, "time": self.ref.ahead_since}}

    def stage(self, name: str) -> StageState:
        """The part of one stage, made when there is none yet: the same object for ever, moved on in place."""
        found = self.stages.get(name)
        if found is None:
            found = self.stages[name] = StageState()
        return found

    def edge(self, name: str) -> EdgeSeen:
        """The entry of an edge, made when there is none yet."""
        found = self.edges.get(name)
        if found is None:
            found = self.edges[name] = EdgeSeen()
        return found


def fingerprint(spec: Mapping[str, Any]) -> str:
    """Names the whole of what is ordered, in 16 hex digits; "" of nothing, which is what a delete orders."""
    return hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()[:16] if spec else ""


def suspended_by(why: Mapping[str, Any]) -> str:
    """A suspension in words, wherever it is told. why: {actor, until, reason}."""
    until = f" until {shown(why['until'])}" if why.get("until") else ""
    return f"suspended by {why.get('actor') or 'somebody'}{until}: {why.get('reason') or 'no reason given'}"


def switch(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """A switch of source in words; "" where it is none. before, after: {repo, branch, path}."""
    words = {"path": "folder {}", "branch": "branch {}", "repo": "{}"}
    differs = [name for name in words if before and before.get(name) != after.get(name)]

    def named(source: Mapping[str, str]) -> str:
        return " of ".join(words[name].format(source[name]) if source.get(name) else "all folders" for name in differs)

    other = f" ({OWN_STATE})" if "repo" in differs and before.get("repo") else ""
    return f"the source was switched from {named(before)} to {named(after)}{other}" if differs else ""


def ordering(state: State) -> frozenset[str]:
    """The stages of which this log has ordered something; `declare` as soon as it had the Lease."""
    found = (name for name, stage in state.stages.items() if any(one.operation for one in stage.keys.values()))
    return frozenset(found) | ({DECLARE} if state.lease.transitions else frozenset())
