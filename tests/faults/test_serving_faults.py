"""Faults 16, 109, 111 and 130-137 of the catalogue, on real runtime processes."""

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import PortTaken, PreflightRefused, ProbeFailed, RuntimeUnavailable, WorldRefused
from reconciler.planning.declared import Object
from reconciler.planning.refusals import port_of
from reconciler.serving import endpoint, holder, process
from reconciler.serving.process import RuntimeProcess
from tests.bad_models import Kind, make_bad_archive
from tests.digits import Client, digest, digits, free_port, question, spec, unpacked

pytestmark = [pytest.mark.enable_socket, pytest.mark.slow]


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return digits("1", tmp_path)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return digits("2", tmp_path)


@pytest.fixture
def runtime(tmp_path: Path, one: Path) -> Iterator[RuntimeProcess]:
    """It serves version 1."""
    started = process.start(spec(tmp_path))
    flip(started, one, "1")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    """It serves version 1 before and after each test: for tests that do it no lasting harm."""
    place = tmp_path_factory.mktemp("shared")
    started = process.start(spec(place))
    flip(started, digits("1", place), "1")
    yield started
    started.stop()


def flip(runtime: RuntimeProcess, directory: Path, version: str) -> None:
    runtime.load(directory, version)
    runtime.activate()
    runtime.settle()


def bad(tmp_path: Path, kind: Kind) -> Path:
    return unpacked(make_bad_archive(tmp_path, kind), tmp_path)


def hung(runtime: RuntimeProcess) -> None:
    os.kill(runtime.pid, signal.SIGSTOP)


def test_fault_016_killed_while_loading_it_starts_and_loads_again(runtime: RuntimeProcess, two: Path) -> None:
    hung(runtime)  # so that the load is certainly in hand when the process dies
    with ThreadPoolExecutor(1) as agent:
        load = agent.submit(runtime.load, two, "2")
        os.kill(runtime.pid, signal.SIGKILL)
        with pytest.raises(RuntimeUnavailable):
            load.result(10)
    assert runtime.exited(10)
    again = process.start(runtime.spec)
    try:
        assert again.answer().version == ""  # what was half loaded is gone
        flip(again, two, "2")
        assert again.answer().version == "2"
    finally:
        again.stop()


def test_fault_109_a_model_swapped_before_the_load_is_named_by_its_own_digest(
    runtime: RuntimeProcess, one: Path, two: Path
) -> None:
    verified = digest(two)
    (two / "model.onnx").write_bytes((one / "model.onnx").read_bytes())
    (two / "golden.json").unlink()
    assert runtime.load(two, "2").digest == digest(one) != verified


def test_fault_109_a_model_swapped_after_the_load_does_not_serve(runtime: RuntimeProcess, one: Path, two: Path) -> None:
    loaded = digest(two)
    runtime.load(two, "2")
    (two / "model.onnx").write_bytes((one / "model.onnx").read_bytes())
    assert runtime.activate().digest == runtime.answer().digest == loaded != digest(two)


def test_fault_111_a_slot_deleted_by_hand_is_refused_and_what_serves_serves(
    runtime: RuntimeProcess, one: Path, tmp_path: Path
) -> None:
    with pytest.raises(PreflightRefused, match="found: none"):
        runtime.load(tmp_path / "gone", "2")
    (one / "model.onnx").unlink()
    assert endpoint.infer(runtime.spec.url, question(one))["model_version"] == "1"


def test_fault_130_one_that_ends_at_its_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terms = spec(tmp_path)
    monkeypatch.setattr(holder, "check_free", lambda *_: None)  # somebody is faster than we are
    said = pytest.raises(RuntimeUnavailable, match=r"(?s)ended at its start.*Address already in use")
    with socket.create_server((terms.address, terms.port)), said:
        process.start(terms)
    assert process.find(terms.directory) is None


def test_fault_130_one_that_never_becomes_ready_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spawned: list[RuntimeProcess] = []
    original = process._spawned

    def spawn_and_stop(terms: process.RuntimeSpec) -> RuntimeProcess:
        spawned.append(original(terms))
        hung(spawned[0])
        return spawned[0]

    monkeypatch.setattr(process, "_spawned", spawn_and_stop)
    monkeypatch.setattr(process, "STOP_S", 0.1)
    with pytest.raises(RuntimeUnavailable, match="did not answer in time"):
        process.start(spec(tmp_path), deadline_s=0.1)
    assert not Path(f"/proc/{spawned[0].pid}").exists()


