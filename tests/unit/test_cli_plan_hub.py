"""A plan made in a clone, by what a hub elsewhere knows, is the plan that the hub makes when it reads that commit."""

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reconciler.cli import remote
from reconciler.history import events as ev
from reconciler.history.keys import DELIVER
from reconciler.wiring import basis
from tests.git_repository import Repository
from tests.unit.cli_world import EDGE, FILES, SET, World
from tests.unit.conftest import Call, Said
from tests.unit.test_cli_hub import serve

pytestmark = pytest.mark.enable_socket


class Elsewhere(NamedTuple):
    """A clone of what a hub follows, with no log beside it."""

    clone: Repository
    call: Call
    url: str
    world: World
    reader: World

    def plan(self, *words: str) -> Said:
        place = ("--repo", self.clone.path, "--state", self.clone.path.parent / "none")
        return self.call("plan", *place, "--hub", self.url, *words)

    def shown(self, *words: str) -> dict[str, Any]:
        said = self.plan("-o", "json", *words)
        assert said.code in {0, 1, 3}, said.err
        found: dict[str, Any] = json.loads(said.out)
        return found


def cloned(world: World, root: Path, *words: str) -> Repository:
    """A clone at `root`, whose commits are dated like those of the world."""
    world.repository.git("clone", "--quiet", *words, f"file://{world.repository.path}", str(root))
    clone = Repository(root)
    clone._minutes = world.repository._minutes + 100
    return clone


@pytest.fixture
def elsewhere(call: Call, settled: World, tmp_path: Path) -> Iterator[Elsewhere]:
    reader = settled.copied(tmp_path / "reader")
    served = serve(settled)
    yield Elsewhere(cloned(settled, tmp_path / "clone"), call, next(served).url, settled, reader)
    with pytest.raises(StopIteration):
        next(served)


def pushed(here: Elsewhere) -> str:
    """The digest of the plan that a hub like that one makes when the clone's commit is pushed."""
    reader = here.reader
    here.clone.git("push", "--quiet", str(reader.repository.path), "HEAD:refs/heads/pushed")
    reader.repository.git("merge", "--quiet", "--ff-only", "pushed")
    with reader.hub("berlin-07", "berlin-08"):
        reader.turn("commit")
        planned = [entry for entry in reader.record.log.read() if entry.event.type == ev.CHANGE_PLANNED]
    assert planned[-1].event.gitcommit == here.clone.git("rev-parse", "HEAD")
    return planned[-1].event.newdigest


