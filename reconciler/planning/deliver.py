"""Deliver's expansion: objects and the edges on which they land -> orders. May import: history, model, planning.

Deliver's expansion. `order` makes the order for an edge of an object that lands there, whoever wrote it. Without
Kubernetes `expand` takes the object from declare's expansion (planning.declare): the two compose. Which keys
a change may concern says planning.reach: expanding those equals expanding everything (by property test).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from reconciler.diagnostics import Diagnostic
from reconciler.errors import PortTaken
from reconciler.history.keys import Key
from reconciler.history.state import Served
from reconciler.planning import declare, refusals
from reconciler.planning.declared import Declared, Object, says_place, template_of
from reconciler.planning.desired import Desired, Expansion, Frozen, Gone
from reconciler.planning.kinds import KINDS
from reconciler.planning.reach import keys_on, source_of
from reconciler.planning.versions import Circumstances, chosen


def expand(key: Key, declared: Declared, around: Circumstances) -> Expansion:
    """What `key` should be, by what Git declares: the order of the object that declare makes."""
    source, edge = source_of(declared, key), declared.edge(key.edge)
    if source is None:
        return Gone(key)
    if says_place(source) and key.edge and declared.edge_of(source) is None:
        return Frozen(key, None)  # its key on no edge tells why
    if edge is None or "deployToLayer" in template_of(source):
        refusal = refusals.unservable(source) or (declare.unplaced(source, declared) if edge is None else None)
        if refusal is not None:
            return Frozen(key, refusal)
    assert edge is not None  # only what is unplaced has a key on no edge
    made = declare.made(key._replace(edge=""), source, edge, declared, around)
    if not isinstance(made, Desired):
        return replace(made, key=key)
    obj = Object(
        kind=key.kind,
        namespace=key.namespace,
        name=key.name,
        spec=made.spec["spec"],
        path=source.path,
        line=source.line,
        lines=source.lines,
    )
    return order(obj, edge, declared, around, made if source.kind != key.kind else None)


def order(
    obj: Object, edge: Object, declared: Declared, around: Circumstances, said: Desired | None = None
) -> Expansion:
    """The order for an edge of an object that lands there.

    declared: where the Models of the catalogue stand.  said: of what a set makes, what declare says: why this version.
    """
    key, row = Key(*obj.identity, edge.name), KINDS[obj.kind]
    found = chosen(obj, edge, declared, around)
    if isinstance(found, Diagnostic):
        return Frozen(key, found)
    entry, choice, until = found
    assert row.order is not None  # it lands on edges
    spec = _artifact(entry) | row.order(obj, edge)
    artifacts = around.fleet.get("artifacts") or {}
    policy = {name: artifacts.get(name, False) for name in ("allowLoopback", "allowFile")}
    if said is not None:
        return Desired(key, spec, policy, said.origin, said.because, said.until, said.remarks)
    return Desired(key, spec, policy, choice.origin, choice.because, until, declare.remarks(obj, edge))


def _artifact(entry: dict[str, Any]) -> dict[str, Any]:
    spec = {"version": str(entry["version"]), "url": entry["downloadURL"], "sha256": entry.get("sha256sum") or ""}
    return spec | ({"size": entry["size"]} if entry.get("size") is not None else {})


def unmatched_pins(declared: Declared, edge: Object) -> list[Diagnostic]:
    """A warning for every pin that acts on nothing."""
    pins = edge.spec.get("pins") or []
    known = {KINDS[source.kind].pin(source) for _, source in keys_on(declared, edge)} if pins else set()
    named = [("model", pin["model"]) if pin.get("model") else ("dataset", pin.get("dataset", "")) for pin in pins]
    return [refusals.pin_unmatched(edge, n) for n, name in enumerate(named) if name not in known]


def exchanging(expansions: Iterable[Expansion], known: Mapping[str, Served]) -> list[Expansion]:
    """The same; of services that wait for each other's endpoints in a circle, the last one is to give up its own first.

    known: what was ordered and is there, by key. That a service is to yield stands in the policy of its order.
    """
    circle = _Circle(known)
    return [
        replace(one, policy=one.policy | {"yields": True}) if isinstance(one, Desired) and circle.yields(one) else one
        for one in expansions
    ]


class _Circle:
    """Where services stand, worked out only where one was refused the endpoint that it wants."""

    def __init__(self, known: Mapping[str, Served]) -> None:
        self._known = known
        self._holders: dict[str, str] = {}  # endpoint -> key

    def yields(self, wanted: Desired) -> bool:
        key = str(wanted.key)
        served = self._known.get(key)
        if served is None or served.order != wanted.spec:
            return False
        if served.open:  # as it was told
            return bool(served.policy.get("yields"))
        return served.code == PortTaken.code and key == max(self._around(key), default="")

    def _around(self, key: str) -> set[str]:
        """The keys of the circle that begins and ends with `key`; none where there is no circle."""
        if not self._holders:
            self._holders = {at: one for one, served in self._known.items() if (at := _stands(served))}
        found, next_ = {key}, key
        while True:
            order = self._known[next_].order
            next_ = self._holders.get(f"{order.get('address')}:{order.get('port')}", "")
            if next_ == key:
                return found
            if not next_ or next_ in found:
                return set()
            found.add(next_)


def _stands(served: Served) -> str:
    """Where a service answers: host:port; "" where it does not."""
    return urlsplit(str(served.live.get("url", ""))).netloc
