"""The routes of the hub's listener: health, /metrics, /api/v1 and the page. Imports starlette; everything of web.

In: requests that passed the guard.  Out: the same documents that `--output json` prints, errors too. Nothing here
writes, and nothing touches what the loop works on.
"""

import asyncio
import gzip
import json
import sys
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from reconciler.errors import NameUnknown, PointUnknown, ReconcilerError, UsageError, WorldUnavailable
from reconciler.history.events import Entry
from reconciler.ports import EventLog
from reconciler.web.answers import QUESTIONS, Query
from reconciler.web.chosen import NAMES
from reconciler.web.counters import Tally
from reconciler.web.document import document, failure
from reconciler.web.followers import Bell
from reconciler.web.live import LiveLog
from reconciler.web.records import Record, Wanted, past_records, record
from reconciler.wiring.basis import Followed, told, values
from reconciler.wiring.past import Past
from reconciler.wiring.vitals import Vitals

FOLLOWERS: Final = 16
QUIET_S: Final = 15.0  # then an empty line tells both sides that the other is there
LINES: Final = 256  # of a long answer, in one piece
PAGE: Final = 1000  # entries that a follower takes at once
PACKED: Final = 3  # of gzip's nine: five times as fast as the usual six
BASIS: Final = frozenset({"keys"})
HISTORY: Final = NAMES | {
    *("selector", "commit", "author", "actor", "type", "since", "until", "limit", "cursor", "follow"),
}


class Site:
    """What the routes stand on. ending: from when on nobody is followed and this is not ready."""

    def __init__(self, live: LiveLog, writer: EventLog, tally: Tally, vitals: Vitals, followed: Followed) -> None:
        """writer: the log that the hub writes; asked only whether it still can."""
        self.live, self.writer, self.tally, self.vitals, self.followed = live, writer, tally, vitals, followed
        self.bell = Bell()
        self.ending = False
        self._metrics: Any = None

    def routes(self) -> list[Route]:
        """Every address."""
        questions = (Route(f"/api/v1/{name}", self._answer(asked)) for name, asked in QUESTIONS.items())
        return [
            Route("/", self._page),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._exposition),
            Route("/api/v1", self._index),
            Route("/api/v1/history", self._history),
            Route("/api/v1/basis", self._basis),
            *questions,
        ]

    # ── health ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _healthz(self, _: Request) -> Response:
        await run_in_threadpool(self.writer.head)  # raises once its disk has refused a write
        return _text("ok\n")

    async def _readyz(self, _: Request) -> Response:
        waits = ["the reconciler is ending"] if self.ending else []
        waits += [] if self.tally.has_commit else ["no commit was read yet"]
        waits += self.vitals.waits()
        return _text("\n".join(waits or ["ok"]) + "\n", 503 if waits else 200)

    # ── metrics and the page ──────────────────────────────────────────────────────────────────────────────────────

    async def _exposition(self, _: Request) -> Response:
        from prometheus_client import CONTENT_TYPE_LATEST

        from reconciler.web.metrics import Metrics

        if self._metrics is None:
            self._metrics = Metrics(self.live.past, self.tally, self.vitals)
        text = await self.live.asked(lambda _: self._metrics.text())
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    async def _page(self, _: Request) -> Response:
        from reconciler.web import page

        asked = QUESTIONS["status"]
        text = await self.live.asked(lambda past: page.rendered(asked.ask(past, {})))
        return Response(text, media_type="text/html", headers={"content-security-policy": page.POLICY})

    # ── the API ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _index(self, _: Request) -> Response:
        every = {name: sorted(asked.arguments) for name, asked in QUESTIONS.items()}
        every |= {"history": sorted(HISTORY), "basis": sorted(BASIS)}
        return _json(document("Questions", {"questions": every}))

    def _answer(self, asked: Query) -> Any:
        async def answer(request: Request) -> Response:
            said = _arguments(request, asked.arguments)
            body = await self.live.asked(lambda past: _written(document(asked.kind, asked.ask(past, said))))
            return Response(body, media_type="application/json")

        return answer

    async def _history(self, request: Request) -> Response:
        said = _arguments(request, HISTORY)
        if said.get("follow", "true") not in {"true", "false"}:
            raise UsageError(f"follow={said['follow'][:20]!r} is neither true nor false", hint="write follow=true")
        follow = said.get("follow") == "true"
        if follow and self.bell.followers >= FOLLOWERS:
            raise WorldUnavailable(f"{FOLLOWERS} follow the log already", hint="ask again without follow")
        head = self.live.log.head().seq
        wanted, records = await self.live.asked(lambda past: _wanted(past, said, head))
        lines = self._followed(records, wanted, head) if follow else iterate_in_threadpool(_pieces(records))
        return StreamingResponse(lines, media_type="application/x-ndjson", headers={"reconciler-head": str(head)})

    async def _basis(self, request: Request) -> Response:
        """What a clone elsewhere is planned by, short of values; keys: those at these places, in full."""
        said = _arguments(request, BASIS)
        packed = "gzip" in request.headers.get("accept-encoding", "")

        def answer(past: Past) -> bytes:
            body = values(past, self.followed, said["keys"]) if said.get("keys") else told(past, self.followed)
            return gzip.compress(body, PACKED) if packed else body

        body = await self.live.asked(answer)
        headers = {"content-encoding": "gzip"} if packed else {}
        return Response(body, media_type="application/json", headers=headers | {"vary": "accept-encoding"})

    async def _followed(self, records: Iterator[Record], wanted: Wanted, after: int) -> AsyncIterator[bytes]:
        with self.bell.following() as rung:
            async for piece in iterate_in_threadpool(_pieces(records)):
                yield piece
            while not self.ending:
                rung.clear()
                entries = await run_in_threadpool(self._news, after)
                if entries:
                    after = entries[-1].seq
                    told = b"".join(_line(record(entry)) for entry in entries if wanted.has(entry))
                    if told:
                        yield told
                    continue
                try:
                    await asyncio.wait_for(rung.wait(), QUIET_S)
                except TimeoutError:
                    yield b"\n"

    def _news(self, after: int) -> list[Entry]:
        return list(islice(self.live.log.read(after), PAGE))

    def end(self) -> None:
        """Send those who follow away."""
        self.ending = True
        self.bell.ring()


