"""`wait` ends when something is known, keeps asking who answers badly, and says by its exit code what it was."""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest

from reconciler.cli.options import Duration
from reconciler.cli.wait import of_running, tell, until_live, within
from reconciler.cli.where import Where
from reconciler.errors import HubUnreachable, NameUnknown, ReconcilerError, WorldUnavailable
from reconciler.eventlog.lock import WriterLock
from reconciler.history.awaited import Awaited, Hold, alike
from tests.unit.cli_world import FILES, World
from tests.unit.conftest import Call

OLDER = {"schemaVersion": 1, "kind": "Error", "code": "RX101", "hint": "", "error": "nothing is at /api/v1/wait"}


def answer(word: str = "live", **hold: object) -> Awaited:
    known: dict[str, object] = {"what": "e1 digits", "word": word, "why": "so"}
    holds = () if word == "live" else (Hold(**known | hold),)  # type: ignore[arg-type]  # test data
    return Awaited(commit="c" * 40, accepted="c" * 40, read="c" * 40, word=word, keys=1, holds=holds)


def asked(*said: Awaited | ReconcilerError) -> tuple[Callable[[float, Awaited | None], Awaited], list[int]]:
    """Who answers so, one after the other, and the last for ever; how often it was asked."""
    count: list[int] = []

    def look(patience_s: float, before: Awaited | None) -> Awaited:  # what `until_live` calls
        found = said[min(len(count), len(said) - 1)]
        count.append(1)
        if isinstance(found, ReconcilerError):
            raise found
        return found

    return look, count


def test_who_answers_badly_is_asked_again_until_it_is_live() -> None:
    moving = answer("under way", by_itself=True)
    look, count = asked(HubUnreachable("not yet"), WorldUnavailable("cut"), moving, answer())
    assert until_live(look, 60.0, shows=False).word == "live"
    assert len(count) == 4


def test_nobody_waits_for_what_time_does_not_bring() -> None:
    for hold in (answer("waits"), answer("failing"), answer("failing", by_itself=True, until="2999-01-01T00:00:00Z")):
        look, count = asked(hold)
        assert until_live(look, 60.0, shows=False) == hold
        assert len(count) == 1


def test_what_is_tried_again_in_time_is_waited_for() -> None:
    look, _ = asked(answer("failing", by_itself=True, until="2020-01-01T00:00:00Z"), answer())
    assert until_live(look, 60.0, shows=False).word == "live"


def test_when_time_is_over_the_last_answer_or_failure_is_told() -> None:
    look, _ = asked(answer("under way", by_itself=True))
    assert until_live(look, 0.0, shows=False).word == "under way"
    look, _ = asked(WorldUnavailable("cut"))
    with pytest.raises(WorldUnavailable):
        until_live(look, 0.0, shows=False)
    look, _ = asked(HubUnreachable("nobody listens"))
    with pytest.raises(WorldUnavailable, match="nobody listens"):
        until_live(look, 0.0, shows=False)


def test_a_name_that_is_wrong_is_told_at_once() -> None:
    look, count = asked(NameUnknown("there is no edge moon"))
    with pytest.raises(NameUnknown):
        until_live(look, 60.0, shows=False)
    assert len(count) == 1


def test_who_trickles_is_not_waited_for() -> None:
    ended = threading.Event()
    with pytest.raises(WorldUnavailable, match="no answer within"):
        within(0.05, ended.wait)
    ended.set()


def test_what_is_shaped_otherwise_is_no_traceback() -> None:
    def ask() -> None:
        raise TypeError("'int' object is not iterable")

    with pytest.raises(WorldUnavailable, match="no hub's answer"):
        within(5.0, ask)


