"""A model is tried in a process of its own: whatever becomes of that one is said, and this one goes on."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from reconciler.errors import MachineUnfit, PreflightRefused, ProbeFailed, RuntimeUnavailable, UsageError
from reconciler.serving import golden, trial
from reconciler.serving.trier import Outcome
from tests.foreign_models import VALUE, F, doubling, model, random, written

BAD: dict[str, tuple[type[Exception], str]] = {
    "crashes": (
        ProbeFailed,
        r"while loading the model: signal 11 \(SIGSEGV\); its last words: free\(\): invalid",
    ),
    "exits": (ProbeFailed, r"exit code 3; its last words: SystemError: bad"),
    "is killed": (RuntimeUnavailable, "ended from outside, while loading the model: signal 9"),
    "computes for ever": (PreflightRefused, "loading the model took more CPU time"),
    "lacks": (MachineUnfit, "libgomp.so.1 is not there"),
    "has a bug": (RuntimeError, "KeyError"),
}


def tried(directory: Path, version: str = "1", **options: Any) -> Outcome:
    told: list[str] = options.pop("told", [])
    examples = options.pop("examples", ())
    return trial.try_model(directory, version, directory / "golden.json", examples, tell=told.append, **options)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return written(tmp_path / "model" / "model.onnx", doubling()).parent


@pytest.mark.parametrize("version", BAD)
def test_what_becomes_of_the_process_is_said(tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "TRIER", "tests.scripted_trier")
    kind, said = BAD[version]
    with pytest.raises(kind, match=said):
        tried(tmp_path, version)


def test_a_model_that_loads_for_ever_is_given_up_and_told_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "TRIER", "tests.scripted_trier")
    told: list[str] = []
    with pytest.raises(PreflightRefused, match="loading the model was not done within 2 s, which is all"):
        tried(tmp_path, "loads for ever", seconds=2, told=told)
    assert told.count("loading the model") > 2
    assert not [place for place in Path("/proc").iterdir() if place.name.isdigit() and _runs_in(place, tmp_path)]


def _runs_in(process: Path, directory: Path) -> bool:
    try:
        return str(directory).encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False


def test_the_process_has_limits_and_ends_with_its_parent() -> None:
    look = (
        "import ctypes, resource; from reconciler.serving.trier import TrialJob, confine;"
        "confine(TrialJob('', '', '', (), None, 600.0, 1 << 26, 1 << 32)); sign = ctypes.c_int();"
        "ctypes.CDLL(None).prctl(2, ctypes.byref(sign));"
        "print(*(resource.getrlimit(each)[1] for each in "
        "(resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_DATA)), sign.value)"
    )
    done = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["601", str(1 << 26), "0", str(1 << 32), str(int(signal.SIGKILL))]


def test_a_model_gets_so_much_memory_and_no_more(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a gigabyte loads it; an answer that is larger than that is refused, by it and not by the kernel."""
    monkeypatch.setattr(trial, "MEMORY_BYTES", 256 << 20)
    assert tried(place).cases == 1
    inputs, outputs = [VALUE("x", F, [1])], [VALUE("y", F, None)]
    wide = model([helper.make_node("Expand", ["x", "n"], ["y"])], inputs, outputs, {"n": np.array([1 << 27])})
    told: list[str] = []
    np.save(tmp_path / "x.npy", np.ones(1, np.float32))
    place = written(tmp_path / "wide" / "model.onnx", wide).parent
    with pytest.raises(UsageError, match="Failed to allocate memory for requested buffer of size 536870912"):
        tried(place, examples=[tmp_path / "x.npy"], told=told)
    assert "reading x.npy" in told


def test_a_golden_json_is_made_and_then_held(place: Path) -> None:
    made = tried(place)
    assert (made.cases, made.tries, made.asked) == (1, 1, "x FP32[1, 4]")
    assert (made.inputs, made.outputs) == (["x FP32[-1, 4]"], ["y FP32[-1, 4]"])
    (case,) = golden.read(place / "golden.json")
    assert (case.outputs["y"] == 2 * case.inputs["x"]).all()
    before = (place / "golden.json").read_bytes()
    assert (tried(place).cases, tried(place).tries) == (1, 0)
    assert (place / "golden.json").read_bytes() == before

    written(place / "model.onnx", model([helper.make_node("Neg", ["x"], ["y"])], [VALUE("x", F, ["b", 4])], [
        VALUE("y", F, ["b", 4])
    ]))  # fmt: skip
    with pytest.raises(ProbeFailed, match=r"version 1, golden case 1: output y: expected .* found -") as refusal:
        tried(place)
    assert "is not what the model takes and gives" in refusal.value.advice


def test_every_example_is_a_case_and_what_the_user_says_is_right_has_to_hold(place: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 4)))
    (tmp_path / "b.json").write_text(
        '{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 1, 1, 1]}],'
        ' "outputs": [{"name": "y", "shape": [1, 4], "datatype": "FP32", "data": [2, 2, 2, 2.4]}], "tolerance": 0.5}'
    )
    made = tried(place, examples=[tmp_path / "a.npy", tmp_path / "b.json"])
    assert (made.cases, made.tries, made.remarks) == (2, 0, ["x: FP64 became FP32"])
    cases = golden.read(place / "golden.json")
    assert [case.tolerance for case in cases] == [0.001, 0.5]
    assert cases[1].outputs["y"].tolist()[0][3] == pytest.approx(2.4)  # the user's, not the model's
    (place / "golden.json").unlink()
    with pytest.raises(ProbeFailed, match=r"expected 2.4\d* at \[0, 3\], found 2.0"):
        tried(place, examples=[tmp_path / "b.json"], tolerance=0.1)
    assert not (place / "golden.json").exists()


def test_an_answer_that_is_another_one_each_time_is_refused(tmp_path: Path) -> None:
    place = written(tmp_path / "m" / "model.onnx", random()).parent
    with pytest.raises(ProbeFailed, match="asked the same twice, the model answers otherwise"):
        tried(place)
    assert not (place / "golden.json").exists()


def test_an_example_that_is_answered_with_nan_is_refused(tmp_path: Path) -> None:
    log = model([helper.make_node("Log", ["x"], ["y"])], [VALUE("x", F, ["n"])], [VALUE("y", F, ["n"])])
    place = written(tmp_path / "m" / "model.onnx", log).parent
    np.save(tmp_path / "x.npy", np.array([-1.0], np.float32))
    with pytest.raises(ProbeFailed, match="output y has NaN or infinite values"):
        tried(place, examples=[tmp_path / "x.npy"])


def test_an_example_too_large_for_a_golden_json_is_refused(place: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((golden.MOST_BYTES // 40, 4), 0.123456789, np.float32))
    with pytest.raises(UsageError, match=r"the question and its answer cannot be packed: it makes a golden.json of"):
        tried(place, examples=[tmp_path / "x.npy"])


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x0a"])
def test_what_is_no_model_is_refused_in_the_words_of_an_edge(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(PreflightRefused, match=r"model.onnx cannot be loaded: it is no ONNX model"):
        tried(tmp_path)


def test_a_broken_golden_json_is_refused_in_the_words_of_an_edge(place: Path) -> None:
    (place / "golden.json").write_bytes(b"{")
    with pytest.raises(PreflightRefused, match=r"golden.json cannot be used"):
        tried(place)