def test_fault_130_ready_and_then_dead_is_noticed_and_its_cause_kept(runtime: RuntimeProcess) -> None:
    (runtime.spec.directory / process.LOG).write_text("out of memory\n")
    os.kill(runtime.pid, signal.SIGKILL)
    assert runtime.exited(10)
    assert runtime.last_words() == "out of memory"
    with pytest.raises(RuntimeUnavailable):
        runtime.answer()


def test_fault_130_one_that_hangs_does_not_hang_its_agent(
    runtime: RuntimeProcess, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANSWER_S", "LOAD_S", "STOP_S"):
        monkeypatch.setattr(process, name, 0.1)
    hung(runtime)
    with pytest.raises(RuntimeUnavailable):
        runtime.answer()
    with pytest.raises(RuntimeUnavailable, match="no answer"):
        runtime.load(two, "2")
    runtime.stop()
    assert not Path(f"/proc/{runtime.pid}").exists()


def test_fault_131_only_the_runtimes_own_word_counts(runtime: RuntimeProcess, one: Path, two: Path) -> None:
    runtime.load(two, "2")
    assert runtime.answer()[1:3] == ("1", digest(one))
    assert endpoint.infer(runtime.spec.url, question(two))["parameters"] == {"digest": digest(one)}
    runtime.activate()
    assert runtime.answer()[1:3] == ("2", digest(two))


def test_fault_131_somebody_elses_server_is_not_believed(tmp_path: Path, runtime: RuntimeProcess) -> None:
    other = RuntimeProcess(process.RuntimeSpec("faces", "127.0.0.1", runtime.spec.port, tmp_path), 0, -1)
    with pytest.raises(RuntimeUnavailable, match="not served by our runtime"):
        other.answer()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("other_input", r"expected image FP32\[-1, 64\], found pixels FP32\[-1, 64\]"),
        ("other_shape", r"expected image FP32\[-1, 64\], found image FP32\[-1, 100\]"),
        ("other_dtype", r"expected image FP32\[-1, 64\], found image FP64\[-1, 64\]"),
        ("opset", r"cannot be loaded.*[Oo]pset"),
        ("sequence_map", r"probabilities is seq\(map\(int64,tensor\(float\)\)\)"),
        ("no_model", "found: none"),
        ("two_models", r"found: a\.onnx, b\.onnx"),
    ],
)
def test_fault_132_preflight_refuses(shared: RuntimeProcess, tmp_path: Path, kind: Kind, said: str) -> None:
    with pytest.raises(PreflightRefused, match=said):
        shared.load(bad(tmp_path, kind), "2")
    assert shared.answer().version == "1"


def test_fault_132_what_is_no_model_is_refused(shared: RuntimeProcess, two: Path) -> None:
    whole = (two / "model.onnx").read_bytes()
    for content in (b"", b"<html>please log in</html>", whole[: len(whole) // 2], os.urandom(4096)):
        (two / "model.onnx").write_bytes(content)
        with pytest.raises(PreflightRefused, match=r"model\.onnx cannot be loaded"):
            shared.load(two, "2")
    assert shared.answer().version == "1"


def test_fault_132_a_change_of_signature_can_be_allowed(shared: RuntimeProcess, tmp_path: Path) -> None:
    assert shared.load(bad(tmp_path, "other_input"), "2", allow_signature_change=True).version == "2"


@pytest.mark.parametrize(
    ("kind", "said"), [("wrong_golden", r"label: expected 9 at \[0\], found 0"), ("nan", "NaN or infinite")]
)
def test_fault_133_a_wrong_answer_is_not_flipped(shared: RuntimeProcess, tmp_path: Path, kind: Kind, said: str) -> None:
    with pytest.raises(ProbeFailed, match=said):
        shared.load(bad(tmp_path, kind), "2")
    with pytest.raises(RuntimeUnavailable, match="nothing is loaded"):
        shared.activate()
    assert shared.answer().version == "1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("outputs", 1, "data", 3, 0.5),
            r"probabilities: expected 0\.5 at \[0, 3\], found .*1 of 50 values",
        ),
        (("outputs", 1, "shape", 0, 5), ""),
        (("outputs", 1, "name", "scores"), r"expected output scores, found \['label', 'probabilities'\]"),
        (("inputs", 0, "name", "pixels"), r"inputs are \['pixels'\]"),
    ],
)
def test_fault_133_golden_answers_are_compared_value_by_value(
    shared: RuntimeProcess, two: Path, change: tuple[Any, ...], said: str
) -> None:
    golden = json.loads((two / "golden.json").read_bytes())
    *path, last, value = change
    place = golden
    for step in path:
        place = place[step]
    place[last] = value
    (two / "golden.json").write_text(json.dumps({"cases": [json.loads((two / "golden.json").read_bytes()), golden]}))
    if said:
        with pytest.raises(ProbeFailed, match=f"version 2, golden case 2: .*{said}"):
            shared.load(two, "2")
    else:
        assert shared.load(two, "2").version == "2"


