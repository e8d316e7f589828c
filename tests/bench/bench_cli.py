"""The command line as a user waits for it: whole processes, from the start of the interpreter to its end. Rows of 5.

`plan` looks at a repository of 1,000 files of 10 documents whose parent commit was reconciled into the log; every round
makes another commit of one changed line, so that fetching it is part of the time. `status` reads a log of 1,000 edges.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from statistics import median

from reconciler.edge.paths import StateDirectory
from reconciler.errors import WorldUnavailable
from reconciler.eventlog.sqlite import SqliteLog
from reconciler.history.events import Entry
from reconciler.settings import Settings
from reconciler.web.server import Door
from reconciler.wiring.hub import HubProcess
from reconciler.wiring.process import recorded
from tests.bench import Figure
from tests.bench.rollout import Rollouts
from tests.fleets import sha
from tests.git_repository import Repository
from tests.log_events import StillClock

RECONCILER = str(Path(sysconfig.get_path("scripts")) / "reconciler")
LIMIT = "limit"
MODELS = 9  # beside the Edge, in one file


def figures(small: bool) -> Iterator[Figure]:
    """Rows of the command line's targets."""
    rounds = 3 if small else 9
    yield from _start_up(rounds)
    with tempfile.TemporaryDirectory() as place:
        yield from _plan(Path(place), 20 if small else 1000, rounds)
        yield from _elsewhere(Path(place), 20 if small else 1000, rounds)
        yield from _status(Path(place), 20 if small else 1000, rounds)


# Start-up.


def _start_up(rounds: int) -> Iterator[Figure]:
    bare = median(_seconds([sys.executable, "-c", ""]) for _ in range(rounds))
    completing = {"_RECONCILER_COMPLETE": "bash_complete"}
    commands: tuple[tuple[str, list[str], dict[str, str]], ...] = (
        ("reconciler --help", ["--help"], {}),
        ("reconciler completion bash", ["completion", "bash"], {}),
        ("completing a command", [], completing | {"COMP_WORDS": "reconciler pl", "COMP_CWORD": "1"}),
        ("completing an option", [], completing | {"COMP_WORDS": "reconciler plan --o", "COMP_CWORD": "2"}),
    )
    for name, words, environment in commands:
        _seconds([RECONCILER, *words], environment)  # compiled from now on
        taken = median(_seconds([RECONCILER, *words], environment) for _ in range(rounds))
        against = f"{LIMIT}; the interpreter alone {bare:.3f} s"
        yield Figure(name, taken, "s", "lower", against, 0.150)


