"""What each install has: the table of packages is that of the program, and what is missing is named."""

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

from reconciler import packages
from reconciler.errors import MachineUnfit, RuntimeUnavailable
from reconciler.packages import AGENT, CLUSTER, HUB, NAMES, PARTS, RUNTIME
from reconciler.serving import process
from tests.installs import EDGE, ROOT, pinned
from tests.unit.conftest import Call

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OF_OTHERS = {"pydantic_core": "pydantic", "urllib3": "kubernetes", "websocket": "kubernetes"}  # what comes with it


def imported() -> Iterator[str]:
    """The first name of every import in the program that is neither Python's nor ours."""
    for path in (ROOT / "reconciler").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            yield from (name.partition(".")[0] for name in names)


def distributions(*parts: packages.Part) -> set[str]:
    return {canonical(NAMES.get(name, name)) for part in parts for name in part.modules}


def required(requirements: list[str]) -> set[str]:
    return {canonical(Requirement(one).name) for one in requirements}


def test_the_table_has_every_package_that_the_program_imports() -> None:
    foreign = {OF_OTHERS.get(name, name) for name in imported()} - sys.stdlib_module_names - {"reconciler"}
    assert foreign == {name for part in PARTS for name in part.modules}


def test_the_table_has_the_dependencies_that_the_project_declares() -> None:
    declared = required(PROJECT["project"]["dependencies"])
    onnx = required(PROJECT["project"]["optional-dependencies"]["onnx"])
    assert (
        distributions(AGENT, HUB, CLUSTER) | {"starlette", "uvicorn", "tzdata"} == declared
    )  # zoneinfo finds the last
    assert distributions(RUNTIME) - declared == onnx


def test_an_edge_gets_what_its_agent_and_the_runtime_import() -> None:
    assert required(PROJECT["dependency-groups"]["edge"]) == distributions(AGENT, RUNTIME)


def test_an_edge_gets_the_very_versions_and_hashes_of_everybody() -> None:
    def blocks(name: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for line in (ROOT / "requirements" / name).read_text().splitlines():
            if line[:1].isalnum():
                found[line.partition(";")[0].strip(" \\")] = hashes = set()
            elif "--hash=" in line:
                hashes.add(line.strip(" \\"))
        return found

    edge, run = blocks(EDGE.name), blocks("run.txt")
    assert edge
    assert all(edge[name] == run[name] for name in edge)
    assert all(edge.values())
    assert not distributions(HUB, CLUSTER) & {canonical(one.name) for one in pinned(EDGE)}


@pytest.mark.parametrize("name", [path.name for path in (ROOT / "requirements").glob("*.txt")])
def test_requirements_name_no_place_to_get_them_from(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert not [word for word in ("://", "--index-url", "--extra-index-url", "--find-links") if word in text]


AGENTS = "reconciler.cli.main", "reconciler.cli.agent", "reconciler.wiring.agent", "reconciler.wiring.process"


@pytest.mark.parametrize(
    ("modules", "parts"), [(AGENTS, (RUNTIME, HUB, CLUSTER)), (("reconciler.serving.server",), (HUB, CLUSTER))]
)
def test_an_agent_and_its_runtime_import_nothing_that_an_edge_goes_without(
    modules: tuple[str, ...], parts: tuple[packages.Part, ...]
) -> None:
    code = f"import {', '.join(modules)}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {name for part in parts for name in part.modules} & set(loaded)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has packages missing from now on."""

    def hidden(*names: str) -> None:
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hidden


def lacking(names: Sequence[str], *words: str) -> subprocess.CompletedProcess[str]:
    """A command where these packages are missing."""
    code = f"import sys\nsys.modules.update(dict.fromkeys({names}))\nfrom reconciler.__main__ import main\n"
    return subprocess.run(
        [sys.executable, "-c", f"{code}sys.exit(main())", *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("module", "words", "said", "had"),
    [
        ("git", "init {}/fleet", "`reconciler init` needs gitpython, which is not", HUB.had),
        ("pydantic", "plan --repo {}", "`reconciler plan` needs pydantic, which is not", HUB.had),
        ("yaml", "explain RX101 -o yaml", "`reconciler explain` needs pyyaml, which is not", HUB.had),
        ("msgspec", "history --state {}", "`reconciler history` needs msgspec, which is not", AGENT.had),
        ("httptools", "crds apply --context c", "`reconciler crds` needs httptools, which is not", CLUSTER.had),
        ("onnxruntime", "demo --once", "`reconciler demo` needs onnxruntime, which is not", RUNTIME.had),
        ("click", "agent edge-1", "`reconciler agent` needs click, which is not", AGENT.had),
    ],
)
def test_a_command_names_the_package_that_it_lacks(
    tmp_path: Path, module: str, words: str, said: str, had: str
) -> None:
    done = lacking([module], *words.format(tmp_path).split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error[RX106]: {said} installed here\n help: {had}\n"
    assert not list(tmp_path.iterdir())


def test_it_is_told_as_json_where_that_was_asked_for() -> None:
    done = lacking(HUB.modules, "crds", "--output=json")
    assert json.loads(done.stderr) | {"hint": HUB.had} == json.loads(done.stderr)
    assert (done.returncode, json.loads(done.stderr)["code"]) == (2, "RX106")


def test_a_package_of_a_package_is_named_too_and_a_module_of_ours_is_a_bug() -> None:
    lost = packages.lacking(ModuleNotFoundError("x", name="smmap.buf"), "plan")
    assert isinstance(lost, MachineUnfit)
    assert lost.message == "`reconciler plan` needs smmap, which is not installed here"
    for name in ("reconciler.cli.plan", "_sqlite3", "json.nothing", None):
        assert packages.lacking(ModuleNotFoundError("x", name=name), "plan") is None


def test_a_model_that_nothing_can_serve_here_says_what_brings_it(without: Callable[..., None], tmp_path: Path) -> None:
    without("onnxruntime")
    spec = process.RuntimeSpec("digits", "127.0.0.1", 1, tmp_path / "runtime")
    with pytest.raises(RuntimeUnavailable, match="cannot be served here without onnxruntime") as caught:
        process.start(spec)
    assert caught.value.advice == RUNTIME.had
    assert not spec.directory.exists()


def test_doctor_knows_an_edges_install_and_one_by_halves(
    call: Call, without: Callable[..., None], tmp_path: Path
) -> None:
    def found() -> dict[str, dict[str, str]]:
        said = json.loads(call("doctor", "--state", tmp_path / "none", "-o", "json").out)
        return {one["check"]: one for one in said["findings"]}

    assert found()["install"]["found"] == "complete: command line, hub and cluster"
    without("watchdog", "onnxruntime")
    half = found()
    assert (half["install"]["verdict"], half["install"]["found"]) == ("fail", "missing: watchdog")
    assert (half["onnxruntime"]["verdict"], half["onnxruntime"]["found"]) == ("warn", "missing: onnxruntime")
    without(*HUB.modules, *CLUSTER.modules)
    edges = found()
    assert edges["install"]["verdict"] == "ok"
    assert not {"git", "git author", "repository", "listener", "hub", "cluster"} & set(edges)