CHANGES: dict[str, Mapping[str, str | bytes | None]] = {
    "a default version": {"deployments/defect.yaml": SET % "2"},
    "an edge that comes": {"edges/berlin-09.yaml": EDGE % ("berlin-09", "127.0.0.9")},
    "an edge that goes": {"edges/berlin-08.yaml": None},
    "a pin": {"edges/berlin-07.yaml": FILES["edges/berlin-07.yaml"] + "  pins: [{model: defect, version: '2'}]\n"},
    "all": {"deployments/defect.yaml": None, "datasets/parts.yaml": None},
    "a broken file": {"deployments/defect.yaml": SET % "2", "broken.yaml": "kind: [\n"},
    "a moved file": {"edges/berlin-07.yaml": None, "b7.yaml": FILES["edges/berlin-07.yaml"].replace("0.0.2", "0.0.7")},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_is_the_one_that_the_hub_gives_once_it_reads_the_commit(elsewhere: Elsewhere, change: str) -> None:
    elsewhere.clone.commit(CHANGES[change])
    shown = elsewhere.shown()
    assert shown["counts"]
    assert shown["digest"] == pushed(elsewhere)


# ── what else the hub knows ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_line_says_what_is_planned_and_how_far_it_is_from_what_the_hub_has_read(elsewhere: Elsewhere) -> None:
    clone, read = elsewhere.clone, elsewhere.world.repository.head()
    clone.git("switch", "--quiet", "-c", "feature")
    head = clone.commit({"deployments/defect.yaml": SET % "2"})
    clone.write({"new.yaml": EDGE % ("berlin-09", "127.0.0.9")})
    said = elsewhere.plan()
    first = (
        f"plan of branch feature at {head[:12]} with 1 file not committed yet, 1 commit ahead of main ({read[:12]}, "
    )
    assert said.out.startswith(f"{first}as it was read last)\n"), said.out
    assert (said.code, said.err) == (1, "not committed yet: new.yaml\n")


def test_a_clone_that_is_as_the_hub_has_read_it_has_nothing_to_do(elsewhere: Elsewhere) -> None:
    assert elsewhere.plan().code == 0
    elsewhere.clone.commit({"README.md": "words\n"})
    said = elsewhere.plan()
    assert (said.code, said.out.splitlines()[-1]) == (0, "nothing to do")


def test_a_clone_without_history_is_planned_and_says_what_it_lacks(elsewhere: Elsewhere, tmp_path: Path) -> None:
    elsewhere.clone.commit({"README.md": "words\n"})
    elsewhere.clone.commit({"deployments/defect.yaml": SET % "2"})
    shallow = cloned(elsewhere.world, tmp_path / "shallow", "--depth=1")
    shallow.git("fetch", "--quiet", "--depth=1", str(elsewhere.clone.path), "main")
    shallow.git("checkout", "--quiet", "--detach", "FETCH_HEAD")
    there = elsewhere._replace(clone=shallow)
    shown = there.shown()
    assert "of what" not in shown["unknown"]
    assert "on no branch; how far that is from main" in shown["of"]
    assert any("is shallow and lacks commit" in note for note in shown["notes"])
    assert shown["digest"] == elsewhere.shown()["digest"]


def test_a_branch_that_lacks_what_the_hub_has_read_says_so_and_is_not_held(elsewhere: Elsewhere) -> None:
    elsewhere.clone.git("switch", "--quiet", "-c", "feature", "HEAD")
    elsewhere.clone.commit({"edges/berlin-07.yaml": EDGE % ("berlin-07", "127.0.0.7")})
    with elsewhere.reader.hub("berlin-07", "berlin-08"):
        elsewhere.reader.commit({"deployments/defect.yaml": SET % "2"}, "Up")
    served = serve(elsewhere.reader.copied(elsewhere.world.root / "moved"))
    there = elsewhere._replace(url=next(served).url)
    elsewhere.clone.git("fetch", "--quiet", str(elsewhere.reader.repository.path), "main")
    shown = there.shown()
    assert shown["held"] == ""
    assert "1 commit ahead of and 1 commit behind main" in shown["of"]
    assert any("it lacks 1 commit of main" in note for note in shown["notes"])
    with pytest.raises(StopIteration):
        next(served)


def test_what_the_hub_holds_and_suspends_counts(call: Call, settled: World, tmp_path: Path) -> None:
    clone = cloned(settled, tmp_path / "clone")
    assert call("suspend", "berlin-08", "--reason", "night", "--state", settled.place.root).code == 0
    with settled.hub("berlin-07", "berlin-08"):
        settled.commit({"edges/berlin-07.yaml": None}, "Too much")
        held = settled.record.state.stage(DELIVER).held_plan
    assert held is not None
    clone.git("pull", "--quiet")
    here = call("plan", "--repo", settled.repository.path, "--state", settled.place.root, "-o", "json")
    served = serve(settled)
    there = Elsewhere(clone, call, next(served).url, settled, settled)
    assert there.shown() | {"of": ""} == json.loads(here.out) | {"of": ""}
    assert there.shown()["digest"] == held.digest
    clone.commit({"deployments/defect.yaml": SET % "2"})
    assert [one["waits"][:12] for one in there.shown()["steps"] if one["edge"] == "berlin-08"] == ["suspended by"]
    with pytest.raises(StopIteration):
        next(served)


def test_only_the_keys_that_a_commit_concerns_are_asked_for(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Mapping[str, str]] = []
    ask = remote.basis

    def told(hub: remote.Hub, said: Mapping[str, str]) -> bytes:
        asked.append(said)
        return ask(hub, said)

    monkeypatch.setattr(remote, "basis", told)
    elsewhere.clone.commit(CHANGES["a pin"])
    assert elsewhere.plan().code == 1
    assert [*map(dict, asked)] == [{}, {"keys": "2"}]  # one of four
    body = json.loads(remote.basis(remote.Hub(elsewhere.url), {}))
    orders = [one["order"] for one in body["state"]["stages"]["deliver"]["keys"].values()]
    assert all(order.keys() <= {"version", "port", "modelName"} for order in orders)


def test_a_hub_that_goes_on_is_asked_again_and_not_for_ever(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, ask = [1], remote.basis

    def moving(hub: remote.Hub, said: Mapping[str, str]) -> bytes:
        body = ask(hub, said)
        if said and goes_on:
            goes_on.pop()
            body = body.replace(b'"phase":"Committed"', b'"phase":"Staged"')
        return body

    monkeypatch.setattr(remote, "basis", moving)
    elsewhere.clone.commit(CHANGES["a default version"])
    assert elsewhere.plan().code == 1
    assert goes_on == []
    goes_on += range(9)
    said = elsewhere.plan()
    assert said.code == 4
    assert "the hub went on each time while it was asked" in said.err


# ── a hub that answers wrongly, slowly, or not at all ─────────────────────────────────────────────────────────────────


class Wrong:
    """A server that says what it is told, once a connection, and what it was asked."""

    def __init__(self, say: Callable[[socket.socket], None]) -> None:
        self._say, self.asked = say, list[bytes]()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            with line:
                self.asked.append(line.recv(65536))
                with suppress(OSError):
                    self._say(line)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def response(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def wrong(elsewhere: Elsewhere, body: bytes, *headers: str, status: str = "200 OK") -> Said:
    with closing(Wrong(lambda line: line.sendall(response(body, *headers, status=status)))) as server:
        return elsewhere._replace(url=server.url).plan()


OTHER = json.dumps({"kind": "Basis", "basisVersion": "9.9", "release": "9.0.0"}).encode()
TORN = json.dumps({"kind": "Basis", "basisVersion": basis.VERSION, "release": "0.1.0", "state": 7}).encode()


GZIP = "Content-Encoding: gzip"


@pytest.mark.parametrize(
    ("body", "header", "status", "says"),
    [
        (OTHER, "", "200 OK", "error[RX420]: the hub answers with basis 9.9 of release 9.0.0"),
        (b'{"kind":"Status"}', "", "200 OK", "error[RX420]: the hub answers with basis none of release unknown"),
        (b"<html>sign in</html>", "", "200 OK", "error[RX420]: what answered is no hub"),
        (b"[" * 100_000, "", "200 OK", "error[RX420]: what answered is no hub"),
        (TORN, "", "200 OK", "error[RX420]: the hub's basis cannot be read"),
        (b"not gzip", GZIP, "200 OK", "error[RX420]: the hub's answer cannot be unpacked"),
        (gzip.compress(OTHER)[:-9], GZIP, "200 OK", "error[RX300]: the hub's answer breaks off"),
        (b"{}", "", "502 Bad Gateway", "answered 502 Bad Gateway, which is no hub's answer"),
        (b"", "Location: https://sso.example.com", "302 Found", "answered 302 Found, which is no hub's answer"),
        (b"", "", "401 Unauthorized", "answered 401 Unauthorized, which is no hub's answer"),
    ],
)
def test_an_answer_that_is_no_basis_is_refused_by_name(
    elsewhere: Elsewhere, body: bytes, header: str, status: str, says: str
) -> None:
    said = wrong(elsewhere, body, *filter(None, [header]), status=status)
    assert said.code == (5 if "RX420" in says else 4)
    assert says in said.err
    assert said.out == ""


def test_an_older_hub_without_a_basis_is_said_as_one(elsewhere: Elsewhere) -> None:
    body = b'{"schemaVersion":1,"kind":"Error","code":"RX101","error":"nothing is at /api/v1/basis","hint":"x"}'
    assert "tells nobody its basis" in wrong(elsewhere, body, status="404 Not Found").err


def test_an_answer_without_end_is_bounded(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PACKED_CAP", 1 << 16)
    monkeypatch.setattr(remote, "BASIS_CAP", 1 << 16)
    assert "is larger than" in wrong(elsewhere, b" " * (1 << 17)).err
    assert "unpacked" in wrong(elsewhere, gzip.compress(b" " * (1 << 20)), "Content-Encoding: gzip").err


def drip(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    over = threading.Event()
    while not over.wait(0.02):
        line.sendall(b" ")


def drip_headers(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    over = threading.Event()
    while not over.wait(0.02):
        line.sendall(b"x")


@pytest.mark.parametrize("say", [drip, drip_headers, lambda line: line.recv(1)])
def test_a_hub_that_is_slow_or_says_nothing_is_given_up(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, say: Callable[[socket.socket], None]
) -> None:
    monkeypatch.setattr(remote, "WHOLE_S", 0.5)
    with closing(Wrong(say)) as server:
        said = elsewhere._replace(url=server.url).plan()
    assert said.code == 4
    assert "its answer was not whole after" in said.err


def test_a_hub_that_is_not_there_is_said(elsewhere: Elsewhere) -> None:
    said = elsewhere._replace(url="http://127.0.0.1:1").plan()
    assert said.code == 4
    assert "did not answer" in said.err


# ── behind a proxy that wants a token ─────────────────────────────────────────────────────────────────────────────────


def test_a_token_is_sent_by_reference_and_never_shown(
    elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("s3cret-in-file\n")
    monkeypatch.setenv("HUB_TOKEN", "s3cret-in-variable")
    for words, sent in (
        (("--hub-token-env", "HUB_TOKEN"), "s3cret-in-variable"),
        (("--hub-token-file", str(tmp_path / "token")), "s3cret-in-file"),
    ):
        with closing(Wrong(lambda line: line.sendall(response(b"s", status="403 Forbidden")))) as server:
            said = elsewhere._replace(url=server.url).plan(*words)
        assert f"Authorization: Bearer {sent}\r\n".encode() in server.asked[0]
        assert "s3cret" not in said.out + said.err
        assert said.code == 4


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--hub-token-env", "NO_SUCH"), "the variable NO_SUCH has no token in it"),
        (("--hub-token-file", "/nowhere"), "the token file /nowhere cannot be read"),
        (("--hub-token-env", "A", "--hub-token-file", "B"), "one variable or one file"),
    ],
)
def test_a_token_that_is_not_there_is_said(elsewhere: Elsewhere, words: tuple[str, ...], says: str) -> None:
    said = elsewhere.plan(*words)
    assert said.code == 2
    assert says in said.err


def test_a_token_goes_nowhere_in_the_clear(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", "s3cret")
    said = elsewhere._replace(url="http://hub.example.com").plan("--hub-token-env", "HUB_TOKEN")
    assert "by https only" in said.err
