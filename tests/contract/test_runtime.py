"""What every `ports.Runtime` promises, and what only a real process does: it outlives its agent and is found again."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from reconciler import control_socket
from reconciler.errors import PortTaken, PreflightRefused, ProbeFailed, RuntimeUnavailable, UsageError
from reconciler.ports import Answer, Runtime
from reconciler.serving import process, server
from reconciler.serving.process import RuntimeProcess
from tests.bad_models import make_bad_archive
from tests.digits import digest, digits, spec, unpacked
from tests.simulation.runtime import SimRuntime

pytestmark = [pytest.mark.enable_socket, pytest.mark.slow]

EMPTY = Answer("digits", "", "", ready=False)


class RuntimeContract:
    """An adapter gives a fixture `runtime` that serves nothing yet, under the model name `digits`."""

    @pytest.fixture
    def one(self, tmp_path: Path) -> Path:
        return digits("1", tmp_path)

    @pytest.fixture
    def two(self, tmp_path: Path) -> Path:
        return digits("2", tmp_path)

    def test_a_new_one_serves_nothing(self, runtime: Runtime) -> None:
        assert runtime.answer() == EMPTY

    def test_what_is_loaded_serves_nobody_yet(self, runtime: Runtime, one: Path, two: Path) -> None:
        assert runtime.load(one, "1") == Answer("digits", "1", digest(one), ready=True)
        assert runtime.answer() == EMPTY
        runtime.activate()
        runtime.load(two, "2")
        assert runtime.answer() == Answer("digits", "1", digest(one), ready=True)

    def test_activate_serves_what_was_loaded(self, runtime: Runtime, one: Path) -> None:
        runtime.load(one, "1")
        assert runtime.activate() == runtime.answer() == Answer("digits", "1", digest(one), ready=True)

    def test_the_last_load_counts(self, runtime: Runtime, one: Path, two: Path) -> None:
        runtime.load(one, "1")
        runtime.load(two, "2")
        assert runtime.activate().version == "2"

    def test_activate_again_says_what_serves(self, runtime: Runtime, one: Path) -> None:
        runtime.load(one, "1")
        assert runtime.activate() == runtime.activate()

    def test_activate_needs_a_load(self, runtime: Runtime, one: Path) -> None:
        with pytest.raises(RuntimeUnavailable, match="nothing is loaded"):
            runtime.activate()
        runtime.load(one, "1")
        runtime.activate()
        runtime.settle()
        with pytest.raises(RuntimeUnavailable, match="nothing is loaded"):
            runtime.activate()

    def test_revert_serves_what_served_before(self, runtime: Runtime, one: Path, two: Path) -> None:
        for directory, version in ((one, "1"), (two, "2")):
            runtime.load(directory, version)
            runtime.activate()
        assert runtime.revert() == runtime.answer() == Answer("digits", "1", digest(one), ready=True)
        assert runtime.revert().version == "1"  # there is nothing left to undo

    def test_revert_of_the_first_serves_nothing(self, runtime: Runtime, one: Path) -> None:
        runtime.load(one, "1")
        runtime.activate()
        assert runtime.revert() == runtime.answer() == EMPTY

    def test_settled_is_not_undone(self, runtime: Runtime, one: Path, two: Path) -> None:
        for directory, version in ((one, "1"), (two, "2")):
            runtime.load(directory, version)
            runtime.activate()
        runtime.settle()
        assert runtime.revert().version == "2"

    def test_a_refused_load_leaves_nothing_behind(self, runtime: Runtime, one: Path, tmp_path: Path) -> None:
        runtime.load(one, "1")
        runtime.activate()
        runtime.settle()
        with pytest.raises(PreflightRefused):
            runtime.load(unpacked(make_bad_archive(tmp_path, "no_model"), tmp_path), "2")
        with pytest.raises(ProbeFailed):
            runtime.load(unpacked(make_bad_archive(tmp_path, "nan"), tmp_path), "2")
        with pytest.raises(RuntimeUnavailable, match="nothing is loaded"):
            runtime.activate()
        assert runtime.answer().version == "1"

    def test_stopped_is_stopped(self, runtime: Runtime, one: Path) -> None:
        runtime.load(one, "1")
        runtime.activate()
        runtime.stop()
        runtime.stop()
        with pytest.raises(RuntimeUnavailable):
            runtime.answer()
        with pytest.raises(RuntimeUnavailable):
            runtime.load(one, "1")


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[RuntimeProcess]:
    started = process.start(spec(tmp_path))
    yield started
    started.stop()


class TestRuntimeProcess(RuntimeContract):
    """The real process."""


class TestSimRuntime(RuntimeContract):
    """Of the simulation: what it shows counts only where its parts promise the same."""

    @pytest.fixture
    def runtime(self, tmp_path: Path) -> SimRuntime:
        return SimRuntime(spec(tmp_path), 1, probe=lambda content: b"Log" not in content)


def test_it_outlives_its_agent_and_is_found_again(tmp_path: Path) -> None:
    terms = spec(tmp_path)
    code = (
        "import sys; from pathlib import Path; from reconciler.serving.process import RuntimeSpec, start; "
        "print(start(RuntimeSpec(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))).pid)"
    )
    arguments = [terms.model, terms.address, str(terms.port), str(terms.directory)]
    agent = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    found = process.adopt(terms)
    assert found is not None
    try:
        assert found.pid == int(agent.stdout)
        assert os.getsid(found.pid) == found.pid
        assert Path(f"/proc/{found.pid}/cwd").readlink() == terms.directory
        assert Path(f"/proc/{found.pid}/fd/1").readlink() == terms.directory / process.LOG
        assert found.answer() == EMPTY
    finally:
        found.stop()
    assert process.adopt(terms) is None


def test_adopted_is_as_good_as_started(runtime: RuntimeProcess, tmp_path: Path) -> None:
    runtime.load(digits("1", tmp_path), "1")
    runtime.activate()
    found = process.adopt(runtime.spec)
    assert found is not None
    with closing(found):
        assert found.answer() == runtime.answer()
        assert found.load(digits("2", tmp_path), "2").version == "2"
        assert found.activate().version == "2"


@pytest.mark.parametrize("change", [{"model": "other"}, {"port": 1}, {"address": "127.0.0.9"}])
def test_other_terms_are_not_adopted(runtime: RuntimeProcess, change: dict[str, str | int]) -> None:
    assert process.adopt(replace(runtime.spec, **change)) is None  # type: ignore[arg-type]  # names and types by hand
    assert not runtime.exited()


def test_a_reused_pid_is_not_adopted(runtime: RuntimeProcess) -> None:
    receipt = runtime.spec.directory / process.RECEIPT
    written = json.loads(receipt.read_text())
    receipt.write_text(json.dumps(written | {"born": process.born(os.getpid())}))
    assert process.adopt(runtime.spec) is None
    receipt.write_text(json.dumps(written | {"pid": os.getpid()}))
    assert process.adopt(runtime.spec) is None


def test_a_copied_directory_has_no_claim_to_the_process_and_a_moved_one_has(
    runtime: RuntimeProcess, tmp_path: Path
) -> None:
    own, copy = runtime.spec.directory, tmp_path / "copy"
    copytree(own, copy, ignore=ignore_patterns(process.CONTROL))
    assert process.find(copy) is None
    with pytest.raises(PortTaken):
        process.start(replace(runtime.spec, directory=copy))
    assert not runtime.exited()
    moved = own.rename(tmp_path / "moved")
    found = process.find(moved)
    assert found is not None
    with closing(found):
        assert found.pid == runtime.pid
    moved.rename(own)


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"pid": "x"}', '{"pid": 0, "model": "m", "address": "a", "port": 1}'])
def test_a_torn_receipt_is_no_receipt(tmp_path: Path, torn: str) -> None:
    (tmp_path / process.RECEIPT).write_text(torn)
    assert process.find(tmp_path) is None


def test_starting_with_other_terms_ends_the_earlier_one(runtime: RuntimeProcess, tmp_path: Path) -> None:
    with closing(process.start(spec(tmp_path, "renamed"))) as successor:
        assert runtime.exited()
        runtime.stop()  # an old handle takes nothing from the new process
        assert successor.answer() == EMPTY._replace(model="renamed")
        found = process.find(runtime.spec.directory)
        assert found is not None
        assert found.pid == successor.pid
        found.stop()


def test_its_death_can_be_waited_for(runtime: RuntimeProcess) -> None:
    assert select.select([runtime], [], [], 0)[0] == []
    os.kill(runtime.pid, signal.SIGKILL)
    assert select.select([runtime], [], [], 10)[0] == [runtime]
    assert process.adopt(runtime.spec) is None
    runtime.close()
    assert runtime.exited()
    assert not Path(f"/proc/{runtime.pid}").exists()  # reaped


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with closing(server._listening("127.0.0.1", 0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # the condition on which asyncio turns Nagle's algorithm off


def test_verbs_of_the_socket(runtime: RuntimeProcess, tmp_path: Path) -> None:
    place = runtime.spec.directory / process.CONTROL
    runtime.load(digits("1", tmp_path), "1")
    said = control_socket.call(place, {"verb": "status"})
    assert said == {"model": "digits", "pid": runtime.pid, "serving": "", "standby": "1", "previous": ""}
    with pytest.raises(UsageError, match="no verb 'dance'"):
        control_socket.call(place, {"verb": "dance"})
    assert control_socket.call(place, {"verb": "stop"}) == {}
    assert runtime.exited(10)
    assert not place.exists()
    assert runtime.last_words() == ""


def test_the_agent_stays_small() -> None:
    code = (
        "import sys, reconciler.serving.process; "
        "print({'onnxruntime', 'numpy', 'starlette', 'uvicorn', 'pydantic', 'asyncio'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "set()"
