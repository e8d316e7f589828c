"""What a hub knows, as a value that travels: by it a clone elsewhere is planned as the hub itself would plan it.

In: a hub's log, and where it keeps a cluster what its watches see.  Out: bytes of JSON, and back. Orders and objects
are told by digest; whole is what stands out (refused, drifted, open) and what is asked for. One version of this and of
the fold reads no other.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

import reconciler
from reconciler.errors import AnswerRefused, KindMissing, UsageError
from reconciler.history.fold import CODE_VERSION
from reconciler.history.keys import DECLARE, DELIVER, Key
from reconciler.history.state import FAILED, Served, State
from reconciler.kube.watch.object import Live
from reconciler.model.identity import GROUP
from reconciler.planning.declared import Object

if TYPE_CHECKING:
    from reconciler.wiring.past import Past

VERSION: Final = f"1.{CODE_VERSION}"
QUERY: Final = 1500  # bytes of one question for values, well below what a listener takes
RECONCILE: Final = f"{GROUP}/reconcile"
MOVED: Final = 3  # times that a hub may go on while it is asked

_T = TypeVar("_T", bound="Head")


class Known(msgspec.Struct, frozen=True, omit_defaults=True):
    """One key in full: what was ordered and what came of it, and the object that is there."""

    served: Served
    live: Live | None = None

    @property
    def digests(self) -> tuple[str, str]:
        """Of what was ordered and came of it, and of what is there."""
        return _digest(self.served), _digest(self.live)


class Head(msgspec.Struct, kw_only=True, rename="camel"):
    """The part of an answer that every version has. digest: of all that follows from the log and the watches."""

    kind: str
    basis_version: str = ""
    release: str = ""


class Basis(Head, kw_only=True, rename="camel"):
    """What a hub knows. stage: that orders by its commits.  state: of which most orders are told in short.

    declared: the last good content of each document, by where it stands, as in state.documents.  digests: key -> those
    of `Known`, in the order in which keys are asked for.  wide: the objects whose annotations suspend them or others.
    unseen: kinds of which the hub cannot see what there is -> why.
    """

    branch: str
    path: str
    stage: str
    state: State
    declared: dict[str, Object]
    digests: dict[str, tuple[str, str]]
    wide: dict[str, Live] = {}
    unseen: dict[str, str] = {}


class Values(Head, kw_only=True, rename="camel"):
    """What was asked for beyond a basis."""

    whole: dict[str, Known]


class Seen(NamedTuple):
    """The objects that a hub sees in its cluster. unseen: kinds that it cannot see -> why."""

    objects: Mapping[Key, Live]
    unseen: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Followed:
    """What a hub follows. see: what is there now, where it keeps a cluster. Raises ApiUnavailable.

    said: what is declared, encoded, by the entry of the log that it was read in: the newest that was asked for.
    """

    branch: str
    path: str
    see: Callable[[], Seen] | None = None
    said: dict[int, msgspec.Raw] = field(default_factory=dict)

    def declared(self, past: "Past", state: State) -> Any:
        """See Basis. Most questions are about one commit, and encoding is most of an answer."""
        from reconciler.wiring.past import remembered

        seq = state.ref.seq
        if (known := self.said.get(seq)) is None:
            known = msgspec.Raw(msgspec.json.encode(remembered(state, past.log, past.place).standing()))
            self.said.clear()
            self.said[seq] = known
        return known


def told(past: "Past", hub: Followed) -> bytes:
    """The basis at the end of the log. Raises ApiUnavailable."""
    state, name, known, seen = _known(past, hub)
    keys = {
        text: one.served if _stands_out(one.served) else _short(one.served)
        for text, one in known.items()
        if text in state.stage(name).keys
    }
    stages = {**state.stages, name: msgspec.structs.replace(state.stage(name), keys=keys)}
    found = Basis(
        kind="Basis",
        basis_version=VERSION,
        release=reconciler.__version__,
        branch=hub.branch,
        path=hub.path,
        stage=name,
        state=msgspec.structs.replace(state, stages=stages),
        declared=hub.declared(past, state),
        digests={text: one.digests for text, one in known.items()},
        wide={str(key): live for key, live in seen.objects.items() if RECONCILE in live.annotations},
        unseen=dict(seen.unseen),
    )
    return msgspec.json.encode(found)


def values(past: "Past", hub: Followed, asked: str) -> bytes:
    """The keys at these places among all, as `0-5,9`, in full. Raises UsageError, ApiUnavailable."""
    every = list(_known(past, hub)[2].items())
    whole = dict(every[place] for place in places(asked) if place < len(every))
    found = Values(kind="Values", basis_version=VERSION, release=reconciler.__version__, whole=whole)
    return msgspec.json.encode(found)


def _known(past: "Past", hub: Followed) -> tuple[State, str, dict[str, Known], Seen]:
    """(the state, the stage of its commits, all that is known of its keys, by key, and what is there)."""
    state, name = past.replay.at(), DELIVER if hub.see is None else DECLARE
    seen, mine = hub.see() if hub.see is not None else Seen({}, {}), state.stage(name)
    live = {str(key): one for key, one in seen.objects.items()}
    return state, name, {text: Known(mine.known(text), live.get(text)) for text in sorted({*mine.keys, *live})}, seen


def _stands_out(served: Served) -> bool:
    return served.open or served.phase in FAILED or bool(served.drift or served.fought)


def _short(served: Served) -> Served:
    """The same without its values, but for what others are judged by: that it has any, its version and its port."""
    order, spec = served.order, served.order.get("spec")
    names = ("version", "port", "modelName")
    said: dict[str, Any] = {name: order[name] for name in names if name in order}
    if spec is not None:
        said["spec"] = {name: spec[name] for name in ("targetVersion", "servingPort", "modelName") if name in spec}
        said |= {"labels": order["labels"]} if "labels" in order else {}
    live = {"version": served.live.get("version", "")} if served.live else {}
    return msgspec.structs.replace(served, order=said, before={}, policy={}, live=live, own_spec={}, flips=[])


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:16] if value else ""


# ── places of keys ────────────────────────────────────────────────────────────────────────────────────────────────────


def places(text: str) -> list[int]:
    """`0-2,5` -> [0, 1, 2, 5]. Raises UsageError."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isascii() and first.isdigit() and (not last or (last.isascii() and last.isdigit()))):
            raise UsageError("keys are asked for by their places, as in keys=0-5,9")
        begin, end = int(first[:9]), int((last or first)[:9])
        if end - begin > 1_000_000 or end < begin:
            raise UsageError("keys are asked for by their places, as in keys=0-5,9")
        found += range(begin, end + 1)
    return found


