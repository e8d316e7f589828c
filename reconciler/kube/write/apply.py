"""Server-side apply of one order, and its outcome. May import: errors, history, engine.loop, kube.

In: an order whose intent is durable.  Out: what is to be recorded of it. Bodies hold the fields that we set and nothing
else; server-side apply keeps the owner of each field (Kubernetes documentation, "Server-Side Apply").
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import msgspec

from reconciler.engine.recorder import StageRecorder
from reconciler.engine.stage import Order
from reconciler.errors import ApiUnavailable, FieldConflict, ReconcilerError, WorldRefused
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import Key
from reconciler.kube.client.api import Api
from reconciler.kube.client.api_errors import readable
from reconciler.kube.client.resources import KEPT, Resource, document
from reconciler.kube.watch.object import Live
from reconciler.kube.write.shares import taken_over
from reconciler.model.identity import COMMIT, GROUP, INSTALL, OPERATION, SEQ, STAGE, STAMPS, install_label
from reconciler.planning.declare import OWN_LABELS, as_sent, as_text
from reconciler.planning.drift import CORRECT, IGNORE, REPORT, otherwise
from reconciler.planning.fields import contested, leaves, without
from reconciler.planning.look import Rules

MANAGER: Final = "reconciler"
AGAIN: Final = 2  # times that an order is sent again with what a refusal has taught

RulesOf = Callable[[str], Rules]  # by kind
MARKS: Final = (f'labels["{GROUP}/', f'annotations["{GROUP}/')  # how the paths of what we say of an object begin


class Objects(Protocol):
    """The part of `Cache` that a target needs. One that only looks has the first two."""

    def get(self, key: Key) -> Live | None:
        """See `Cache`."""
        ...

    def all(self, kind: str) -> list[tuple[Key, Live]]:
        """See `Cache`."""
        ...

    def put(self, key: Key, body: bytes) -> Live:
        """See `Cache`."""
        ...

    def remove(self, key: Key, uid: str) -> None:
        """See `Cache`."""
        ...

    def sending(self, key: Key, operation: str = "") -> AbstractContextManager[None]:
        """See `Cache`."""
        ...


class _Deleted(msgspec.Struct, frozen=True):
    """The answer to a DELETE: a Status, or the object itself."""

    class _Meta(msgspec.Struct, frozen=True):
        uid: str = ""
        deletion: str = msgspec.field(default="", name="deletionTimestamp")
        finalizers: tuple[str, ...] = ()

    kind: str
    metadata: _Meta = _Meta()


_DELETED: Final = msgspec.json.Decoder(_Deleted)


@dataclass(frozen=True)
class Sender:
    """Sends orders. Thread-safe. What raises is not answered yet: ApiUnavailable, CredentialsRefused, LeaseLost.

    install: the name that what is sent carries; "" where it carries none.
    """

    api: Api
    cache: Objects
    record: StageRecorder
    rules_of: RulesOf
    resources: Mapping[str, Resource] = field(default_factory=lambda: KEPT)
    manager: str = MANAGER
    install: str = ""

    def send(self, order: Order) -> list[Event]:
        """What became of an order: its outcome last. Nothing where the answer is awaited (a finalizer has to end)."""
        try:
            if order.step.action == "delete":
                return self._delete(order)
            return self._apply(order, order.step.left, order.step.forced)
        except WorldRefused as refused:
            return [failed(self.record, order, refused)]

    def recovered(self, order: Order) -> list[Event] | None:
        """The outcome of an order that was sent before and not answered, by what is there; None: it had no effect."""
        key = order.step.key
        try:
            body = self.api.get(self.resources[key.kind], key.name, key.namespace)
        except WorldRefused as refused:  # whether it had its effect is not known, so it stays open
            raise ApiUnavailable(refused.message, hint=refused.advice) from None
        if body is None:
            return [succeeded(self.record, order, None, recovered=True)] if order.step.action == "delete" else None
        live = self.cache.put(key, body)
        if live.annotations.get(OPERATION) != order.intent.event.operationid:
            return None
        mutated = self._otherwise(order, order.step.left, live)
        return [succeeded(self.record, order, live, recovered=True, mutated=mutated)]

    def _delete(self, order: Order) -> list[Event]:
        key, uid = order.step.key, order.step.found.get("uid", "")
        with self.cache.sending(key):
            answer = self.api.delete(self.resources[key.kind], key.name, key.namespace, uid=uid)
            if answer is not None:
                meta = _deleted(key, answer).metadata
                if meta.deletion and meta.finalizers:
                    reason = f"it is being deleted, and waits for {', '.join(meta.finalizers)}"
                    data = {"error": reason, "code": "RX411", "waits": True}
                    return [outcome(self.record, ev.APPLY_ABANDONED, order, data)]
            self.cache.remove(key, uid)
        return [succeeded(self.record, order, None)]

    def _apply(self, order: Order, left: Sequence[str], forced: Sequence[str], tries: int = AGAIN) -> list[Event]:
        """Without force first; by force only what rules take back, and only from the object that was seen.

        What people have of it by other field managers becomes ours before: an apply takes away only what is ours alone.
        """
        key = order.step.key
        resource, operation = self.resources[key.kind], order.intent.event.operationid
        empty: dict[str, Any] = (
            {"spec": {}} if "spec" in resource.content else {}
        )  # nothing of it is ours where all is left to others
        sent = {**empty, **without(order.step.spec, left, resource.merge_keys)} if left else order.step.spec
        version = order.step.found.get("resourceVersion", "") if forced else ""
        moved = self._taken_over(order, left, version)
        if moved is None:  # it moved on, if only by its status: what is whose is asked anew
            if not tries:
                raise FieldConflict(f"{key} is written again and again", fields=())
            return self._apply(order, left, (), tries - 1)
        body = self._body(order, sent, moved)
        try:
            with self.cache.sending(key, operation):  # a watch often tells of it first, which is no change to look at
                answer = self.api.apply(
                    resource, key.name, key.namespace, body, manager=self.manager, force=bool(forced)
                )
                live = self.cache.put(key, answer)
        except FieldConflict as conflict:
            if not tries or not (conflict.fields or version):
                raise
            if not conflict.fields:  # it moved on
                return self._apply(order, left, (), tries - 1)
            return self._contested(order, left, conflict, tries)
        return [succeeded(self.record, order, live, mutated=self._otherwise(order, left, live))]

    def _taken_over(self, order: Order, left: Sequence[str], version: str) -> str | None:
        """What people have of an object becomes ours where rules say nothing else.

        version: that has to be there, "" any.  The version to go on with; None where another one is there.
        """
        key = order.step.key
        live, rules = self.cache.get(key), self.rules_of(key.kind)
        is_less = any(change.new is None for change in order.step.changes)  # else an apply does it all
        is_due = is_less or not self._is_ours(key)
        if live is None or not is_due or not any(_may_take(rules, live, manager) for manager in live.managers):
            return version
        resource = self.resources[key.kind]
        body = self.api.get(resource, key.name, key.namespace)
        if body is None:
            return version
        if version and self.cache.put(key, body).version != version:
            return None
        said = {path for path, _ in leaves(order.step.spec, resource.merge_keys)}
        said |= {change.field for change in order.step.changes}

        def takes(path: str, manager: str) -> bool:
            is_said = path in said or not path.startswith("annotations")  # by others people speak to controllers
            return is_said and path not in left and rules.takes(path, manager)

        with readable(key):
            patch = taken_over(body, self.manager, takes, resource.merge_keys)
        if patch is None:
            return version
        try:
            with self.cache.sending(key, order.intent.event.operationid):
                answer = self.api.patch(resource, key.name, key.namespace, patch, manager=self.manager)
                there = self.cache.put(key, answer)
        except FieldConflict:
            return None
        return there.version if version else ""

    def _is_ours(self, key: Key) -> bool:
        """Whether something was done to an object before: else it is taken over now, or made."""
        return bool(self.record.mine.known(key).live.get("uid"))

    def _contested(self, order: Order, left: Sequence[str], conflict: FieldConflict, tries: int) -> list[Event]:
        """Others own fields of it: recorded with their names, then taken back or left, as rules say."""
        key = order.step.key
        resource = self.resources[key.kind]
        paths = [path for path, _ in leaves(order.step.spec, resource.merge_keys)]
        named = [(contested(text, paths), manager) for text, manager in conflict.fields]
        fields = [{"field": path, "manager": manager} for path, manager in named]
        told = self.record.event(
            ev.APPLY_CONFLICTED, key, {"fields": fields}, operationid=order.intent.event.operationid
        )
        rules, is_ours = self.rules_of(key.kind), self._is_ours(key)
        taken = [
            path
            for path, manager in named
            if rules.takes(path, manager)
            or (rules.policy(path, manager) == CORRECT and (is_ours or _is_mark(path, order.step.spec)))
        ]
        kept = [path for path, _ in named if path not in taken]
        body = self.api.get(resource, key.name, key.namespace)
        if body is not None and not order.step.found:  # it was not there when this was planned: the watch tells of it
            return [told, failed(self.record, order, conflict)]
        live = self.cache.put(key, body) if body is not None else None
        found = live.found if live is not None else {}
        seen = order._replace(step=replace(order.step, found=found))
        return [told, *self._apply(seen, (*left, *kept), taken, tries - 1)]

    def _body(self, order: Order, spec: Mapping[str, Any], version: str) -> bytes:
        key, event = order.step.key, order.intent.event
        stamps = {OPERATION: event.operationid, SEQ: str(order.intent.seq), COMMIT: self._commit(order)}
        stamps[STAGE] = self.record.name
        labels = dict(spec.get("labels", {}))
        if self.install:
            stamps[INSTALL], labels[INSTALL] = self.install, install_label(self.install)
        metadata: dict[str, Any] = {"labels": labels, "annotations": {**spec.get("annotations", {}), **stamps}}
        if version:
            metadata["resourceVersion"] = version
        content = _content(spec)
        if "spec" in content:
            content["spec"] = as_sent(key.kind, content["spec"])
        return msgspec.json.encode(document(self.resources[key.kind], key, metadata, **content))

    def _commit(self, order: Order) -> str:
        """The commit whose content is sent: of what only restores it, the one that it was of."""
        event = order.intent.event
        if event.gitcommit:
            return event.gitcommit
        live = self.cache.get(order.step.key) if event.prevdigest == event.newdigest else None
        there = live.annotations.get(COMMIT) if live is not None else None
        return there or self.record.state.ref.accepted

    def _otherwise(self, order: Order, left: Sequence[str], live: Live) -> dict[str, Any]:
        """See planning.drift.otherwise. What a rule lets stand is told as drift."""
        step, resource = order.step, self.resources[order.step.key.kind]
        rules, before = self.rules_of(step.key.kind), self.record.mine.known(step.key).live.get("mutated", {})
        told = [path for path in step.left if path not in before]
        told += [path for path in left if rules.said(path, live.foreign.get(path, "")) in {REPORT, IGNORE}]
        going = [change.field for change in step.changes if change.new is None]
        tree = seen_tree(resource, live)
        kept = [*before, *(path for path in left if path not in step.left)] if self._is_ours(step.key) else None
        return otherwise(step.spec, tree, live.foreign, told=told, going=going, kept=kept, keys=resource.merge_keys)


def _may_take(rules: Rules, live: Live, manager: str) -> bool:
    """Whether something of a manager may have to be taken: what people have, or what a rule says is not theirs."""
    theirs = (path for path, whose in live.foreign.items() if whose == manager)
    return rules.people(manager) or any(rules.said(path, manager) == CORRECT for path in theirs)


def _is_mark(path: str, spec: Mapping[str, Any]) -> bool:
    """Whether a leaf is what makes an object ours, or a stamp: of nobody else whoever made it."""
    own = {path for path, _ in leaves({"labels": {name: spec.get("labels", {}).get(name) for name in OWN_LABELS}})}
    return path in own or path.startswith(MARKS)


def _deleted(key: Key, answer: bytes) -> _Deleted:
    """Raises ApiUnavailable where it is neither of the two: whether anything was deleted is not known."""
    with readable(key):
        found = _DELETED.decode(answer)
    if found.kind != "Status" and not (found.kind == key.kind and found.metadata.uid):
        raise ApiUnavailable(f"{key}: what was answered to the DELETE is not an API server's", unknown=True)
    return found


def seen_tree(resource: Resource, live: Live, holder: str = "") -> dict[str, Any]:
    """A live object in the form of an order: `{labels, annotations, spec}`, without our stamps.

    holder: the other install whose object it is, which is not as declared.
    """
    tree: dict[str, Any] = {"spec": as_text(resource.kind, live.spec)} if "spec" in resource.content else {}
    labels = {name: value for name, value in live.labels.items() if name != INSTALL}
    tree |= live.parts | ({"labels": labels} if labels else {})
    annotations = {name: value for name, value in live.annotations.items() if name not in STAMPS}
    annotations |= {INSTALL: holder} if holder else {}
    return tree | ({"annotations": annotations} if annotations else {})


def _content(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What an order says beside its labels and annotations."""
    return {name: part for name, part in tree.items() if name not in {"labels", "annotations"}}