def application(site: Site) -> Starlette:
    """The routes as one application; what goes wrong is answered as the command line would say it."""
    return Starlette(
        routes=site.routes(),
        exception_handlers={ReconcilerError: _failed, HTTPException: _refused, Exception: _broken},
    )


def _arguments(request: Request, known: frozenset[str]) -> Mapping[str, str]:
    """What stands behind the question mark. Raises UsageError for a name that nobody asked for, or said twice."""
    every = request.query_params.multi_items()
    said = dict(every)
    if len(every) != len(said):
        raise UsageError("a parameter is given more than once", hint="give each once")
    unknown = sorted(said.keys() - known)
    if unknown:
        takes = ", ".join(sorted(known)) or "nothing"
        raise UsageError(f"{request.url.path} takes no {unknown[0][:40]!r}", hint=f"it takes {takes}")
    return said


def _wanted(past: Past, said: Mapping[str, str], head: int) -> tuple[Wanted, Iterator[Record]]:
    wanted = Wanted.of(said, past)
    return wanted, past_records(past, wanted, head)


def _pieces(records: Iterator[Record]) -> Iterator[bytes]:
    while piece := b"".join(_line(one) for one in islice(records, LINES)):
        yield piece


def _line(one: Record) -> bytes:
    return _written(document("Event", one)) + b"\n"


def _written(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _json(value: Any, status: int = 200) -> Response:
    return Response(_written(value), status, media_type="application/json")


def _text(text: str, status: int = 200) -> Response:
    return Response(text, status, media_type="text/plain")


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, ReconcilerError)
    if isinstance(error, NameUnknown | PointUnknown):
        return _json(failure(error), 404)
    if isinstance(error, UsageError):
        return _json(failure(error), 400)
    return _json(failure(error), 503 if isinstance(error, WorldUnavailable) else 500)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    hint = "there are /, /healthz, /readyz, /metrics and /api/v1"
    return _json(failure(UsageError(f"nothing is at {request.url.path[:200]}", hint=hint)), error.status_code)


async def _broken(_: Request, error: Exception) -> Response:
    traceback.print_exception(error, file=sys.stderr)
    return _json(failure(ReconcilerError("this is a bug; its traceback stands in the hub's output")), 500)