def ranges(numbers: Iterable[int]) -> Iterator[str]:
    """Questions for all of these places, each of at most QUERY bytes."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    said = ""
    for first, last in parts:
        part = f"{first}-{last}" if last > first else str(first)
        if said and len(said) + len(part) >= QUERY:
            yield said
            said = ""
        said = f"{said},{part}" if said else part
    if said:
        yield said


# ── at the other end ──────────────────────────────────────────────────────────────────────────────────────────────────

Fetch = Callable[[Mapping[str, str]], bytes]  # the answer to a question about the basis. Raises WorldUnavailable


class Moved(Exception):
    """The hub has gone on since its basis was read."""


class Hub:
    """A hub elsewhere, as one basis of it. What is asked for is checked against the digests of that basis."""

    def __init__(self, fetch: Fetch) -> None:
        """Raises AnswerRefused, WorldUnavailable."""
        self._fetch = fetch
        self.basis = _read(fetch({}), Basis, "Basis")
        self._places = {key: n for n, key in enumerate(self.basis.digests)}
        self._whole: dict[str, Known] = {}

    # ── as the cache of documents, and as the objects of a cluster ────────────────────────────────────────────────

    def load(self, oids: Iterable[str]) -> dict[str, list[Object]]:
        """See `sources.cache.DocumentCache`. Raises AnswerRefused where one is missing."""
        found: dict[str, list[Object]] = {oid: [] for oid in oids}
        for good, obj in self.basis.declared.items():
            if (oid := good.partition("#")[0]) in found:
                found[oid].append(obj)
        missing = next((path for path, goods in self.basis.state.documents.items() if self._lacks(goods)), "")
        if missing:
            raise AnswerRefused(f"the hub's basis lacks what was declared last in {missing}")
        return found

    def _lacks(self, goods: Iterable[str]) -> bool:
        return any(good and good not in self.basis.declared for good in goods)

    def keep(self, parsed: Mapping[str, list[Object]]) -> None:
        """See `sources.cache.DocumentCache`: nothing is kept."""

    def get(self, key: Key) -> Live | None:
        """See `kube.watch.cache.Cache`; of a key that was asked for, or is about others."""
        if why := self.basis.unseen.get(key.kind):
            raise KindMissing(why)
        known = self._whole.get(str(key))
        return known.live if known is not None else self.basis.wide.get(str(key))

    def all(self, kind: str) -> list[tuple[Key, Live]]:
        """See `kube.watch.cache.Cache`; those that are about others."""
        if why := self.basis.unseen.get(kind):
            raise KindMissing(why)
        every = ((Key.parse(text), live) for text, live in self.basis.wide.items())
        return [(key, live) for key, live in every if key.kind == kind]

    # ── what is asked for beyond it ───────────────────────────────────────────────────────────────────────────────

    def ask(self, keys: Iterable[Key], state: State) -> None:
        """Have what the hub knows of these keys in full in `state`. Raises Moved, AnswerRefused, WorldUnavailable."""
        missing = {str(key) for key in keys} & self._places.keys() - self._whole.keys()
        for said in ranges(self._places[key] for key in missing):
            for key, known in _read(self._fetch({"keys": said}), Values, "Values").whole.items():
                if key not in missing or known.digests != self.basis.digests[key]:
                    raise Moved(f"the hub went on while it was asked for {key}")
                self._whole[key] = known
        if missing - self._whole.keys():
            raise Moved("the hub went on while it was asked")
        mine = state.stage(self.basis.stage)
        for key in missing:
            if key in mine.keys:
                mine.keys[key] = self._whole[key].served


def _read(body: bytes, type_: type[_T], kind: str) -> _T:
    """An answer of this version. Raises AnswerRefused."""
    try:
        head = msgspec.json.decode(body, type=Head)
    except msgspec.MsgspecError as error:
        raise AnswerRefused("what answered is no hub: its answer has no basis in it") from error
    if head.kind != kind or head.basis_version != VERSION:
        theirs = f"{head.basis_version or 'none'} of release {head.release or 'unknown'}"
        raise AnswerRefused(
            f"the hub answers with basis {theirs}; this command, release {reconciler.__version__}, reads {VERSION}",
            hint="install the release that the hub has, from where the hub's came",
        )
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.MsgspecError as error:
        raise AnswerRefused(f"the hub's {kind.lower()} cannot be read: {error}") from error