@pytest.mark.parametrize("written", ["", "{", '{"inputs": 1}', '{"inputs": [{"name": "image"}]}', '{"tolerance": "x"}'])
def test_fault_133_a_golden_file_that_cannot_be_read_is_refused(
    shared: RuntimeProcess, two: Path, written: str
) -> None:
    (two / "golden.json").write_text(written)
    with pytest.raises(PreflightRefused, match=r"golden\.json"):
        shared.load(two, "2")


def test_fault_134_a_port_taken_is_named_with_its_holder(tmp_path: Path) -> None:
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        terms = process.RuntimeSpec("digits", "127.0.0.1", port, tmp_path)
        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1 port {port}: python\S* \(pid {other.pid}\) listens there"):
            process.start(terms)
        assert list(tmp_path.iterdir()) == []  # nothing was started
        other.communicate("\n", timeout=10)


def test_fault_134_a_privileged_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)  # root, and many containers, may bind any port
    with pytest.raises(PortTaken, match=r"127\.0\.0\.1 port 80: a port below 1024 needs"):
        holder.check_free("127.0.0.1", 80)


def test_fault_134_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(PortTaken, match="does not have the address"):
        holder.check_free("192.0.2.1", free_port())


@pytest.mark.parametrize(("declared", "port"), [({}, 8080), ({"servingPort": 0}, 8080), ({"servingPort": 9000}, 9000)])
def test_fault_134_port_0_is_the_frameworks_own(declared: dict[str, int], port: int) -> None:
    spec = {"deployToLayer": "edge", "frameworkType": "onnx"} | declared
    assert port_of(Object(kind="InferenceModel", name="digits", spec=spec)) == port


def test_fault_135_no_request_fails_during_flips_and_rollbacks(runtime: RuntimeProcess, one: Path, two: Path) -> None:
    asked = question(one)
    expected = {}
    for directory, version in ((two, "2"), (one, "1")):
        flip(runtime, directory, version)
        expected[version] = (digest(directory), endpoint.infer(runtime.spec.url, asked)["outputs"][0]["data"])
    clients = [Client(runtime.spec, json.dumps(asked).encode(), expected) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for _ in range(5):
            for step in (
                lambda: (runtime.load(two, "2"), runtime.activate()),
                runtime.revert,
                lambda: flip(runtime, two, "2"),
                lambda: flip(runtime, one, "1"),
            ):
                step()
                for client in clients:
                    client.await_answers()
    finally:
        for client in clients:
            client.enough.set()
            client.join(20)
    for client in clients:
        assert client.failed == []
        assert set(client.versions) == {"1", "2"}


def begun(runtime: RuntimeProcess, body: bytes) -> http.client.HTTPConnection:
    """A request whose headers the server has read, and whose body it waits for."""
    terms = runtime.spec
    line = http.client.HTTPConnection(terms.address, terms.port, timeout=10)
    line.putrequest("POST", "/v2/models/digits/infer")
    line.putheader("Content-Length", str(len(body)))
    line.putheader("Expect", "100-continue")
    line.endheaders()
    assert line.sock.recv(1000).startswith(b"HTTP/1.1 100")
    return line


def test_fault_135_a_request_in_flight_ends_on_the_version_it_began_with(
    runtime: RuntimeProcess, one: Path, two: Path
) -> None:
    body = json.dumps(question(one)).encode()
    with closing(begun(runtime, body)) as line:
        flip(runtime, two, "2")
        line.send(body)
        said = json.loads(line.getresponse().read())
    assert (said["model_version"], said["parameters"]["digest"]) == ("1", digest(one))
    assert runtime.answer().version == "2"


def test_fault_135_a_stop_waits_for_the_answers_in_flight(runtime: RuntimeProcess, one: Path) -> None:
    body = json.dumps(question(one)).encode()
    idle = socket.create_connection((runtime.spec.address, runtime.spec.port), timeout=10)
    with closing(begun(runtime, body)) as line, idle, ThreadPoolExecutor(1) as agent:
        stopped = agent.submit(runtime.stop)
        assert idle.recv(1) == b""  # the server is stopping: it hangs up on who asked nothing
        line.send(body)
        response = line.getresponse()
        assert (response.status, json.loads(response.read())["model_version"]) == (200, "1")
        stopped.result(20)
    assert runtime.exited()


@pytest.mark.parametrize("version", ["v1.10-rc", "1.10", "04", "2026-11", "ü ?/#%"])
def test_fault_136_a_version_is_text_and_stays_as_it_was_written(
    shared: RuntimeProcess, two: Path, version: str
) -> None:
    shared.load(two, version)
    shared.activate()
    assert shared.answer().version == version
    assert endpoint.infer(shared.spec.url, question(two))["model_version"] == version
    assert shared.revert().version == "1"


def tensor(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "shape": [1, 64], "datatype": "FP32", "data": [0] * 64} | changes]}


