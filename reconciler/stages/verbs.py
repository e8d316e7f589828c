"""Verbs: requests of people to the hub. May import: ports, history, stages.git.

In: requests (through the control socket, or by a command where no hub runs).  Out: batches, to the loop.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from reconciler.engine.queue import Trigger
from reconciler.engine.recorder import StageRecorder
from reconciler.engine.stage import Change
from reconciler.errors import NameUnknown, PlanHeld, UsageError
from reconciler.history import events as ev
from reconciler.history.events import Event, rfc3339
from reconciler.history.keys import DECLARE, SETS, Key, spoken
from reconciler.history.state import ordering
from reconciler.history.status import suspensions
from reconciler.history.times import is_time
from reconciler.natural import in_order, listed
from reconciler.planning.kinds import scope_of
from reconciler.planning.names import Names, Sought, called, word
from reconciler.stages.git import GitSource
from reconciler.stages.scopes import known_edges, known_things, there, within


# Of people and of a start alike: an order that is given once more is durable, and open until it is answered.
def asked_again(record: StageRecorder, keys: Iterable[Key], actor: str = "") -> Iterator[Event]:
    """That what was refused, or waits for the world, is tried now. What is held back for its content is not.

    actor: the person who asks, for whom also bytes are fetched that are said to be unchanged.
    """
    for key in sorted(set(keys)):
        served = record.mine.known(key)
        if served.is_tried_again and not served.lifted and served.action != "delete":
            asked: dict[str, Any] = {"anew": True} if actor else {}
            yield record.event(ev.RETRY_ASKED, key, asked, **({"actor": actor} if actor else {}))


_SURROGATE: Final = re.compile("[\ud800-\udfff]")  # of bytes that were no UTF-8
TEXT_MAX: Final = 1000  # characters; a reason is shown in one line and written to each object's status
FEW: Final = 5
SWITCHES: Final = frozenset({"check", "wait"})


def _is_said(field: str, value: object) -> bool:
    """Whether a request may say it: a switch, or text that the log can hold."""
    if value is None or (field in SWITCHES and isinstance(value, bool)):
        return True
    return isinstance(value, str) and not _SURROGATE.search(value)


class Verbs:
    """approve, release, suspend, resume, reconcile."""

    def __init__(
        self, git: GitSource, recorder: StageRecorder, is_there: Callable[[Key], bool] = lambda _key: False
    ) -> None:
        """is_there: whether an object is, though nobody declares it."""
        self._git, self._record, self._is_there = git, recorder, is_there

    def change(self, trigger: Trigger) -> Change:
        """What a request means. Raises UsageError, NameUnknown, PlanHeld."""
        request = trigger.request
        verbs: dict[str, tuple[Callable[[Mapping[str, Any]], Change], tuple[str, ...]]] = {
            "approve": (self._approve, ("digest",)),
            "release": (self._release, ()),
            "suspend": (self._suspend, ("scope",)),
            "resume": (self._resume, ("scope",)),
            "reconcile": (self._reconcile, ("scope",)),
        }
        name = str(request.get("verb"))
        if name not in verbs:
            raise UsageError(f"no verb {name!r}: there are {', '.join(verbs)}")
        verb, needs = verbs[name]
        odd = [field for field, value in request.items() if not _is_said(field, value)]
        if odd:
            raise UsageError(f"{name}: {odd[0]!a} is not text that can be written down", hint="write it in UTF-8")
        long = [field for field, value in request.items() if isinstance(value, str) and len(value) > TEXT_MAX]
        if long:
            raise UsageError(f"the {long[0]} is longer than {TEXT_MAX} characters", hint="name a page that says more")
        missing = [field for field in ("actor", *needs) if not request.get(field)]
        if missing:
            raise UsageError(f"{name} needs {', '.join(missing)}")
        has_looked, failure = self._git.looked_for(trigger)
        if name == "approve" and self._git.is_starting and not has_looked:
            return self._git.wait(trigger)
        change = verb(request)
        if name == "reconcile" and change.look:
            if failure is not None:
                raise failure
            return change if has_looked else self._git.wait(trigger)
        return change

    def _approve(self, request: Mapping[str, Any]) -> Change:
        held = self._record.mine.held_plan
        if held is None:
            raise NameUnknown(
                "no plan is held", hint="nothing waits for approval; `reconciler plan` shows what is next"
            )
        if request["digest"] != held.digest:
            known = self._was_held(request["digest"])
            which = f"the plan that is held is {held.digest}, not {request['digest']}"
            raise PlanHeld(f"{which}: {_changed(known, held.keys)}; {held.reason}")
        if not self._git.is_finished:  # its Fleet is not the one that was looked at
            newest = self._record.state.ref.commit[:12]
            raise PlanHeld(
                f"commit {newest} was read since, and has no plan yet",
                hint="`reconciler reconcile --wait` makes it; then look at what is held",
            )
        stream, data = f"plan/{self._record.name}", {"digest": held.digest}
        event = self._record.event(ev.CHANGE_APPROVED, stream, data, actor=request["actor"], newdigest=held.digest)
        keys, facts = self._git.held_keys(), self._git.change().facts
        fleet = self._git.policy(self._git.repository.declared, facts.unreadable)
        facts = replace(facts, fleet=fleet, approved=held.digest)
        return Change(keys, (), event.id, held.commit, facts=facts, approval=event)

    def _was_held(self, digest: str) -> Sequence[str] | None:
        """The keys of a plan that was held under this digest; None where none was."""
        held = (e.event for e in self._record.log.read(stream=f"plan/{self._record.name}"))
        return next((e.data["keys"] for e in held if e.newdigest == digest and e.data.get("held")), None)

    def _release(self, request: Mapping[str, Any]) -> Change:
        sought, mine = self._sought(request), self._record.mine
        if sought == Sought():
            raise UsageError("release needs a name: an edge, what is on it, or both")
        keys = [key for key in map(Key.parse, mine.holds) if sought.has(key, mine.known(key).order)]
        if not keys:
            what = f" of {sought.what.text}" if sought.what else ""
            on = f" on {sought.edge}" if sought.edge else ""
            names = in_order(f"{key.edge} {called(key, mine.known(key).order)}" for key in map(Key.parse, mine.holds))
            hint = f"held just now: {listed(names)}" if names else there("held", ())
            raise NameUnknown(f"nothing{what} is held{on}", hint=hint)
        events = tuple(self._record.event(ev.HOLD_LIFTED, key, {}, actor=request["actor"]) for key in keys)
        return self._git.change(keys, events, events[0].id)

    def _suspend(self, request: Mapping[str, Any]) -> Change:
        data = {name: request[name] for name in ("reason", "until") if request.get(name)}
        scopes = self._scopes(request)
        if any(scope.startswith(SETS) for scope in scopes) and DECLARE not in ordering(self._record.state):
            raise UsageError(
                "a set is suspended in a cluster only", hint="suspend its edges, or its objects one by one"
            )
        is_text = all(isinstance(value, str) for value in data.values())
        if not is_text or ("until" in data and not is_time(data["until"])):
            raise UsageError("suspend takes text; `until` is an RFC 3339 time with its zone")
        every = ({"scope": scope, **data} for scope in scopes)
        return Change(
            events=tuple(
                self._record.event(ev.RECONCILE_SUSPENDED, "suspensions", one, actor=request["actor"]) for one in every
            )
        )

    def _resume(self, request: Mapping[str, Any]) -> Change:
        state, said = self._record.state, str(request["scope"])
        if said in state.suspended and not request.get("model"):  # what it was of may be gone
            scopes: tuple[str, ...] = (said,)
        else:
            scopes = self._scopes(request)
        mine = [scope for scope in scopes if scope in state.suspended]
        if not mine:
            for one in suspensions(state, rfc3339(self._record.clock.now())):
                if one.scope in scopes and one.object:
                    raise NameUnknown(f"it is suspended by an annotation on {one.object}", hint=f"`{one.ends}` ends it")
            every = in_order(state.suspended)
            whole = "*" in every
            hint = "everything is suspended: `reconciler resume` ends it" if whole else there("suspended", every)
            what = " ".join(filter(None, (said, str(request.get("model") or ""))))
            raise NameUnknown(
                "no suspension is of everything" if said == "*" else f"{what} is not suspended", hint=hint
            )
        audit = self._git.audit()
        events = tuple(
            self._record.event(
                ev.RECONCILE_RESUMED, "suspensions", {"scope": scope}, causationid=audit.cause, actor=request["actor"]
            )
            for scope in mine
        )
        return replace(audit, events=events, cause=events[0].id)

    def _reconcile(self, request: Mapping[str, Any]) -> Change:
        """Look now: at the branch and everything, or at what belongs to a scope; what waits or was refused is tried.

        model: of an edge only what goes by this name.  check: only whether there is such.
        """
        scope = str(request["scope"])
        sought = Sought() if scope == "*" else self._sought(request)
        if request.get("check"):
            return Change()
        if sought == Sought():
            audit = self._git.audit()
            return replace(audit, events=tuple(asked_again(self._record, self._git.everything(), request["actor"])))
        mine = self._keys(sought)
        events = tuple(asked_again(self._record, mine, request["actor"]))
        return self._git.change(mine, events, events[0].id if events else self._record.state.ref.event)

    def _keys(self, sought: Sought) -> set[Key]:
        """The keys of this stage that are meant: on an edge, by their names, or as part of an object that is."""
        declared, state = self._git.repository.declared, self._record.state
        every = set(self._git.everything())
        if sought.what is None:
            return {key for key in every if within(sought.edge, key, declared, state)}
        named = {key for key in every if sought.has(key, self._record.mine.known(key).order)}
        if sought.edge:
            return {key for key in every if key in named and within(sought.edge, key, declared, state)}
        scopes = self._objects(sought)
        return named | {key for key in every if any(within(scope, key, declared, state) for scope in scopes)}

    def _objects(self, sought: Sought) -> list[str]:
        """The objects that are meant by a name, as scopes: those that bear it, else all that go by it."""
        declared, state = self._git.repository.declared, self._record.state
        found = [key._replace(edge="") for key, order in known_things(declared, state) if sought.has(key, order)]
        own = [key for key in found if sought.what is not None and sought.what.is_own(key)]
        return in_order(scope_of(key) for key in own or found)

    def _scopes(self, request: Mapping[str, Any]) -> tuple[str, ...]:
        """By which names the log suspends what is meant. Raises NameUnknown, NameAmbiguous, UsageError."""
        if request["scope"] == "*" and not request.get("model"):
            return ("*",)
        sought = self._sought(request)
        if sought.what is None:
            return (sought.edge,)
        mine = self._keys(sought)
        if sought.edge:
            return tuple(in_order(map(str, mine)))
        if sought.what.role == "object" or DECLARE in ordering(self._record.state):
            return tuple(self._objects(sought)) or (sought.what.text,)  # what is there, though nobody declares it
        objects, name = in_order(str(key._replace(edge="")) for key in mine), sought.what.text
        if len(objects) != 1:
            edges = in_order(key.edge for key in mine)
            hint = f"as `reconciler {request['verb']} {edges[0]} {name}`; or a whole edge" if edges else "name an edge"
            raise UsageError(f"{name} is on {len(edges)} edges, and is suspended edge by edge", hint=hint)
        return tuple(objects)

    def _sought(self, request: Mapping[str, Any]) -> Sought:
        """What a request is about, by its names: {name}, {edge, model}, or {scope, model}. Raises NameUnknown."""
        first, model = (str(request.get(name) or "") for name in ("scope", "model"))
        said = {"edge": first, "model": model} if model else {"name": first}
        if not first:
            said = {name: str(request.get(name) or "") for name in ("name", "edge", "model")}
        if first and not model and (what := word(first)).role == "object" and self._is_there(Key.parse(what.text)):
            return Sought("", what)
        declared, state = self._git.repository.declared, self._record.state
        mine = ((key, self._record.mine.known(key).order) for key in self._git.everything())
        return Names([*known_things(declared, state), *mine], known_edges(declared, state)).sought(said)


def _changed(before: Sequence[str] | None, now: Sequence[str]) -> str:
    """What a held plan has that one before it did not, and what it has no more."""
    if before is None:
        return "no plan of that digest was held"
    more, less = sorted(set(now) - set(before)), sorted(set(before) - set(now))
    parts = [f"{word} {_few(keys)}" for word, keys in (("it now has", more), ("it has no more", less)) if keys]
    return " and ".join(parts) or "what it does to the same objects is something else now"


def _few(keys: Sequence[str]) -> str:
    said = ", ".join(map(spoken, keys[:FEW]))
    return said + (f" and {len(keys) - FEW} more" if len(keys) > FEW else "")
