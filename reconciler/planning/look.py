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
from reconciler.model.identity import GROUP, OPERATION, STAGE
from reconciler.planning.declare import OWN_LABELS
from reconciler.planning.diff import Observed
from reconciler.planning.drift import CORRECT, REPORT, Field, Owners, View, view
from reconciler.planning.fields import BY_VERSION, MergeKeys, without

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

    policy: (path, manager) -> correct, report or ignore.  adopt: whether what others made is taken over.
    merge_keys: of its kind.
    """

    policy: Callable[[str, str], str]
    adopt: bool = False
    merge_keys: MergeKeys = field(default_factory=lambda: BY_VERSION)


@dataclass(frozen=True, slots=True)
class Look:
    """An object of a stage.

    live: None where it is not there.  tree: it, in the form of an order.  suspension: who keeps the object itself from
    being changed, {} where nobody does.  is_contested: it is left alone for a while, as somebody fights over it.
    ahead: the commit of which another reconciler made it last, where this log never read it.
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

    @property
    def ordered(self) -> Mapping[str, Any]:
        """What it was made to be last; nothing where that was refused, so that what is there is simply there."""
        return {} if self.served.phase in FAILED else self.served.order

    @property
    def is_marked(self) -> bool:
        """Whether this stage of a reconciler made it."""
        return self.live is not None and is_marked(self.live, self.stage)

    @property
    def is_theirs(self) -> bool:
        """Whether others made it, and nothing of ours was ever done to it."""
        live = self.live
        return live is not None and not live.ours and not self.ordered and not self.served.live.get("uid")

    @property
    def is_lacking(self) -> bool:
        """Whether there is no such object, or one that others made and that was never ordered."""
        return self.live is None or self.is_theirs

    def _policy(self, path: str, manager: str) -> str:
        said = self.rules.policy(path, manager)
        return REPORT if self.is_contested and said == CORRECT else said

    def _view(self, live: LiveObject) -> View:
        owners, answered = Owners(live.foreign, live.writer), self.served.live.get("mutated", {})
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
            foreign=self.is_theirs,
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
        if not live.ours:
            writer, made = live.writer or "somebody", self.served.live.get("uid")
            if made != live.uid:
                found["delete"] = f"{writer} made it, and not this reconciler"
            if not made and not self.rules.adopt:
                found["update"] = f"{writer} made it; `adopt: true` in the Fleet takes it over"
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
        if self.ahead:
            return None
        again = made not in {None, live.uid}
        if self.tree == served.order and not again:
            return None
        fields = self._view(live).fields
        if not fields and not again:
            return None
        what = "made again" if again else "changed"
        policy = View({}, fields).policy if fields else self.rules.policy("", live.writer)
        writer = next((one.manager for one in fields if one.manager), live.writer)
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
            data["live"] = live.told
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
        made = f"another reconciler made it so, of commit {self.ahead[:12]}"
        return data | ({"ahead": self.ahead, "reason": made} if self.ahead else {})

    @property
    def operation(self) -> str:
        """The operation that it carries; "" where it is not there, or carries none."""
        return "" if self.live is None else self.live.annotations.get(OPERATION, "")


def is_marked(live: LiveObject, stage: str) -> bool:
    """Whether this stage of a reconciler made an object: by its field manager, its label and its stamp."""
    of_it = live.annotations.get(STAGE, DECLARE) == stage  # one without is of the time when there was one stage
    return live.ours and of_it and OWN_LABELS.items() <= live.labels.items()