@pytest.fixture
def odd_hub() -> Iterator[Callable[[bytes, int], str]]:
    """Somebody who listens and answers everything with these bytes."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def serve(body: bytes, status: int = 200) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>please sign in</html>", 200),
        (b"[]", 200),
        (json.dumps({"schemaVersion": 99, "kind": "Awaited"}).encode(), 200),
        (json.dumps({"schemaVersion": 1, "kind": "Awaited", "commit": "c"}).encode(), 200),
        (
            json.dumps(
                {"schemaVersion": 1, "kind": "Awaited", "holds": 5}
                | dict.fromkeys(("commit", "accepted", "read", "word", "keys"), "x")
            ).encode(),
            200,
        ),
        (json.dumps(OLDER).encode(), 404),
        (b"", 502),
    ],
)
def test_a_hub_that_answers_wrongly_is_a_coded_error(
    call: Call, odd_hub: Callable[[bytes, int], str], body: bytes, status: int
) -> None:
    said = call("wait", "--hub", odd_hub(body, status), "--timeout", "0")
    assert said.code in {2, 4, 5}
    assert said.err.startswith("error[RX")


@pytest.fixture
def running(settled: World) -> Iterator[None]:
    """Somebody writes the log of `settled`."""
    lock = WriterLock(settled.place.hub.log)
    yield
    lock.release()


@pytest.mark.usefixtures("running")
def test_wait_of_a_commit_that_is_live_and_of_one_that_was_not_read(call: Call, settled: World) -> None:
    at = ("--state", settled.place.root)
    said = call("wait", *at, "--timeout", "0")
    assert (said.code, " is live: " in said.out) == (0, True), said
    said = call("wait", "--commit", "deadbeef", *at, "--timeout", "0")
    assert (said.code, "the hub has read" in said.out) == (4, True)
    assert call("wait", "--commit", "v1.0-final", *at).code == 2
    tree = ("--repo", settled.repository.path)
    assert call("wait", *tree, *at, "--timeout", "0").code == 0
    settled.repository.commit({"edges/berlin-09.yaml": FILES["edges/berlin-08.yaml"]}, "Not read yet")
    said = call("wait", *tree, *at, "--timeout", "0")
    assert (said.code, "is not known to be live: 1 thing holds it" in said.out) == (4, True)


@pytest.mark.parametrize("words", [(), ("--commit", "HEAD"), ("berlin-07", "defect")])
def test_nothing_is_live_where_no_reconciler_runs(call: Call, settled: World, words: tuple[str, ...]) -> None:
    asked = ("wait", *words, "--repo", settled.repository.path, "--state", settled.place.root)
    said = call(*asked, "--timeout", "0.1")
    assert (said.code, " is not known to be live: " in said.out) == (4, True)
    assert f"  the hub: unread: no reconciler runs at {settled.place.root}" in said.out
    assert said.err.splitlines() == [
        f"waiting: no reconciler runs at {settled.place.root}, and what its log says is of the past"
    ]
    lock = WriterLock(settled.place.hub.log)
    assert call(*asked, "--timeout", "0").code == 0
    lock.release()


def test_a_hub_that_comes_back_is_waited_for(settled: World) -> None:
    locks: list[WriterLock] = []

    def look(patience_s: float, before: Awaited | None) -> Awaited:
        if before is not None and not locks:
            locks.append(WriterLock(settled.place.hub.log))
        return answer()

    assert until_live(of_running(Where(settled.place.root), look), 60.0, shows=False).word == "live"
    assert len(locks) == 1
    locks[0].release()


def test_a_refused_document_that_a_log_of_the_past_tells_is_not_the_answer(settled: World) -> None:
    look, _ = asked(answer("refused"))
    found = until_live(of_running(Where(settled.place.root), look), 0.0, shows=False)
    assert (found.word, [hold.word for hold in found.holds]) == ("unread", ["unread", "refused"])


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    ("below", "named"), [(".", "fleet"), (".", "./fleet"), ("fleet/edges", ".."), ("fleet", "."), ("fleet", "edges")]
)
def test_a_work_tree_may_be_named_by_any_path(
    call: Call, settled: World, monkeypatch: pytest.MonkeyPatch, below: str, named: str
) -> None:
    monkeypatch.chdir(settled.root / below)
    assert call("wait", "--repo", named, "--state", settled.place.root, "--timeout", "0").code == 0


def test_what_is_no_work_tree_is_named(call: Call, settled: World, tmp_path: Path) -> None:
    said = call("wait", "--repo", tmp_path, "--state", settled.place.root)
    assert (said.code, f"{tmp_path} is no Git repository" in said.err) == (2, True)


def test_what_is_held_alike_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    those = [
        Hold(what=f"e{n} digits", word="waits", why="plan 1 is held", ends="reconciler approve 1") for n in range(7)
    ]
    other = Hold(what="e9 digits", word="waits", why="e9 was never heard", ends="start the agent of e9")
    tell(replace(answer("waits"), holds=(*those, other)), "table")
    assert capsys.readouterr().out.splitlines() == [
        "commit ccccccc waits: 8 things hold it",
        "  7 (e0 digits … e6 digits): waits: plan 1 is held; `reconciler approve 1`",
        "  e9 digits: waits: e9 was never heard; start the agent of e9",
    ]
    tell(replace(answer(), keys=0), "table")
    assert capsys.readouterr().out == "commit ccccccc is live: nothing is left to do\n"
    tell(replace(answer(), keys=0, concerns=False), "table")
    said = "commit ccccccc is live: nothing is left to do; it changes nothing of what was asked about\n"
    assert capsys.readouterr().out == said


@pytest.mark.usefixtures("running")
def test_a_commit_of_another_branch_is_never_read_and_that_is_said(call: Call, settled: World) -> None:
    git = settled.repository.git
    git("checkout", "-q", "-b", "feature")
    settled.repository.commit({"edges/berlin-09.yaml": FILES["edges/berlin-08.yaml"]}, "On a branch")
    begun = time.monotonic()
    said = call("wait", "--repo", settled.repository.path, "--state", settled.place.root, "--timeout", "600")
    assert (said.code, "is not in main, the branch that the hub follows" in said.err) == (2, True)
    assert time.monotonic() - begun < 500


def test_without_a_log_or_a_hub_it_is_said_at_once_what_is_waited_for(call: Call, tmp_path: Path) -> None:
    said = call("wait", "--state", tmp_path / "none", "--timeout", "0.1")
    assert (said.code, said.out.count("no reconciler runs at")) == (4, 1)
    assert said.err == f"waiting: no reconciler runs at {tmp_path / 'none'}, nor is a log there\n"
    assert call("wait", "--hub", "http://127.0.0.1:9", "--timeout", "0").code == 4


def test_a_pin_waits_for_its_own_commit(call: Call, settled: World) -> None:
    at = ("--repo", settled.repository.path, "--state", settled.place.root)
    said = call("pin", "berlin-07", "defect@1", "--reason", "night", *at, "--wait", "--timeout", "0", "-o", "json")
    told = json.loads(said.out)
    assert (said.code, told["kind"], told["word"]) == (4, "Pin", "unread")
    assert [hold["what"] for hold in told["holds"]] == ["the hub", f"commit {told['commit'][:12]}"]
    assert call("pin", "berlin-07", "defect", "--remove", *at).code == 0


@pytest.mark.parametrize(("said", "seconds"), [("90", 90), ("90s", 90), ("1.5", 1.5), ("5m", 300), ("1h", 3600)])
def test_a_duration_is_seconds_or_has_a_unit(said: str, seconds: float) -> None:
    assert Duration().convert(said, None, None) == seconds


@pytest.mark.parametrize("said", ["-1", "soon", "5 m", "1w", "nan", "", "1e3"])
def test_what_is_no_duration_is_told_how_to_write_one(said: str) -> None:
    with pytest.raises(click.BadParameter, match="write 90, 90s, 5m"):
        Duration().convert(said, None, None)


def test_all_edges_that_hold_a_model_are_let_go_at_once_and_some_of_them_one_by_one() -> None:
    def refused(edge: str, why: str = "RX404: wrong") -> Hold:
        ends = f"reconciler release {edge} digits"
        return Hold(what=f"{edge} digits", word="failing", why=why, ends=ends, edge=edge, model="digits")

    every = [refused(f"e{n}") for n in range(5)]
    assert [hold.ends for hold in alike(every)] == ["reconciler release digits"]
    assert [hold.ends for hold in alike([*every, refused("e9", "RX410: no room")])] == [
        "reconciler release EDGE digits",
        "reconciler release e9 digits",
    ]
    assert alike(every)[0].words.endswith(
        "; publish a new version or revert; `reconciler release digits` tries the same bytes once more"
    )


def test_a_dataset_and_a_model_of_one_name_are_two_lines_that_add_up() -> None:
    def held(edge: str, what: str) -> Hold:
        return Hold(what=f"{edge} {what}", word="waits", why="plan 1 is held", edge=edge, model="digits")

    every = [held(f"e{n}", what) for n in range(5) for what in ("digits", "digits (dataset)")]
    assert [hold.what for hold in alike(every)] == [
        "digits on 5 edges (e0 … e4)",
        "digits (dataset) on 5 edges (e0 … e4)",
    ]
