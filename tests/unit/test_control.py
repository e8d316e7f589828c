import json
import os
import queue
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler import control_socket
from reconciler.diagnostics import Diagnostic
from reconciler.errors import (
    HubUnreachable,
    PlanHeld,
    ReconcilerError,
    RepositoryRefused,
    SecondWriter,
    SettingInvalid,
    UsageError,
    WorldUnavailable,
)

pytestmark = pytest.mark.enable_socket


def echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"heard": request}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state" / "control.sock"


@pytest.fixture
def echoing(place: Path) -> Iterator[Path]:
    with closing(control_socket.serve(place, echo)):
        yield place


def raising(error: Exception) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def handle(request: dict[str, Any]) -> dict[str, Any]:
        raise error

    return handle


def raw(place: Path, said: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(place))
        line.sendall(said)
        line.shutdown(socket.SHUT_WR)
        return line.makefile("rb").read()


def test_a_request_is_answered(echoing: Path) -> None:
    request = {"verb": "status", "of": ["ü", 1, None], "text": "two\nlines"}
    assert control_socket.call(echoing, request) == {"heard": request}


def test_the_socket_is_for_its_owner_only(echoing: Path) -> None:
    assert stat.S_IMODE(echoing.stat().st_mode) == 0o600


def test_a_path_longer_than_a_socket_name_works(tmp_path: Path) -> None:
    place = tmp_path.joinpath(*["a" * 60] * 4) / "control.sock"
    assert len(os.fsencode(place)) > 200
    with closing(control_socket.serve(place, echo)):
        assert control_socket.call(place, {"verb": "x"}) == {"heard": {"verb": "x"}}


def test_close_removes_the_socket_and_can_be_repeated(place: Path) -> None:
    server = control_socket.serve(place, echo)
    server.close()
    server.close()
    assert not place.exists()


def test_close_leaves_the_socket_of_a_successor(place: Path) -> None:
    first = control_socket.serve(place, echo)
    place.rename(place.with_name("moved"))
    with closing(control_socket.serve(place, echo)):
        first.close()
        assert control_socket.call(place, {"verb": "x"}) == {"heard": {"verb": "x"}}


def test_nobody_listening_is_named(place: Path) -> None:
    with pytest.raises(HubUnreachable, match=r"control\.sock"):
        control_socket.call(place, {"verb": "status"})


def test_the_socket_of_a_dead_process_is_replaced(place: Path) -> None:
    place.parent.mkdir()
    code = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); s.detach()"
    subprocess.run([sys.executable, "-c", code, str(place)], check=True)
    with pytest.raises(HubUnreachable):
        control_socket.call(place, {})
    with closing(control_socket.serve(place, echo)):
        assert control_socket.call(place, {}) == {"heard": {}}


def test_fault_014_a_second_server_is_refused_naming_the_first(echoing: Path) -> None:
    with pytest.raises(SecondWriter, match=str(os.getpid())):
        control_socket.serve(echoing, echo)
    assert control_socket.call(echoing, {}) == {"heard": {}}


def test_what_stands_in_the_way_is_not_removed(place: Path) -> None:
    place.parent.mkdir()
    place.write_text("precious")
    with pytest.raises(SettingInvalid, match=r"control\.sock"):
        control_socket.serve(place, echo)
    assert place.read_text() == "precious"


def test_an_error_arrives_as_the_same_class(place: Path) -> None:
    held = PlanHeld("21 deletes", hint="approve it")
    with closing(control_socket.serve(place, raising(held))), pytest.raises(PlanHeld, match="21 deletes") as caught:
        control_socket.call(place, {})
    assert (caught.value.advice, caught.value.code) == ("approve it", "RX409")


def test_refused_documents_arrive_with_their_places(place: Path) -> None:
    problem = Diagnostic(code="RX214", message="twice", path="a.yaml", line=3, notes=("there",))
    refused = RepositoryRefused([problem])
    with closing(control_socket.serve(place, raising(refused))), pytest.raises(RepositoryRefused) as caught:
        control_socket.call(place, {})
    assert caught.value.problems == (problem,)


def test_a_bug_in_one_verb_ends_no_other(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def handle(request: dict[str, Any]) -> dict[str, Any]:
        return {"set": {1}} if request["verb"] == "bad" else {}

    with closing(control_socket.serve(place, handle)):
        with pytest.raises(ReconcilerError, match="TypeError") as caught:
            control_socket.call(place, {"verb": "bad"})
        assert caught.value.code == "RX000"
        assert control_socket.call(place, {"verb": "good"}) == {}
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize("said", [b"\xff\n", b"[1]\n", b"{\n", b"", b"[" * 100_000 + b"\n", b'"' + b"x" * (1 << 21)])
def test_what_is_no_request_is_refused_and_the_server_lives(echoing: Path, said: bytes) -> None:
    try:
        answer = raw(echoing, said)
    except ConnectionError:  # it hung up on what is too long
        answer = b'{"error":{"code":"RX101"}}'
    assert json.loads(answer)["error"]["code"] == "RX101"
    assert control_socket.call(echoing, {}) == {"heard": {}}


def test_a_request_too_long_is_not_sent(echoing: Path) -> None:
    with pytest.raises(UsageError, match="1048576"):
        control_socket.call(echoing, {"x": "x" * control_socket.REQUEST_CAP})


def test_silence_has_an_end(place: Path) -> None:
    told = threading.Event()

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        told.wait(10)
        return {}

    with closing(control_socket.serve(place, handle)):
        with pytest.raises(WorldUnavailable, match="no answer"):
            control_socket.call(place, {}, timeout_s=0.05)
        told.set()


def test_a_server_that_dies_in_the_middle_is_named(place: Path) -> None:
    place.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()

        def hang_up() -> None:
            caller, _ = listener.accept()
            with caller:
                caller.recv(100)
                caller.sendall(b'{"half":')

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(WorldUnavailable, match="broke off"):
            control_socket.call(place, {})
        thread.join()


def test_a_caller_that_says_nothing_does_not_block_for_ever(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "PATIENCE_S", 0.05)
    with closing(control_socket.serve(place, echo)), socket.socket(socket.AF_UNIX) as mute:
        mute.connect(str(place))
        assert control_socket.call(place, {}, timeout_s=10) == {"heard": {}}


def test_ring_is_heard(place: Path) -> None:
    heard: queue.Queue[dict[str, Any]] = queue.Queue()

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        heard.put(request)
        return {}

    with closing(control_socket.serve(place, handle)):
        control_socket.ring(place, "edge-1")
        assert heard.get(timeout=10) == {"verb": "ring", "caller": "edge-1"}


def test_ring_never_waits_and_never_raises(place: Path) -> None:
    control_socket.ring(place)  # no directory
    place.parent.mkdir()
    control_socket.ring(place)  # no socket
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen(0)
        for _ in range(5):  # nobody accepts: the queue is full from the second on
            control_socket.ring(place)


def test_it_is_light() -> None:
    code = (
        "import sys, reconciler.control_socket; "
        "print({'pydantic', 'asyncio', 'msgspec', 'http.client'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "set()"


def test_one_that_waits_keeps_no_other_waiting_where_several_are_answered(place: Path) -> None:
    gone_on = threading.Event()

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        if request.get("verb") == "wait":
            assert gone_on.wait(20)
        return request

    with closing(control_socket.serve(place, handle, callers=2)):
        waits = threading.Thread(target=control_socket.call, args=(place, {"verb": "wait"}, 30.0))
        waits.start()
        assert control_socket.call(place, {"verb": "suspend"}) == {"verb": "suspend"}
        assert waits.is_alive()
        gone_on.set()
        waits.join()
