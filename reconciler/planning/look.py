"""One object as it was ordered and as it is, and all that follows from the two. May import: history, planning. Pure.

In: what was ordered last, the live object, the rules, the time.  Out: what the diff is to see, what drifted, what
became of an order. Whoever asks knows that the object was read: what is not known is never taken for absent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from reconciler.history import events as ev
from reconciler.history.keys import DECLARE, Key
from reconciler.history.state import FAILED, Served, suspended_by
from reconciler.model.identity import COMMIT, GROUP, INSTALL, OPERATION, STAGE
from reconciler.planning.declare import OWN_LABELS
from reconciler.planning.diff import Observed
from reconciler.planning.drift import CORRECT, REPORT, Field, Owners, View, otherwise, view
from reconciler.planning.drift_rules import people_of
from reconciler.planning.fields import BY_VERSION, MergeKeys, without
from reconciler.planning.kinds import KINDS

PRUNE: Final = f"{GROUP}/prune"
DISABLED: Final = "disabled"
ENABLED: Final = "enabled"


def meant(said: str) -> str:
    """How a value of an annotation that switches something off is taken: what is not known may have been meant so."""
    unknown = f"{said[:40]!a}, which is neither {DISABLED} nor {ENABLED}: taken for {DISABLED}"
    return said if said == DISABLED else unknown


class LiveObject(Protocol):
    """An object of the API server, as far as planning looks at it (kube.watch.object.Live)."""

    @property
    def uid(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def annotations(self) -> Mapping[str, str]: ...
    @property
    def foreign(self) -> Mapping[str, str]: ...
    @property
    def ours(self) -> bool: ...
    @property
    def writer(self) -> str: ...
    @property
    def deleting(self) -> bool: ...
    @property
    def found(self) -> Mapping[str, str]: ...
    @property
    def told(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Drift:
    """The drift of an object: what somebody else made of it.

    what: `changed`, `deleted` or `made again`.  policy: the strictest one.
    """

    what: str
    writer: str
    policy: str
    fields: tuple[Field, ...] = ()
    uid: str = ""
    version: str = ""


@dataclass(frozen=True)
class Rules:
    """The rules by which drift of a kind is judged.

    said: (path, manager) -> correct, report or ignore, "" where no rule speaks of it.  adopt: whether what others made
    is taken over.  merge_keys: of its kind.  people: whether a manager is one by which people apply.
    """

    said: Callable[[str, str], str]
    adopt: bool = False
    merge_keys: MergeKeys = field(default_factory=lambda: BY_VERSION)
    people: Callable[[str], bool] = field(default_factory=lambda: people_of({}))

    def policy(self, path: str, manager: str) -> str:
        """What is done about a leaf that is not as ordered: correct, report or ignore."""
        return self.said(path, manager) or CORRECT

    def takes(self, path: str, manager: str) -> bool:
        """Whether the share that another manager has of a leaf is taken: people's, unless a rule says otherwise.

        Of others nothing is, unless a rule says so.
        """
        said = self.said(path, manager)
        return said == CORRECT or (not said and self.people(manager))


@dataclass(frozen=True, slots=True)
class Look:
    """An object of a stage.

    live: None where it is not there.  tree: it, in the form of an order.  suspension: who keeps the object itself from
    being changed, {} where nobody does.  is_contested: it is left alone for a while, as somebody fights over it.
    ahead: the commit of which another reconciler made it last, where this log never read it.  install: the name of
    this one, "" where none is told apart.  is_elsewhere: a reconciler made it last by an operation that this log does
    not have: the log was put back.
    """

    key: Key
    served: Served
    live: LiveObject | None
    tree: Mapping[str, Any]
    rules: Rules
    suspension: Mapping[str, str]
    is_contested: bool = False
    ahead: str = ""
    stage: str = DECLARE
    install: str = ""
    is_elsewhere: bool = False

    @property
    def ordered(self) -> Mapping[str, Any]:
        """What it was made to be last; nothing where that was refused, so that what is there is simply there."""
        return {} if self.served.phase in FAILED else self.served.order

    @property
    def is_marked(self) -> bool:
        """Whether this stage of this install made it."""
        return self.live is not None and is_marked(self.live, self.stage, self.install) and not self.stays

    @property
    def holder(self) -> str:
        """The other install whose object it is, "" where it is no other's."""
        return "" if self.live is None else held_by(self.live, self.install)

    @property
    def is_theirs(self) -> bool:
        """Whether another install has it, or others made it and nothing of ours was ever done to it."""
        live = self.live
        if live is None or self.holder:
            return live is not None
        return not live.ours and not self.ordered and not self.served.live.get("uid")

    @property
    def is_lacking(self) -> bool:
        """Whether there is none that could go: no such object, one of others that was never ordered, one that stays."""
        return self.live is None or self.is_theirs or self.stays

    @property
    def stays(self) -> bool:
        """Whether it outlives its declaration: a kind that is deleted only where its annotation asks for it."""
        row, live = KINDS.get(self.key.kind), self.live
        return row is not None and row.stays and live is not None and live.annotations.get(PRUNE) != ENABLED

    def _policy(self, path: str, manager: str) -> str:
        said = REPORT if self.holder and not self.rules.adopt else self.rules.policy(path, manager)
        return REPORT if self.is_contested and said == CORRECT else said

    def _view(self, live: LiveObject) -> View:
        owners = Owners(live.foreign, live.writer, self.rules.said, self.rules.people)
        answered = self.served.live.get("mutated", {})
        return view(self.ordered, self.tree, owners, self._policy, answered, keys=self.rules.merge_keys)

    # ── what the diff is to see ───────────────────────────────────────────────────────────────────────────────────

    def observed(self) -> Observed | None:
        """It, overlaid by what is under way; None where it is not there, and may be made."""
        served, live = self.served, self.live
        waits = self.waits()
        if served.open:
            found = live.found if live is not None else {}
            going = served.action == "delete"
            return Observed(served.order, served.policy, True, deleting=going, found=found, waits=waits)
        if live is None:
            stays_away = self.ordered and served.live.get("uid") and self._policy("", "") != CORRECT
            return Observed(served.order) if stays_away else None  # somebody deleted it, and that is left so
        if self.tree == served.order and not live.deleting:
            return Observed(served.order, found=live.found, waits=waits)
        seen = self._view(live)
        return Observed(
            self.tree,
            deleting=live.deleting,
            foreign=self.is_lacking,
            found=live.found,
            left=seen.left,
            forced=seen.forced,
            waits=waits,
            seen=seen.seen,
        )

    def waits(self) -> dict[str, str]:
        """Why what is there may not be touched, by action; "" is any."""
        found: dict[str, str] = {}
        live, why = self.live, self.suspension
        if live is None:
            return found
        if why:
            found[""] = suspended_by(why)
        if live.deleting:
            found[""] = "it is being deleted, and waits for its finalizers"
        if (said := live.annotations.get(PRUNE, ENABLED)) != ENABLED:
            found["delete"] = f"it carries {PRUNE}: {meant(said)}"
        if not live.ours or self.holder:
            has = f"the install {self.holder} has" if self.holder else f"{live.writer or 'somebody'} made"
            made = "" if self.holder else self.served.live.get("uid")
            if made != live.uid:
                found["delete"] = f"{has} it, and not this reconciler"
            if not made and not self.rules.adopt:
                found["update"] = f"{has} it; `adopt: true` in the Fleet takes it over"
        return found

    # ── what happened to it ───────────────────────────────────────────────────────────────────────────────────────

    def drift(self) -> Drift | None:
        """What was done to it since it was ordered; None where it is as ordered."""
        served, live = self.served, self.live
        made = served.live.get("uid")
        if not self.ordered or (live is None and not made):
            return None
        if live is None:
            return Drift("deleted", "", self._policy("", ""), uid=str(made or ""))
        if self.ahead or self.is_elsewhere:  # no hand edit
            return None
        again = made not in {None, live.uid}
        if self.tree == served.order and not again:
            return None
        fields = self._view(live).fields
        if not fields and not again:
            return None
        what = "made again" if again else "taken over" if self.holder else "changed"
        policy = View({}, fields).policy if fields else self.rules.policy("", live.writer)
        writer = next((one.manager for one in fields if one.manager), live.writer)
        writer = f"the install {self.holder}" if self.holder else writer
        return Drift(what, writer, policy, fields, live.uid, live.version)

    def settled(self) -> tuple[str, dict[str, Any]]:
        """What became of an order that nobody works on any more: (type, data) of its outcome.

        The operation that an object carries tells whether it was applied.
        """
        going = self.served.action == "delete"
        live = self._ordered_to_go() if going else self.live
        done = live is None if going else live is not None and live.annotations.get(OPERATION) == self.served.operation
        data: dict[str, Any] = {"recovered": True} if done else {"reason": "the reconciler ended before it was sent"}
        if done and live is not None:
            before, is_ours = self.served.live.get("mutated", {}), self.served.live.get("uid")
            kept = list(before) if is_ours else None
            mutated = otherwise(self.ordered, self.tree, live.foreign, kept=kept, keys=self.rules.merge_keys)
            data["live"] = {**live.told, **({"mutated": mutated} if mutated else {})}
        return ev.APPLY_SUCCEEDED if done else ev.APPLY_ABANDONED, data | {"settled": True}

    @property
    def has_gone(self) -> bool:
        """Whether what was ordered to go has gone, which waited for others (finalizers)."""
        return self.served.action == "delete" and self._ordered_to_go() is None

    def _ordered_to_go(self) -> LiveObject | None:
        """The object that was ordered to go, while it is there: another one of its name is not it."""
        uid = self.served.live.get("uid")
        return None if self.live is not None and uid and self.live.uid != uid else self.live

    def adopted(self) -> dict[str, Any]:
        """It, as it is kept from now on: data of an adoption. Raises ValueError where it is not there."""
        if self.live is None:
            raise ValueError(f"{self.key} is not there")
        data = {**self.live.found, "spec": without(self.tree, self.live.foreign, self.rules.merge_keys)}
        commit = self.ahead or self.live.annotations.get(COMMIT, "")
        made = f"another reconciler made it so, of commit {commit[:12]}"
        told = {"reason": made} if self.ahead or self.is_elsewhere else {}
        return data | told | ({"ahead": self.ahead} if self.ahead else {})

    @property
    def is_late(self) -> bool:
        """Whether an order that was given up has had its effect after all: its answer never came."""
        given_up = self.served.phase == "Desired" and not self.served.open
        return given_up and self.is_marked and self.served.operation == self.operation

    @property
    def operation(self) -> str:
        """The operation that it carries; "" where it is not there, or carries none."""
        return "" if self.live is None else self.live.annotations.get(OPERATION, "")


def held_by(live: LiveObject, install: str) -> str:
    """The other install whose mark an object carries; "" where that is `install`, or where none has marked it."""
    mark = live.annotations.get(INSTALL, "")
    return mark if install and mark != install else ""


def is_marked(live: LiveObject, stage: str, install: str) -> bool:
    """Whether this stage of an install made an object: by its field manager, its label and its stamps.

    One without the mark of an install is of the time when there was none.
    """
    if held_by(live, install):
        return False
    of_it = live.annotations.get(STAGE, DECLARE) == stage  # one without is of the time when there was one stage
    return live.ours and of_it and OWN_LABELS.items() <= live.labels.items()
