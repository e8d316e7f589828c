"""`plan --check`: looks beyond Git, before the push, at what a plan would have edges fetch and serve.

In: the steps of a plan.  Out: what was found: a new URL that leads nowhere, or to another size; a port that somebody
else has. Bounded: at most MOST URLs, EACH_S seconds each and ALL_S altogether.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from reconciler.artifacts.ahead import look
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
    """A URL to look at. origin: who asks for it."""

    url: str
    size: int | None
    allow_loopback: bool
    origin: str


def checked(steps: Iterable["Step"], state: "State", *, here: bool) -> list[Found]:
    """What is not as it should be, URLs first. here: whether the edges are of this machine, whose ports are seen."""
    steps = [step for step in steps if step.action != "delete" and not step.waits]
    fleet = state.fleet.get("artifacts") or {}
    urls = list({one.url: one for step in steps for one in _urls(step, fleet)}.values())
    found = _asked(urls[:MOST])
    if len(urls) > MOST:
        found.append(Found(f"{len(urls) - MOST} of {len(urls)} new URLs were not looked at", is_wrong=False))
    return [*found, *_ports(steps, state)] if here else found


def _urls(step: "Step", fleet: Mapping[str, Any]) -> Iterator[Url]:
    """The URLs that are new in a step, and not those that an edge has already."""
    new = {change.new for change in step.changes if isinstance(change.new, str)}
    spec = step.spec.get("spec", {})
    entries = [*spec.get("manifest", ()), *spec.get("versions", ())]
    entries += [{"downloadURL": step.spec["url"], "size": step.spec.get("size")}] if "url" in step.spec else []
    allows = bool((step.policy or fleet).get("allowLoopback"))
    for entry in entries:
        url = entry.get("downloadURL")
        is_fetched = not step.key.edge or (step.fetch_bytes != 0 and step.spec.get("bytes") is not False)
        if url in new and is_fetched and not url.startswith("file:"):
            size = entry.get("size")
            yield Url(url, int(size) if size is not None else None, allows, step.origin)


def _asked(urls: list[Url]) -> list[Found]:
    clock = SystemClock()

    def ask(one: Url) -> None:
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


def _ports(steps: Iterable["Step"], state: "State", free: Callable[[str, int], None] = check_free) -> Iterator[Found]:
    """Ports that somebody else has; those of what is served already are ours, and change hands."""
    ours = {
        (served.order.get("address"), served.order.get("port"))
        for stage in state.stages.values()
        for served in stage.keys.values()
    }
    for step in steps:
        place = step.spec.get("address"), step.spec.get("port")
        if None in place or place in ours or not step.spec.get("serving", True):
            continue
        try:
            free(str(place[0]), int(place[1] or 0))
        except ReconcilerError as taken:
            yield Found(f"{taken.code}: {taken.message} ({step.origin})", is_wrong=True)