def _seconds(command: list[str], environment: Mapping[str, str] | None = None, answers: int = 0) -> float:
    """How long the command took. answers: the exit code that it must have, else RuntimeError with what it said."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | (environment or {}))
    taken = time.perf_counter() - began
    if done.returncode != answers or not (done.stdout or "-c" in command):
        raise RuntimeError(f"{command} answered {done.returncode}: {done.stderr[-2000:]}")
    return taken


# plan.


def _plan(place: Path, edges: int, rounds: int) -> Iterator[Figure]:
    repository, state = Repository(place / "fleet"), place / "planned"
    base = repository.commit({_path(n): _file(n) for n in range(edges)})
    _reconcile(repository.path, state)
    words = ["plan", "--repo", str(repository.path), "--state", str(state)]
    said = subprocess.run([RECONCILER, *words], capture_output=True, text=True, check=True).stdout
    assert said.endswith("nothing to do\n"), said

    def commit(n: int) -> None:
        repository.reset(base)
        repository.commit({_path(n): _file(n, target="2")})

    def edit(n: int) -> None:
        repository.reset(base)
        repository.write({_path(n): _file(n, target="2")})

    what = f"of 1 line in {edges * (MODELS + 1):,} objects"
    for name, change in (("committed", commit), ("not committed yet", edit)):
        taken = median(_planned(words, change, n) for n in range(rounds))
        yield Figure(f"reconciler plan {what}, {name}", taken, "s", "lower", LIMIT, 1.5)


def _elsewhere(place: Path, edges: int, rounds: int) -> Iterator[Figure]:
    """The plan of a pull request in a clone, without a log, against a hub that has read its base."""
    origin, state = Repository(place / "origin"), place / "hub"
    origin.commit({_path(n): _file(n) for n in range(edges)})
    _reconcile(origin.path, state)
    hub = HubProcess(Settings(repo=str(origin.path), state_dir=state), supervise=False)
    with closing(hub.log), closing(hub._control), closing(Door("127.0.0.1:0")) as door:
        url = door.open(hub)
        origin.git("clone", "--quiet", "--depth=1", f"file://{origin.path}", str(place / "clone"))
        clone = Repository(place / "clone")
        base = clone.git("rev-parse", "HEAD")

        def commit(n: int) -> None:
            clone.reset(base)
            clone.commit({_path(n): _file(n, target="2")})

        taken = []
        for n in range(rounds):  # each without anything that one before has left
            words = ["plan", "--repo", str(clone.path), "--state", str(place / f"none-{n}"), "--hub", url]
            taken.append(_planned(words, commit, n))
        what = f"of 1 line in {edges * (MODELS + 1):,} objects, a clone against a hub"
        yield Figure(f"reconciler plan {what}", median(taken), "s", "lower", LIMIT, 2.0)
        said = urllib.request.Request(f"{url}/api/v1/basis", headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(said) as answer:  # values are asked for beyond it: those of one key here
            yield Figure(f"the hub's answer {what}", len(answer.read()) / 1e6, "MB", "lower", LIMIT, 5.0)


def _planned(words: list[str], change: Callable[[int], None], n: int) -> float:
    change(n)
    return _seconds([RECONCILER, *words], answers=1)


def _reconcile(repository: Path, state: Path) -> None:
    """The log of a hub that has ordered all that the branch declares; there are no agents that would answer."""
    hub = HubProcess(Settings.load({"repo": str(repository), "state_dir": state}, {}), supervise=False)

    def ordered(_: list[Entry]) -> None:
        state = hub.record.state
        if state.ref.accepted and not any(stage.to_begin for stage in state.stages.values()):
            hub.stop()

    hub.log.subscribe(ordered)
    with suppress(WorldUnavailable):  # it was not awaited that it looks at all once more
        hub.once(600)


def _path(n: int) -> str:
    return f"edges/{n // 100:02d}/edge-{n:04d}.yaml"


def _file(n: int, target: str = "1") -> str:
    """An edge and the models on it. target: the version of the first one."""
    edge = f"edge-{n:04d}"
    document = (
        "apiVersion: ai.kubeedge.io/v1alpha1\nkind: Edge\n"
        f"metadata:\n  name: {edge}\n  labels: {{site: site-{n % 50}}}\n"
        f"spec:\n  nodeName: node-{n:04d}\n  address: 127.0.0.1\n"
    )
    models = [_model(edge, m, target if m == 0 else "1", f"node-{n:04d}") for m in range(MODELS)]
    return "---\n".join([document, *models])


def _model(edge: str, m: int, target: str, node: str) -> str:
    entries = "".join(
        f"    - version: '{version}'\n      downloadURL: https://models.example.com/model-{m}-{version}.tar.gz\n"
        f"      sha256sum: {sha(f'{m} {version}')}\n"
        for version in "12"
    )
    return (
        "apiVersion: ai.kubeedge.io/v1alpha1\nkind: InferenceModel\n"
        f"metadata:\n  name: model-{m}-{edge}\n  namespace: default\n"
        f"spec:\n  modelName: model-{m}\n  deployToLayer: edge\n  frameworkType: onnx\n"
        f"  nodeName: {node}\n  servingPort: {8080 + m}\n  targetVersion: '{target}'\n  manifest:\n{entries}"
    )


# status.


def _status(place: Path, edges: int, rounds: int) -> Iterator[Figure]:
    home, clock = StateDirectory(place / "seen").hub, StillClock()
    home.directory.mkdir(parents=True)
    log = SqliteLog(home.log, "/hub", clock)
    try:
        rollouts = Rollouts(recorded(log, home, clock, "hub"), clock, edges, 2)
        rollouts.round()
    finally:
        log.close()
    command = [RECONCILER, "status", "--state", str(place / "seen")]
    for words, rows in (((), 2), (("--each",), 2 * edges)):
        lines = subprocess.run([*command, *words], capture_output=True, text=True, check=True).stdout.splitlines()
        assert len(lines) == 4 + rows, lines[:10]
    for form in ("table", "table --each", "json"):
        taken = median(_seconds([*command, "--output", *form.split()]) for _ in range(rounds))
        yield Figure(f"reconciler status of {edges:,} edges × 2 models, {form}", taken, "s", "lower", LIMIT, 0.5)
