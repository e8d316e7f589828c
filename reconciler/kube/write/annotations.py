"""Annotations by which people ask on live objects: leave it alone, look at it now. May import: engine,
history, planning, kube.

    ai.kubeedge.io/reconcile: disabled      nothing is changed: of this object; on an Edge, a set or the Fleet, of all
                                            (so does any value but `enabled`, and it is said)
    ai.kubeedge.io/suspend-reason: TEXT     that belongs to it
    ai.kubeedge.io/suspend-until: TIME      when that ends by itself (RFC 3339)
    ai.kubeedge.io/requestedAt: TEXT        each new value: look at it now; on the Fleet, at the branch and everything

In: objects as the watch cache has them.  Out: suspensions by scope, as plans are judged by them.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

from reconciler.engine.queue import Cause, StageQueue, Trigger
from reconciler.engine.recorder import StageRecorder
from reconciler.errors import KindMissing, RightMissing
from reconciler.history.events import rfc3339
from reconciler.history.keys import Key
from reconciler.history.times import is_over, is_time, seconds_left
from reconciler.kube.client.resources import KEPT
from reconciler.kube.watch.object import Live
from reconciler.kube.write.apply import Objects
from reconciler.model.identity import GROUP, POLICY, Identity
from reconciler.planning.declared import Declared
from reconciler.planning.kinds import ALL_SCOPES, is_wide, scope_of
from reconciler.planning.look import DISABLED, ENABLED, held_by, meant

RECONCILE: Final = f"{GROUP}/reconcile"
REASON: Final = f"{GROUP}/suspend-reason"
UNTIL: Final = f"{GROUP}/suspend-until"
REQUESTED: Final = f"{GROUP}/requestedAt"
_PATH: Final = f'annotations["{RECONCILE}"]'
ALL, POLL = "all", "poll"
UNKNOWN: Final = "whether anything is suspended by annotation cannot be read"

Wide = dict[str, dict[str, str]]  # scope -> {actor, reason, until, object: the key of what is annotated}


def suspension(live: Live, now: str, *, lifted: bool = False) -> dict[str, str]:
    """Who keeps an object from being changed: {actor, reason, until}; {} where nobody does at `now` (RFC 3339).

    lifted: Git declares the object without the annotation: where it is from Git, it is to go.
    """
    if not _is_disabled(live.annotations) or (lifted and _PATH not in live.foreign):
        return {}
    until = live.annotations.get(UNTIL, "")
    if is_over(until, now):
        return {}
    reason = live.annotations.get(REASON, "")
    if until and not is_time(until):  # it never ends, and says why
        until, reason = "", f"{reason} ({UNTIL} {until[:40]!a} is no RFC 3339 time with a zone)".strip()
    if (said := live.annotations[RECONCILE]) != DISABLED:
        reason = f"{reason} ({RECONCILE} is {meant(said)})".strip()
    actor = live.foreign.get(_PATH, "") or "Git"
    found = {"actor": actor, "reason": reason, "until": until}
    return {name: value for name, value in found.items() if value}


def _is_disabled(annotations: Mapping[str, str]) -> bool:
    """Whether they suspend: a wish to leave something alone is not overlooked for its spelling."""
    return annotations.get(RECONCILE, ENABLED) != ENABLED


class Annotations:
    """The annotations in force. Of the loop's thread alone."""

    def __init__(
        self,
        objects: Objects,
        recorder: StageRecorder,
        triggers: StageQueue,
        declared: Callable[[], Declared],
        *,
        kinds: Iterable[str] = KEPT,
        install: str = "",
    ) -> None:
        """declared: what Git says.  kinds: those that are asked.  install: what is of another one asks nothing here."""
        self._objects, self._record, self._triggers, self._declared = objects, recorder, triggers, declared
        self._kinds, self._install = tuple(kinds), install
        self._noted: dict[str, Wide] = {}  # by kind, as it was looked at last: one that was never read is not in it
        self.handled: dict[Key, str] = {}  # the newest request that was answered

    def read(self) -> None:
        """Look at everything: at a start, when all of it is reconciled anyway. Raises ApiUnavailable.

        Of a kind that cannot be read counts what was known of it.
        """
        for kind in self._kinds:
            with suppress(KindMissing, RightMissing):
                self._read(kind)

    def look(self, key: Key) -> str:
        """What is asked anew on this object for more than itself: "", `all`, or `poll`. Raises ApiUnavailable."""
        live, handled = self._objects.get(key), self.handled.get(key, "")
        wide = self._noted.get(key.kind, {})
        before = dict(wide)
        self._note(key, live, wide)
        if key.kind == POLICY and self.handled.get(key, "") != handled:
            return POLL
        return ALL if wide != before and is_wide(key.kind) else ""

    def suspended(self) -> Mapping[str, Mapping[str, str]]:
        """Scope -> {actor, reason, until, object}, of what annotations suspend. Raises ApiUnavailable.

        Everything is where that cannot be known: nobody's wish to leave it alone is overlooked. Of the kinds that are
        about others it is as it is now, whether or not they were looked at: a long plan asks between its batches.
        """
        found: Wide = {}
        for kind in self._kinds:
            try:
                found |= self._of(kind)
            except (KindMissing, RightMissing) as failure:
                if is_wide(kind):
                    return {ALL_SCOPES: {"actor": "reconciler", "reason": f"{UNKNOWN}: {failure.message}"}}
        now = self._now()
        return {
            scope: why
            for scope, why in found.items()
            if not is_over(why.get("until", ""), now) and not (why["actor"] == "Git" and self.lifted(why["object"]))
        }

    def lifted(self, key: str) -> bool:
        """Whether Git declares the object, and not that it is suspended."""
        declared = self._declared().get(Identity(*Key.parse(key)[:3]))
        return declared is not None and not _is_disabled(declared.annotations)

    def suspension(self, key: Key, live: Live) -> dict[str, str]:
        """Who keeps one object from being changed now: see `suspension`."""
        if not _is_disabled(live.annotations) or held_by(live, self._install):
            return {}
        return suspension(live, self._now(), lifted=self.lifted(str(key)))

    def _of(self, kind: str) -> Wide:
        """What objects of a kind suspend; what was known of it where it can no longer be read. Raises as `_read`."""
        if kind not in self._noted:
            return self._read(kind)
        if is_wide(kind):
            with suppress(KindMissing, RightMissing):
                return self._found(kind)
        return self._noted[kind]

    def _found(self, kind: str) -> Wide:
        """What is suspended by objects of a kind. Raises ApiUnavailable, KindMissing, RightMissing."""
        now = self._now()
        objects = self._objects.all(kind)
        asking = (one for one in objects if RECONCILE in one[1].annotations and not held_by(one[1], self._install))
        return {scope_of(key): {**why, "object": str(key)} for key, live in asking if (why := suspension(live, now))}

    def _read(self, kind: str) -> Wide:
        """What all objects of a kind ask. Raises ApiUnavailable, KindMissing, RightMissing, and nothing is changed."""
        wide: Wide = {}
        for key, live in self._objects.all(kind):
            if live.annotations:
                self._note(key, live, wide)
        self._noted[kind] = wide
        return wide

    def _note(self, key: Key, live: Live | None, wide: Wide) -> None:
        live = None if live is not None and held_by(live, self._install) else live
        why = suspension(live, self._now()) if live is not None else {}
        if live is not None and live.annotations.get(REQUESTED):
            self.handled[key] = live.annotations[REQUESTED]
        else:
            self.handled.pop(key, None)
        if why.get("until"):
            self._again(key, why["until"])
        if why:
            wide[scope_of(key)] = {**why, "object": str(key)}
        else:
            wide.pop(scope_of(key), None)

    def _again(self, key: Key, until: str) -> None:
        """It is looked at when its suspension is over."""
        try:
            delay_s = seconds_left(until, self._record.clock.now())
        except (ValueError, OverflowError):
            return
        if delay_s > 0:
            self._triggers.add(Trigger(Cause.OBJECT, str(key)), delay_s)

    def _now(self) -> str:
        return rfc3339(self._record.clock.now())