def outcome(record: StageRecorder, type_: str, order: Order, data: Mapping[str, Any]) -> Event:
    """An outcome of an order."""
    event = order.intent.event
    return record.event(
        type_,
        order.step.key,
        data,
        causationid=event.id,
        operationid=event.operationid,
        gitcommit=event.gitcommit,
        prevdigest=event.prevdigest,
        newdigest=event.newdigest,
    )


def withdrawn(record: StageRecorder, order: Order, why: str) -> Event:
    """It was not done, and is not to be done any more."""
    return outcome(record, ev.APPLY_ABANDONED, order, {"reason": why, "settled": True})


def succeeded(
    record: StageRecorder,
    order: Order,
    live: Live | None,
    *,
    recovered: bool = False,
    mutated: Mapping[str, Any] | None = None,
) -> Event:
    """The effect is there. live: the object as it is then; None of one that is gone."""
    data: dict[str, Any] = {"recovered": True} if recovered else {}
    if live is not None:
        data["live"] = live.told
        data["live"] |= {"mutated": mutated} if mutated else {}
    return outcome(record, ev.APPLY_SUCCEEDED, order, data)


def failed(record: StageRecorder, order: Order, refused: ReconcilerError) -> Event:
    """The API server refused, and would again; or a bug of ours did."""
    data = {"error": refused.message, "code": refused.code, "hint": refused.advice, "phase": "Rejected"}
    return outcome(record, ev.APPLY_FAILED, order, data)
