"""A hub elsewhere: the command line shows what its listener answers, and refuses what a listener cannot do."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.cli import remote
from reconciler.errors import HistoryError, PortTaken, SettingInvalid
from reconciler.history import events as ev
from reconciler.history.events import Entry
from reconciler.settings import Settings
from reconciler.web import api
from reconciler.web.live import LiveReplay
from reconciler.web.server import Door
from reconciler.wiring.hub import HubProcess
from reconciler.wiring.listener import bound
from reconciler.wiring.past import opened
from tests.unit.cli_world import World
from tests.unit.conftest import Call

pytestmark = pytest.mark.enable_socket


class Served(NamedTuple):
    """A listener over a told story; the hub's loop does not run, so nothing changes."""

    url: str
    world: World
    hub: HubProcess
    door: Door

    def get(self, path: str, method: str = "GET") -> tuple[HTTPResponse, bytes]:
        with closing(HTTPConnection(self.url.removeprefix("http://"), timeout=20)) as line:
            line.request(method, path)
            answer = line.getresponse()
            return answer, answer.read()


def serve(world: World) -> Iterator[Served]:
    settings = Settings(repo=str(world.repository.path), state_dir=world.place.root)
    hub = HubProcess(settings, supervise=False)
    with closing(hub.log), closing(hub._control), closing(Door("127.0.0.1:0")) as door:
        yield Served(door.open(hub), world, hub, door)


