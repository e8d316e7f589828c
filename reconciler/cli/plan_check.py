"""`plan --check`: looks beyond Git, before the push, at what a plan would have edges fetch and serve.

In: the steps of a plan.  Out: what was found: a new URL that leads nowhere, or to another size; a port that somebody
else has; and what was looked at, and what not. Bounded: at most MOST URLs, EACH_S seconds each and ALL_S altogether.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from reconciler.artifacts.ahead import look, look_at_file
from reconciler.errors import ReconcilerError, WorldUnavailable
from reconciler.serving.holder import check_free
from reconciler.wiring.process import SystemClock

if TYPE_CHECKING:
    from reconciler.history.state import State
    from reconciler.planning.plan import Step

MOST: Final = 100
EACH_S: Final = 10.0
ALL_S: Final = 60.0
AT_ONCE: Final = 8


class Found(NamedTuple):
    """What a look has shown. is_wrong: not as declared; else it could not be told."""

    text: str
    is_wrong: bool


class Url(NamedTuple):
    """A URL to look at. origin: who asks for it.  is_had: whether who asks has what it leads to already."""

    url: str
    size: int | None
    allow_loopback: bool
    allow_file: bool
    origin: str
    is_had: bool

    @property
    def is_file(self) -> bool:
        """Whether it is on the disk of whoever asks."""
        return self.url.startswith("file:")


class Checked(NamedTuple):
    """found: what is not as it should be, URLs first.  looked: what was looked at and what not, in a line."""

    found: list[Found]
    looked: str


def checked(steps: Iterable["Step"], state: "State", *, here: bool) -> Checked:
    """What a look shows. here: whether the edges are of this machine, whose files and ports are seen."""
    steps = [step for step in steps if step.action != "delete" and not step.waits]
    fleet = state.fleet.get("artifacts") or {}
    new = [one for step in steps for one in _urls(step, fleet)]
    every = {one.url: one for one in sorted(new, key=lambda one: not one.is_had)}  # one that somebody lacks is asked
    lacked = [one for one in every.values() if not one.is_had]
    urls = [one for one in lacked if here or not one.is_file]
    places = _places(steps, state) if here else {}
    found = _asked(urls[:MOST])
    if len(urls) > MOST:
        found.append(Found(f"{len(urls) - MOST} of {len(urls)} new URLs were not looked at", is_wrong=False))
    found += _taken(places)
    seen = f"looked at {_many(min(len(urls), MOST), 'new URL')} and {_many(len(places), 'new port')}"
    left = {
        f"{_many(len(every) - len(lacked), 'URL')} whose content an edge has already": len(every) - len(lacked),
        f"{_many(len(lacked) - len(urls), 'file URL')} of other machines": len(lacked) - len(urls),
        "ports of other machines": not here,
    }
    unseen = ", ".join(words for words, many in left.items() if many)
    said = seen + ("" if found or not (urls or places) else ": nothing is wrong there")
    return Checked(found, said + (f"; not looked at: {unseen}" if unseen else ""))


def _many(many: int, what: str) -> str:
    return f"{many} {what}{'s' * (many != 1)}"


def _urls(step: "Step", fleet: Mapping[str, Any]) -> Iterator[Url]:
    """The URLs that are new in a step, of what is to be fetched or is had already."""
    new = {change.new for change in step.changes if isinstance(change.new, str)}
    spec = step.spec.get("spec", {})
    entries = [*spec.get("manifest", ()), *spec.get("versions", ())]
    entries += [{"downloadURL": step.spec["url"], "size": step.spec.get("size")}] if "url" in step.spec else []
    policy = step.policy or fleet
    loopback, file = bool(policy.get("allowLoopback")), bool(policy.get("allowFile"))
    for entry in entries:
        url = entry.get("downloadURL")
        if url in new and (not step.key.edge or step.spec.get("bytes") is not False):
            size = int(entry["size"]) if entry.get("size") is not None else None
            yield Url(url, size, loopback, file, step.origin, bool(step.key.edge) and step.fetch_bytes == 0)


def _asked(urls: list[Url]) -> list[Found]:
    clock = SystemClock()

    def ask(one: Url) -> None:
        if one.is_file:
            look_at_file(one.url, one.size, allow_file=one.allow_file)
            return
        look(one.url, one.size, allow_loopback=one.allow_loopback, clock=clock, within_s=EACH_S)

    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="check")
    try:
        asked = [pool.submit(ask, one) for one in urls]
        wait(asked, ALL_S)
        found = []
        for one, answer in zip(urls, asked, strict=True):
            if not answer.done():
                found.append(
                    Found(f"{one.url.partition('?')[0]} was not answered in time ({one.origin})", is_wrong=False)
                )
            elif isinstance(failure := answer.exception(), ReconcilerError):
                wrong = not isinstance(failure, WorldUnavailable)
                found.append(Found(f"{failure.code}: {failure.message} ({one.origin})", wrong))
            elif failure is not None:
                raise failure
        return found
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _places(steps: Iterable["Step"], state: "State") -> dict[tuple[str, int], str]:
    """Address and port -> who asks for it; not of what is served already: those are ours, and change hands."""
    ours = {
        (served.order.get("address"), served.order.get("port"))
        for stage in state.stages.values()
        for served in stage.keys.values()
    }
    asked = [((step.spec.get("address"), step.spec.get("port")), step) for step in steps]
    return {
        (str(place[0]), int(place[1] or 0)): step.origin
        for place, step in asked
        if None not in place and place not in ours and step.spec.get("serving", True)
    }


def _taken(places: Mapping[tuple[str, int], str]) -> Iterator[Found]:
    """Ports that somebody else has."""
    for (address, port), origin in places.items():
        try:
            check_free(address, port)
        except ReconcilerError as taken:
            yield Found(f"{taken.code}: {taken.message} ({origin})", is_wrong=True)
