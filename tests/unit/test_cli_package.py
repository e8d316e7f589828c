"""`package`: from a file to an archive that was tried and an entry that can be committed; what fails leaves nothing."""

import contextlib
import errno
import fcntl
import json
import os
import resource
import struct
import subprocess
import sys
import tarfile
import termios
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import helper, numpy_helper

from reconciler import packages
from reconciler.artifacts import pack
from reconciler.serving import trial
from reconciler.wiring.package import _scratch
from tests.foreign_models import VALUE, F, beside, doubling, written
from tests.foreign_models import model as foreign
from tests.unit.conftest import Call

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The work tree that one stands in."""
    call("init", tmp_path / "fleet")
    monkeypatch.chdir(tmp_path / "fleet")
    return tmp_path / "fleet"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / "mine" / "double.onnx", doubling())


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()


def left(directory: Path) -> list[str]:
    """What lies there beside what `init` wrote."""
    return sorted(
        {path.name for path in directory.iterdir()} - {path.name for path in _template().iterdir()} - {".git"}
    )


def _template() -> Path:
    return Path(__file__).parents[2] / "repo-template"


def test_a_file_is_packed_declared_and_deployed_and_the_same_again_is_nothing(
    call: Call, fleet: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.wiring.entries.is_taken", lambda *_: False)  # whatever listens here just now
    words = ("package", model, "--name", "double", "--version", "1", "--write", "--deploy", "site=demo")
    said = call(*words)
    assert said.code == 0, said.err
    assert said.out.splitlines() == [
        "models/double.yaml: Model double with version 1",
        "deployments/double.yaml: InferenceModelSet double: version 1 on port 8081 of site=demo",
    ]
    assert "takes x FP32[-1, 4]; gives y FP32[-1, 4]" in said.err
    assert "answers x FP32[1, 4] (the first that was tried; --example gives a real one)" in said.err
    told = " ".join(said.err.split())
    assert "edges fetch double-1.tar.gz from where it lies now: keep it there, and out of Git" in told
    commands = said.err.partition("Next:\n")[2].splitlines()
    assert [line.split()[0] for line in commands] == ["reconciler", "git", "reconciler", "tar"]
    assert commands[3].endswith("golden.json | curl -s -d @- http://127.0.0.2:8081/v2/models/double/infer")
    assert left(fleet) == ["double-1.tar.gz"]
    assert left(model.parent) == ["double.onnx"]
    with tarfile.open("double-1.tar.gz") as tar:
        assert tar.getnames() == ["double.onnx", "golden.json"]

    planned = call("plan", "--repo", fleet, "--state", fleet.parent / "state", "--check")
    assert "9 to create" in planned.out
    assert "nothing is wrong there" in planned.out + planned.err

    before = git("status", "--porcelain"), Path("double-1.tar.gz").stat().st_mtime_ns
    again = call(*words)
    assert again.code == 0
    assert again.out == "double 1 is declared so already: no file is changed\n"
    assert f"already there: {fleet / 'double-1.tar.gz'}" in again.err
    assert before == (git("status", "--porcelain"), Path("double-1.tar.gz").stat().st_mtime_ns)


def test_weights_beside_the_file_come_with_it_and_other_files_do_not(call: Call, fleet: Path, tmp_path: Path) -> None:
    file = beside(tmp_path / "export")
    (file.parent / "notes.txt").write_text("mine")
    said = call("package", file, "--name", "wide", "--version", "1", "-o", "json")
    assert said.code == 0, said.err
    answer = json.loads(said.out)
    assert sorted(answer["files"]) == ["golden.json", "model.onnx", "model.onnx.data"]
    (file.parent / "model.onnx.data").unlink()
    said = call("package", file, "--name", "wide", "--version", "1")
    assert (said.code, "model.onnx has its weights in 'model.onnx.data', which is not there" in said.err) == (5, True)


def test_without_write_the_documents_are_printed_and_the_work_tree_is_left_alone(
    call: Call, fleet: Path, model: Path, tmp_path: Path
) -> None:
    words = ("package", model, "--name", "double", "--version", "1", "--archive", tmp_path / "d.tgz")
    said = call(*words, "--url", "https://files.test/models/", "--deploy", "*", "--port", "9000")
    assert said.code == 0, said.err
    entry, deployment = yaml.safe_load_all(said.out)
    assert entry["spec"]["versions"][0]["downloadURL"] == "https://files.test/models/d.tgz"
    assert entry["spec"]["versions"][0]["size"] == (tmp_path / "d.tgz").stat().st_size
    assert (deployment["spec"]["edgeSelector"], deployment["spec"]["template"]["spec"]["servingPort"]) == ({}, 9000)
    assert "out of Git" not in said.err
    assert f"# put {tmp_path / 'd.tgz'} to https://files.test/models/d.tgz" in said.err
    assert git("status", "--porcelain") == ""
    said = call("package", model, "--name", "digits", "--version", "3", "--archive", tmp_path / "e.tgz")
    assert yaml.safe_load(said.out)[0]["version"] == "3"  # an entry alone: there is such a Model


def test_no_repository_is_needed_to_pack(
    call: Call, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = call("package", model.parent, "--name", "double", "--version", "1")
    assert said.code == 0, said.err
    assert yaml.safe_load(said.out)["spec"]["versions"][0]["downloadURL"] == (tmp_path / "double-1.tar.gz").as_uri()
    for option in (("--write",), ("--deploy", "*")):
        said = call("package", model, "--name", "double", "--version", "1", *option)
        assert (said.code, "which work tree?" in said.err) == (2, True)


def test_several_examples_are_cases_and_the_last_command_asks_the_first(
    call: Call, fleet: Path, model: Path, tmp_path: Path
) -> None:
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, np.ones((1, 4)))
    examples = ("--example", tmp_path / "a.npy", "--example", tmp_path / "b.npy")
    said = call("package", model, "--name", "d", "--version", "1", *examples, "--write", "--deploy", "*")
    assert said.code == 0, said.err
    assert "answers 2 examples" in said.err
    assert "note: x: FP64 became FP32" in said.err
    assert 'json.load(sys.stdin)["cases"][0]' in said.err
    ask = said.err.splitlines()[-1].partition("| curl")[0]
    asked = json.loads(subprocess.run(["bash", "-c", ask], capture_output=True, check=True).stdout)
    assert asked["inputs"][0]["shape"] == [1, 4]


# What is wrong.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--port", "9000"), "--port is where --deploy serves it"),
        (("--deploy", "site"), "--deploy 'site' is no selector"),
        (("--deploy", "site=demo,site=x"), "is no selector"),
        (("--deploy", "*", "--port", "0"), "--port 0 is no port"),
        (("--deploy", "*", "--port", "many"), "--port many is no port"),
        (("--deploy", "site=dmo"), "did you mean site=demo?"),
        (("--deploy", "site=demo,site="), "is no selector"),
        (("--deploy", "site="), "did you mean site=demo?"),
        (("--tolerance", "nan"), "nan is no number"),
        (("--name", "Double"), "is not a name"),
        (("--version", " 1"), "is not a version"),
        (("--url", "ftp://x"), "its scheme is none of https, http, file"),
        (("--framework", "tflite"), "no edge runs it"),
        (("--archive", "nowhere/x.tgz"), "is no directory"),
        (("--archive", ""), "--archive: '' names no file"),
        (("--archive", "/dev/full", "--force"), "/dev/full is no file"),
        (("--archive", "/proc/x.tgz"), "nothing can be written in /proc"),
        (("--archive", "x" * 256), "has more than the 255 bytes that a file's name may have"),
        (("--example", "fleet.yaml"), "an example is a file .npz, .npy, .json"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_left(
    call: Call, fleet: Path, model: Path, words: tuple[str, ...], said: str
) -> None:
    found = call("package", model, "--name", "double", "--version", "1", *words)
    assert found.code == 2
    assert said in found.err
    assert left(fleet) == []
    assert git("status", "--porcelain") == ""


def test_a_repository_without_a_work_tree_is_written_into_by_nobody(call: Call, fleet: Path, model: Path) -> None:
    git("clone", "-q", "--bare", ".", str(fleet.parent / "bare.git"))
    before = sorted((fleet.parent / "bare.git").rglob("*"))
    words = ("package", model, "--name", "double", "--version", "1", "--repo", fleet.parent / "bare.git")
    said = call(*words, "--write")
    assert (said.code, "without a work tree" in said.err) == (2, True)
    assert (sorted((fleet.parent / "bare.git").rglob("*")), left(fleet)) == (before, [])
    assert call(*words).code == 0  # what is printed needs none


@pytest.mark.parametrize("kind", ["a folder that leads out", "a link that leads nowhere", "a file", "a wrong one"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_tried(
    call: Call, fleet: Path, model: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "TRIER", "nowhere")  # whoever tries it fails
    outside, models = fleet.parent / "outside", fleet / "models"
    outside.mkdir()
    (fleet / "models").rename(fleet / "catalogue")
    if kind == "a folder that leads out":
        models.symlink_to(outside)
        said = f"models/double.yaml leads out of {fleet}, to {outside}"
    elif kind == "a link that leads nowhere":
        models.mkdir()
        (models / "double.yaml").symlink_to("../../outside/x.yaml")
        said = "models/double.yaml is a link to ../../outside/x.yaml"
    elif kind == "a file":
        models.write_text("mine")
        said = "models/double.yaml cannot be written: models is a file"
    else:
        models.mkdir()
        (models / "double.yaml").write_text("kind: Model\n\tspec: 1\n")
        said = "models/double.yaml:2:"
    found = call("package", model, "--name", "double", "--version", "1", "--write")
    assert found.code == (3 if kind == "a wrong one" else 2)
    assert said in found.err
    assert ([*outside.iterdir()], Path("double-1.tar.gz").exists()) == ([], False)


def test_a_directory_with_several_models_or_none_is_refused(call: Call, fleet: Path, model: Path) -> None:
    written(model.parent / "other.onnx", doubling())
    said = call("package", model.parent, "--name", "d", "--version", "1")
    assert (said.code, "2 models: double.onnx, other.onnx" in said.err) == (2, True)
    said = call("package", fleet / "edges", "--name", "d", "--version", "1")
    assert (said.code, "one *.onnx file is needed" in said.err) == (5, True)
    (fleet.parent / "empty").mkdir()
    said = call("package", fleet.parent / "empty", "--name", "d", "--version", "1")
    assert (said.code, "has no file" in said.err) == (2, True)
    assert left(fleet) == []


@pytest.mark.parametrize(
    ("name", "guide"), [("model.PT", "pytorch"), ("model.joblib", "scikit-learn"), ("model.keras", "keras")]
)
def test_what_is_not_exported_yet_is_sent_to_its_guide(call: Call, fleet: Path, name: str, guide: str) -> None:
    (fleet.parent / name).write_bytes(b"\x80\x04")
    said = call("package", fleet.parent / name, "--name", "d", "--version", "1")
    assert (said.code, f"export it first: docs/guides/{guide}.md" in said.err) == (5, True)
    assert (Path(__file__).parents[2] / "docs" / "guides" / f"{guide}.md").is_file()


def test_of_many_models_the_first_are_named_and_what_is_none_is_sent_to_the_guides(call: Call, fleet: Path) -> None:
    (fleet.parent / "many").mkdir()
    for n in range(302):
        (fleet.parent / "many" / f"m{n}.onnx").write_bytes(b"")
    said = call("package", fleet.parent / "many", "--name", "d", "--version", "1")
    assert (said.code, "has 302 models: m0.onnx, m1.onnx, m2.onnx and 299 more\n" in said.err) == (2, True)
    (fleet.parent / "train.py").write_text("import torch\n")
    said = call("package", fleet.parent / "train.py", "--name", "d", "--version", "1")
    assert (said.code, "train.py is no ONNX model" in said.err, "docs/guides/ say how" in said.err) == (5, True, True)
    assert "not packed a second time" not in said.err


def test_an_archive_that_edges_would_refuse_is_refused_here_in_their_words(
    call: Call, fleet: Path, model: Path
) -> None:
    (model.parent / "a\\b.txt").write_text("a name of another system")
    said = call("package", model.parent, "--name", "double", "--version", "1")
    assert (said.code, "RX402" in said.err, "has a backslash" in said.err) == (5, True, True)
    assert left(fleet) == []


def test_a_name_that_only_just_fits_is_packed(call: Call, fleet: Path, model: Path) -> None:
    archive = "x" * 255
    assert call("package", model, "--name", "double", "--version", "1", "--archive", archive).code == 0
    assert left(fleet) == [archive]


@pytest.mark.parametrize("place", ["link", "w" * 5000])
def test_weights_that_are_elsewhere_or_can_be_nowhere_are_refused(
    call: Call, fleet: Path, tmp_path: Path, place: str
) -> None:
    file = beside(tmp_path / "export")
    made = onnx.load(file, load_external_data=False)
    for tensor in made.graph.initializer:
        for entry in tensor.external_data:
            entry.value = place if entry.key == "location" else entry.value
    written(file, made)
    (tmp_path / "secret").write_bytes((file.parent / "model.onnx.data").read_bytes())
    (file.parent / "link").symlink_to(tmp_path / "secret")
    said = call("package", file, "--name", "wide", "--version", "1")
    refusal = (2, "link is a link that leads out") if place == "link" else (5, "wwww', which is not there")
    assert (said.code, refusal[1] in said.err) == (refusal[0], True), said.err
    (file.parent / "link").unlink()
    said = call("package", file.parent, "--name", "wide", "--version", "1")
    assert (said.code, "RX405" in said.err) == (5, True), said.err


def test_a_version_whose_archive_would_take_the_place_of_another_ones_is_refused(
    call: Call, fleet: Path, model: Path
) -> None:
    assert call("package", model, "--name", "double", "--version", "a/b", "--write").code == 0
    before = Path("double-a-b.tar.gz").read_bytes()
    written(model, doubling(5))
    for force in ((), ("--force",)):
        said = call("package", model, "--name", "double", "--version", "a-b", "--write", *force)
        assert (said.code, "is the archive of double a/b: models/double.yaml:" in said.err) == (2, True)
        assert "--force" not in said.err
        assert "--archive FILE" in said.err
    assert Path("double-a-b.tar.gz").read_bytes() == before


@pytest.mark.parametrize(
    ("url", "becomes"),
    [
        ("https://h.test/dir/?q=1/", "https://h.test/dir/double-1.tar.gz?q=1/"),
        ("https://h.test/get?file=a/", "https://h.test/get?file=a/"),
        ("file:///srv/models/", "file:///srv/models/double-1.tar.gz"),
    ],
)
def test_a_url_is_a_directory_by_its_path_and_what_lies_elsewhere_has_to_be_put_there(
    call: Call, fleet: Path, model: Path, url: str, becomes: str
) -> None:
    said = call("package", model, "--name", "double", "--version", "1", "--url", url)
    assert yaml.safe_load(said.out)["spec"]["versions"][0]["downloadURL"] == becomes
    assert f"# put {fleet / 'double-1.tar.gz'} to {becomes}" in said.err
    assert ("downloadURL is a file of this machine" in said.err) == url.startswith("file")


def test_a_model_without_inputs_and_one_with_a_strange_name_are_told_in_whole_lines(
    call: Call, fleet: Path, tmp_path: Path
) -> None:
    constant = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.ones(2, np.float32)))
    file = written(tmp_path / "c.onnx", foreign([constant], [], [VALUE("y", F, [2])]))
    said = call("package", file, "--name", "c", "--version", "1")
    assert (said.code, "answers without a question, as it has no input; unpacked" in said.err) == (0, True)
    odd = foreign([helper.make_node("Relu", ["x\nz"], ["y"])], [VALUE("x\nz", F, [1])], [VALUE("y", F, [1])])
    said = call("package", written(tmp_path / "o.onnx", odd), "--name", "o", "--version", "1")
    assert (said.code, "takes x\\u000az FP32[1]; gives y FP32[1]\n" in said.err) == (0, True)


def test_a_tolerance_stands_in_what_is_packed(call: Call, fleet: Path, model: Path) -> None:
    assert call("package", model, "--name", "d", "--version", "1", "--tolerance", "0.25").code == 0
    with tarfile.open("d-1.tar.gz") as tar:
        packed = tar.extractfile("golden.json")
        assert packed is not None
        assert json.load(packed)["tolerance"] == "0.25"


def test_an_archive_that_has_other_bytes_stays_unless_it_is_to_be_replaced(
    call: Call, fleet: Path, model: Path
) -> None:
    Path("double-1.tar.gz").write_bytes(b"mine")
    words = ("package", model, "--name", "double", "--version", "1", "--write")
    said = call(*words)
    assert (said.code, "exists, and has other bytes" in said.err) == (2, True)
    assert Path("double-1.tar.gz").read_bytes() == b"mine"
    assert not Path("models/double.yaml").exists()
    assert call(*words, "--force").code == 0
    assert Path("double-1.tar.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert left(fleet) == ["double-1.tar.gz"]


def test_a_model_that_is_exported_anew_before_the_commit_is_packed_anew_where_that_is_said(
    call: Call, fleet: Path, model: Path
) -> None:
    words = ("package", model, "--name", "double", "--version", "1", "--write")
    assert call(*words).code == 0
    before = Path("double-1.tar.gz").read_bytes(), Path("models/double.yaml").read_text()
    written(model, doubling(5))
    said = call(*words)
    assert (said.code, "has another version 1, which is not committed yet" in said.err) == (2, True)
    assert (Path("double-1.tar.gz").read_bytes(), Path("models/double.yaml").read_text()) == before
    said = call(*words, "--force")
    assert said.code == 0
    assert said.out == "models/double.yaml: version 1 of double, in place of another one\n"
    (entry,) = yaml.safe_load(Path("models/double.yaml").read_text())["spec"]["versions"]
    assert entry["sha256sum"] == pack.sha256_of(Path("double-1.tar.gz"))
    git("add", ".")
    git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "Declare it")
    written(model, doubling(6))
    said = call(*words, "--force")
    assert (said.code, "RX221" in said.err) == (3, True)


def test_a_version_that_is_published_with_other_content_is_refused_before_an_archive_is_left(
    call: Call, fleet: Path, model: Path
) -> None:
    said = call("package", model, "--name", "digits", "--version", "1", "--write")
    assert said.code == 3
    assert "RX221" in said.err
    assert "version 1 of digits is published already, with other content" in said.err
    assert left(fleet) == []


def test_an_archive_within_what_is_packed_is_refused(call: Call, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    said = call("package", ".", "--name", "double", "--version", "1")
    assert (said.code, "would lie in what is packed" in said.err) == (2, True)
    assert f"--archive {model.parent.parent / 'double-1.tar.gz'}" in said.err


def test_a_golden_json_is_held_and_options_that_would_do_nothing_are_refused(
    call: Call, fleet: Path, model: Path, tmp_path: Path
) -> None:
    tensor = {"shape": [1, 4], "datatype": "FP32"}
    golden = {
        "inputs": [{"name": "x", **tensor, "data": [1] * 4}],
        "outputs": [{"name": "y", **tensor, "data": [2] * 4}],
    }
    place = model.parent / "golden.json"
    place.write_text(json.dumps(golden))
    words = ("package", model.parent, "--name", "double", "--version", "1")
    said = call(*words)
    assert said.code == 0, said.err
    assert "answers 1 question of its golden.json" in said.err
    with tarfile.open("double-1.tar.gz") as tar:
        packed = tar.extractfile("golden.json")
        assert packed is not None
        assert packed.read() == place.read_bytes()
    np.save(tmp_path / "x.npy", np.ones((1, 4)))
    for option in (("--example", tmp_path / "x.npy"), ("--tolerance", "1")):
        said = call(*words, *option)
        assert (said.code, f"leave out {option[0]}" in said.err) == (2, True)
    golden["outputs"] = [{"name": "y", **tensor, "data": [3] * 4}]
    place.write_text(json.dumps(golden))
    said = call(*words, "--force")
    assert (said.code, "version 1, golden case 1: output y: expected 3.0 at [0, 0], found 2.0" in said.err) == (5, True)
    for content in (b"{", b" " * (17 << 20)):
        place.write_bytes(content)
        said = call(*words, "--force")
        assert (said.code, "RX405" in said.err, "golden.json cannot be used" in said.err) == (5, True, True)


def test_a_model_that_ends_its_process_leaves_nothing(
    call: Call, fleet: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "TRIER", "tests.scripted_trier")
    said = call("package", model, "--name", "double", "--version", "crashes")
    assert (said.code, "signal 11 (SIGSEGV)" in said.err) == (5, True)
    assert left(fleet) == []


def test_an_install_without_the_runtime_names_what_it_lacks(
    call: Call, fleet: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "onnxruntime" else name)
    said = call("package", model, "--name", "double", "--version", "1")
    assert said.code == 2
    assert "trying a model needs onnxruntime, which is not installed here" in said.err
    assert packages.RUNTIME.had in said.err
    assert left(fleet) == []


def test_a_model_that_loads_long_is_said_to_now_and_then(
    fleet: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from reconciler.cli.package import Progress

    progress, times = Progress(), iter([0.0, 0.5, 11.0, 15.0, 22.0])
    monkeypatch.setattr("reconciler.cli.package.time.monotonic", lambda: next(times))
    for _ in range(5):
        progress.doing("loading the model")
    progress.close()
    assert capsys.readouterr().err.splitlines() == ["loading the model: 11 s", "loading the model: 22 s"]


# The disk is full.


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may have more than 64 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_a_file_system_that_takes_no_more_is_said_in_bytes_and_nothing_is_left(
    call: Call, fleet: Path, model: Path
) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    (model.parent / "labels.bin").write_bytes(os.urandom(200_000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    said = call("package", model.parent, "--name", "double", "--version", "1")
    assert said.code == 4
    assert "RX304" in said.err
    assert "bytes are needed while it is packed" in said.err
    assert left(fleet) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_while_packing_leaves_nothing(
    call: Call, fleet: Path, model: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pack._Hashed, "write", full)
    said = call("package", model, "--name", "double", "--version", "1", "--write")
    assert said.code == 4
    assert "RX304" in said.err
    assert "are free" in said.err
    assert left(fleet) == []
    assert git("status", "--porcelain") == ""


def test_what_a_killed_run_has_left_goes_with_the_next_one(call: Call, fleet: Path, model: Path) -> None:
    with _scratch(fleet / "double-1.tar.gz") as scratch:
        left_behind = fleet / (scratch.name.rpartition(".")[0][:-4] + "abcd.packing")
    left_behind.mkdir()
    (left_behind / "archive").write_bytes(b"half")
    (fleet / ".other-1.tar.gz.abc.packing").mkdir()
    assert call("package", model, "--name", "double", "--version", "1").code == 0
    assert left(fleet) == [".other-1.tar.gz.abc.packing", "double-1.tar.gz"]


def test_a_narrow_terminal_shows_progress_and_every_word_of_the_end(fleet: Path, model: Path) -> None:
    main, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    words = ["-m", "reconciler", "package", str(model), "--name", "double", "--version", "1"]
    environment = os.environ | {"TERM": "xterm"}
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=terminal, env=environment)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError), process:  # EIO: its end
        while data := os.read(main, 1 << 16):
            shown += data
    os.close(main)
    assert process.returncode == 0
    assert b"\x1b[" in shown  # one line that is drawn again
    assert b"starting" in shown
    text = shown.decode().replace("\r\n", "\n")
    told = text[text.index("takes x") : text.index("Next:")]
    assert all(len(line) <= 40 for line in told.splitlines() if " " in line.strip())
    assert "answers x FP32[1, 4] (the first that was tried; --example gives a real one)" in " ".join(told.split())
    assert b"Traceback" not in shown


def test_a_pipe_that_closes_loses_nothing(fleet: Path, model: Path) -> None:
    words = ["-m", "reconciler", "package", str(model), "--name", "double", "--version", "1", "--write"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, *words], check=False, stdout=writer, stderr=subprocess.PIPE, timeout=100)
    os.close(writer)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
    assert left(fleet) == ["double-1.tar.gz"]
    assert Path("models/double.yaml").exists()