@pytest.fixture(scope="module")
def served(story: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from serve(story.copied(tmp_path_factory.mktemp("served")))


@pytest.fixture
def fresh(settled: World) -> Iterator[Served]:
    yield from serve(settled)


WORDS = [
    ("status", "--as-of", "2026-12-01"),
    ("state", "--at", "20"),
    ("state",),
    ("why", "berlin-08", "defect"),
    ("history", "--model", "defect", "--limit", "7"),
    ("history", "--since", "30"),
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_a_hub_is_shown_as_its_log_is(call: Call, served: Served, words: tuple[str, ...], form: str) -> None:
    there = call(*words, "--hub", served.url, "-o", form)
    here = call(*words, "--state", served.world.place.root, "-o", form)
    assert (there.code, there.out) == (0, here.out), there.err
    assert there.out
    assert "no reconciler runs" not in there.err


@pytest.mark.parametrize(
    "words",
    [
        ("why", "moon", "defect"),
        ("state", "--at", "99999"),
        ("state", "--at", "nonsense"),
        ("history", "--edge", "moon"),
        ("history", "--since", "nonsense"),
        ("status", "--as-of", "nonsense"),
    ],
)
@pytest.mark.parametrize("form", ["table", "json"])
def test_an_error_there_is_the_same_error_here(call: Call, served: Served, words: tuple[str, ...], form: str) -> None:
    there = call(*words, "--hub", served.url, "-o", form)
    here = call(*words, "--state", served.world.place.root, "-o", form)
    assert (there.code, there.err, there.out) == (2, here.err, "")
    assert there.err


@pytest.mark.parametrize("words", [("suspend", "--reason", "x"), ("resume",), ("approve", "ab"), ("release", "a", "b")])
def test_a_verb_that_writes_is_refused_and_no_log_is_touched(call: Call, fresh: Served, words: tuple[str, ...]) -> None:
    before = fresh.hub.log.head()
    said = call(*words, "--hub", fresh.url, "--state", fresh.world.place.root)
    assert (said.code, said.out) == (2, "")
    assert f"--hub {fresh.url} only answers: it cannot {words[0]}" in said.err
    assert "--context NAME" in said.err
    assert fresh.hub.log.head() == before


def test_a_hub_and_a_context_are_two_hubs(call: Call) -> None:
    said = call("status", "--hub", "http://127.0.0.1:1", "--context", "x")
    assert said.code == 2
    assert "keep one of them" in said.err


def test_a_hub_that_does_not_answer_is_never_replaced_by_a_local_log(call: Call, settled: World) -> None:
    with closing(bound("127.0.0.1:0")) as taken:
        port = taken.getsockname()[1]
    said = call("status", "--hub", f"http://127.0.0.1:{port}", "--state", settled.place.root)
    assert (said.code, said.out) == (4, "")
    assert "did not answer: Connection refused" in said.err


@pytest.mark.parametrize("url", ["127.0.0.1:9484", "ftp://h", "http://", "http://u:secret@h:1", "http://h:x"])
def test_what_is_no_address_is_refused(call: Call, url: str) -> None:
    said = call("status", "--hub", url)
    assert said.code == 2
    assert "secret" not in said.err


def test_something_else_that_listens_there_is_no_hub(call: Call) -> None:
    with closing(bound("127.0.0.1:0")) as listener:

        def answer() -> None:
            for body in (b'{"kind": "Other"}', b"[]", b"hello"):
                caller, _ = listener.accept()
                with caller:
                    caller.recv(65536)
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                    caller.sendall(head + body)

        thread = threading.Thread(target=answer)
        thread.start()
        for _ in range(3):
            said = call("status", "--hub", f"http://127.0.0.1:{listener.getsockname()[1]}")
            assert (said.code, said.out) == (4, "")
        thread.join()


def test_following_tells_what_is_appended_and_ends_with_the_hub(fresh: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "QUIET_S", 3600.0)  # it is rung, it does not look now and then
    monkeypatch.setattr(remote, "PATIENCE_S", 10.0)
    told = remote.lines(remote.Hub(fresh.url), "history", {"follow": "true", "since": "3"})
    head = fresh.hub.log.head().seq
    first = [line["seq"] for line in islice(told, head - 3)]
    assert first == list(range(4, head + 1))
    fresh.hub.record.append([fresh.hub.record.event(ev.RECONCILE_SUSPENDED, "git", {"scope": "*", "reason": "now"})])
    assert next(told)["text"].endswith("suspended everything: now")
    fresh.door.end()
    assert list(told) == []


def test_what_waits_for_approval_is_shown_with_how_to_approve_it(call: Call, fresh: Served) -> None:
    said = call("plan", "--hub", fresh.url)
    assert (said.code, said.out) == (0, "no plan is held\n")
    assert f"no work tree was looked at: `reconciler plan --repo . --hub {fresh.url}` plans one\n" in said.err
    facts = {"held": "it deletes 9", "keys": ["InferenceModel/default/a@b"], "counts": {"delete": 9}}
    fresh.hub.record.append([fresh.hub.record.event(ev.CHANGE_PLANNED, "plan/deliver", facts, newdigest="ab12")])
    said = call("plan", "--hub", fresh.url)
    assert said.code == 1
    assert "plan ab12 is held: it deletes 9 (9 to delete)" in said.out
    assert "InferenceModel/default/a@b" in said.out
    assert "reconciler approve ab12" in said.out
    assert json.loads(call("plan", "--hub", fresh.url, "-o", "json").out)["held"]["digest"] == "ab12"
    assert "which repository is planned?" in call("plan", "--hub", fresh.url, "--branch", "x").err


def test_a_page_of_history_goes_on_from_a_cursor(served: Served) -> None:
    seen: list[int] = []
    for _ in range(100):
        answer, body = served.get(f"/api/v1/history?edge=berlin-07&limit=4&cursor={seen[-1] if seen else 0}")
        page = [json.loads(line)["seq"] for line in body.splitlines()]
        if not page:
            break
        assert len(page) <= 4
        seen += page
    with opened(served.world.place.root) as past:
        assert answer.headers["reconciler-head"] == str(past.log.head().seq)
    _, whole = served.get("/api/v1/history?edge=berlin-07")
    assert seen == [json.loads(line)["seq"] for line in whole.splitlines()]


def test_a_second_answer_reads_only_what_is_new(fresh: Served) -> None:
    read: list[int] = []

    class Counted:
        head = fresh.hub.log.head

        def read(self, after: int = 0, upto: int | None = None) -> Iterator[Entry]:
            for entry in fresh.hub.log.read(after, upto):
                read.append(entry.seq)
                yield entry

    replay = LiveReplay(Counted(), fresh.world.place.hub.log)  # type: ignore[arg-type]  # as much as it needs
    whole = replay.at().seq
    read.clear()
    assert replay.at().seq == whole
    assert read == []
    fresh.hub.record.append([fresh.hub.record.event(ev.RECONCILE_SUSPENDED, "git", {"scope": "*", "reason": "x"})])
    assert set(replay.at().suspended) == {"*"}
    assert read == [whole + 1]
    assert replay.at(3).seq == 3


def test_the_api_says_what_it_takes(served: Served) -> None:
    answer, body = served.get("/api/v1")
    known = {"status", "state", "why", "wait", "plan", "problems", "history", "basis"}
    assert set(json.loads(body)["questions"]) == known
    for path, status in (
        ("/api/v1/status?nope=1", 400),
        ("/api/v1/why", 400),
        ("/api/v1/why?edge=moon&model=x", 404),
        ("/api/v1/state?at=99999", 404),
        ("/api/v1/history?limit=x", 400),
        ("/api/v1/status?name=moon", 404),
        ("/api/v1/status?name=berlin-07&standing=failing,waiting", 200),
        ("/api/v1/status?standing=broken", 400),
        ("/api/v1/status?name=berlin-07&edge=berlin-07", 400),
        ("/api/v1/state?selector=site%3Dberlin", 200),
        ("/api/v1/state?selector=site%3Dnowhere", 404),
        ("/api/v1/history?author=nobody", 404),
        ("/api/v1/history?edge=berlin-07&edge=berlin-08", 400),
        ("/api/v1/history?follow=maybe", 400),
        ("/api/v1/wait?after=x", 400),
        ("/nope", 404),
        ("/api/v1/%00", 404),
    ):
        answer, body = served.get(path)
        assert (answer.status, json.loads(body)["kind"] == "Error") == (status, status != 200)
    assert json.loads(served.get("/api/v1/problems")[1])["problems"][0]["code"] == "RX201"
    assert json.loads(served.get("/api/v1/plan")[1])["held"] is None


def test_the_page_shows_the_status_and_escapes_it(fresh: Served) -> None:
    evil = "<script>alert(1)</script>"
    fresh.hub.record.append([fresh.hub.record.event(ev.RECONCILE_SUSPENDED, "git", {"scope": "*", "reason": evil})])
    answer, body = fresh.get("/")
    page = body.decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src" not in answer.headers["content-security-policy"]
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert re.search(r"<td>berlin-07</td><td>defect</td><td>1</td>", page)
    assert "http" not in re.sub(r'http-equiv="refresh"', "", page)  # nothing from elsewhere
    assert fresh.get("/", "HEAD")[1] == b""


def test_health_is_of_the_log_and_readiness_of_the_first_commit(fresh: Served, tmp_path: Path) -> None:
    assert [fresh.get(path)[0].status for path in ("/healthz", "/readyz")] == [200, 200]
    fresh.hub.vitals.waits = lambda: ["the watch cache of Model is not filled"]
    answer, body = fresh.get("/readyz")
    assert (answer.status, body) == (503, b"the watch cache of Model is not filled\n")
    fresh.hub.log._ended = HistoryError("its disk refused a write")
    answer, body = fresh.get("/healthz")
    assert (answer.status, json.loads(body)["error"]) == (500, "its disk refused a write")
    fresh.hub.log._ended = None


def test_without_a_commit_it_is_not_ready(world: World) -> None:
    world.repository.git("commit", "--allow-empty", "-qm", "x")
    for served in serve(world):
        assert served.get("/readyz")[1] == b"no commit was read yet\n"


def test_a_bug_is_no_answer_and_keeps_its_traceback(
    fresh: Served, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken() -> list[str]:
        raise ZeroDivisionError("token=hunter2")

    fresh.hub.vitals.waits = broken
    answer, body = fresh.get("/readyz")
    assert (answer.status, b"hunter2" in body, json.loads(body)["code"]) == (500, False, "RX000")
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_port_in_use_is_said_before_anything_begins(call: Call, world: World) -> None:
    world.repository.commit({"README": "x"})
    with closing(bound("127.0.0.1:0")) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        said = call("run", "--repo", world.repository.path, "--state", world.place.root, "--listen", listen)
    assert said.code == PortTaken.exit_code
    assert f"nobody can listen at {listen}: Address already in use" in said.err
    assert "--listen off" in said.err
    assert not world.place.hub.log.exists()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(PortTaken, match=r"192\.0\.2\.1:0"):
        bound("192.0.2.1:0")
    with pytest.raises(SettingInvalid, match="no-such-host"):
        bound("no-such-host.invalid:1")


def test_a_request_that_never_ends_is_cut_by_its_size(served: Served) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 65536)
        assert line.recv(65536).startswith(b"HTTP/1.1 400")