BODIES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no JSON": lambda: b"image=3",
    "cut": lambda: json.dumps(tensor()).encode()[:-3],
    "not UTF-8": lambda: b'{"inputs":[{"name":"\xff\xfe"}]}',
    "UTF-16": lambda: json.dumps(tensor()).encode("utf-16"),
    "no object": lambda: b"[1]",
    "no inputs": lambda: b"{}",
    "NaN": lambda: json.dumps(tensor(data=[float("nan")] * 64)).encode(),
    "infinite": lambda: json.dumps(tensor()).replace("[0,", "[1e39,").encode(),
    "wrong rank": lambda: json.dumps(tensor(shape=[64])).encode(),
    "wrong width": lambda: json.dumps(tensor(shape=[1, 65], data=[0] * 65)).encode(),
    "wrong count": lambda: json.dumps(tensor(data=[0] * 63)).encode(),
    "negative size": lambda: json.dumps(tensor(shape=[-1, -64])).encode(),
    "absurd size": lambda: json.dumps(tensor(shape=[0, 2**62], data=[])).encode(),
    "wrong nesting": lambda: json.dumps(tensor(data=[[0] * 32] * 2)).encode(),
    "ragged": lambda: json.dumps(tensor(data=[[0] * 63, [0]])).encode(),
    "wrong datatype": lambda: json.dumps(tensor(datatype="INT64")).encode(),
    "unknown datatype": lambda: json.dumps(tensor(datatype="FLOAT")).encode(),
    "text for numbers": lambda: json.dumps(tensor(data=["0"] * 64)).encode(),
    "nulls": lambda: json.dumps(tensor(data=[None] * 64)).encode(),
    "unknown input": lambda: json.dumps(tensor(name="pixels")).encode(),
    "the same input twice": lambda: json.dumps({"inputs": tensor()["inputs"] * 2}).encode(),
    "unknown output": lambda: json.dumps(tensor() | {"outputs": [{"name": "score"}]}).encode(),
    "1,000 deep data": lambda: json.dumps(tensor()).replace("[0,", "[" * 1000 + "0" + "]" * 1000 + ",").encode(),
    "40 deep data": lambda: json.dumps(tensor()).replace("[0,", "[" * 40 + "0" + "]" * 40 + ",").encode(),
    "1,000 deep parameters": lambda: b'{"inputs":[],"parameters":' + b'{"a":' * 1000 + b"1" + b"}" * 1001,
    "1,000,000 deep": lambda: b"[" * 1_000_000,
    "100 MB": lambda: b'{"inputs":[],"x":"' + b"x" * 100_000_000 + b'"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_fault_137_a_bad_request_gets_a_4xx_and_the_server_lives(
    shared: RuntimeProcess, body: Callable[[], bytes]
) -> None:
    terms = shared.spec
    with closing(http.client.HTTPConnection(terms.address, terms.port, timeout=30)) as line:
        line.request("POST", "/v2/models/digits/infer", body())
        response = line.getresponse()
        said = json.loads(response.read())
    assert 400 <= response.status < 500
    assert list(said) == ["error"]
    assert said["error"]
    assert endpoint.infer(terms.url, tensor())["model_version"] == "1"
    assert not shared.exited()


def test_fault_137_what_is_no_http_does_not_end_the_server(shared: RuntimeProcess) -> None:
    for said in (b"\x00" * 100, b"GET / HTTP/9.9\r\n\r\n", b"POST /v2 HTTP/1.1\r\nContent-Length: -5\r\n\r\n"):
        with socket.create_connection((shared.spec.address, shared.spec.port), timeout=10) as line:
            line.sendall(said)
            line.shutdown(socket.SHUT_WR)
            assert line.recv(100).startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
    assert endpoint.infer(shared.spec.url, tensor())["model_version"] == "1"


def test_fault_137_a_refusal_reaches_the_client_as_an_error(shared: RuntimeProcess) -> None:
    with pytest.raises(WorldRefused, match=r"answers 400: image: 63 values, shape \[1, 64\] says 64"):
        endpoint.infer(shared.spec.url, tensor(data=[0] * 63))
    assert hashlib.sha256(b"").hexdigest() != shared.answer().digest
