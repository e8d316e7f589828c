"""A real fleet for tests: a repository made from the template, a hub, three agents and their runtimes as processes."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reconciler.edge.paths import StateDirectory
from reconciler.errors import ReconcilerError, WorldUnavailable
from reconciler.eventlog.reader import SqliteReader
from reconciler.history.events import Entry
from reconciler.serving import endpoint
from tests.artifact_server import ArtifactServer
from tests.digits import ARTIFACTS, question
from tests.git_repository import Repository

TEMPLATE = ARTIFACTS.parent
ADDRESSES = {"edge-1": "127.0.0.2", "edge-2": "127.0.0.3", "edge-3": "127.0.0.4"}
PATIENCE_S = 40.0
LOOK_S = 0.05


def free_port() -> int:
    """A port that is free on every address of the fleet just now."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.2", 0))
            port: int = first.getsockname()[1]
            try:
                for address in list(ADDRESSES.values())[1:]:
                    stack.enter_context(socket.socket()).bind((address, port))
            except OSError:
                continue
            return port


def pids(state: Path) -> Iterator[int]:
    """Every living process that works in a state directory."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if str(state).encode() in (entry / "cmdline").read_bytes():
                    yield int(entry.name)


def end_all(state: Path) -> None:
    """End what still works in a state directory, by id."""
    for pid in pids(state):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Fleet:
    """Everything of one test. `close` ends every process by its id, also those that outlive their parents."""

    def __init__(self, root: Path, server: ArtifactServer) -> None:
        self.root, self.server, self.port = root, server, free_port()
        self.state = StateDirectory(root / "state")
        for name in ("digits-1.tar.gz", "digits-2.tar.gz", "digits-2026-11.csv.gz"):
            server.files[f"/{name}"] = (ARTIFACTS / name).read_bytes()
        self.repository = Repository(root / "fleet")
        shutil.copytree(TEMPLATE, self.repository.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.gz"))
        for path in self.repository.path.rglob("*.yaml"):
            text = path.read_text().replace("http://127.0.0.1:8900", server.url("").rstrip("/"))
            path.write_text(re.sub(r"servingPort: \d+", f"servingPort: {self.port}", text))
        self.repository.git("add", "-A")
        self.first = self.repository.commit(message="The first fleet")
        self._processes: list[subprocess.Popen[bytes]] = []

    # ── processes ─────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, *words: str, failpoint: str = "") -> subprocess.Popen[bytes]:
        """A `reconciler` process with its output in the test's directory."""
        environment = {**os.environ, "RECONCILER_FAILPOINT": failpoint, "RECONCILER_LISTEN": "off"}
        output = (self.root / "output.log").open("ab")
        command = [sys.executable, "-W", "error", "-m", "reconciler", *words, "--state", str(self.state.root)]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        output.close()
        self._processes.append(process)
        return process

    def hub(self, *words: str, failpoint: str = "") -> subprocess.Popen[bytes]:
        """A hub that follows the repository."""
        return self.start("run", "--repo", str(self.repository.path), *words, failpoint=failpoint)

    def agent(self, edge: str, failpoint: str = "") -> subprocess.Popen[bytes]:
        """One edge's agent, run by hand."""
        return self.start("agent", edge, failpoint=failpoint)

    def run(self, *words: str, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        """A command, finished. check: the exit code that it must have."""
        command = [sys.executable, "-W", "error", "-m", "reconciler", *words, "--state", str(self.state.root)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=self.repository.path, timeout=PATIENCE_S
        )
        assert check is None or done.returncode == check, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def read(self, *words: str) -> Any:
        """A command's JSON."""
        return json.loads(self.run(*words, "--output", "json").stdout)

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End a process in an orderly way."""
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)

    def pids(self) -> Iterator[int]:
        """Every living process that works in this fleet's state directory."""
        return pids(self.state.root)

    def close(self) -> None:
        """End everything, by id."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        end_all(self.state.root)
        for process in self._processes:
            process.wait(PATIENCE_S)

    # ── the world, as users see it ────────────────────────────────────────────────────────────────────────────────

    def url(self, edge: str) -> str:
        """Where an edge serves the digits."""
        return endpoint.model_url(ADDRESSES[edge], self.port, "digits")

    def ask(self, edge: str) -> tuple[str, str]:
        """(version, digest) as the edge's runtime answers a real question; ("", "") when nobody answers."""
        try:
            answer = endpoint.infer(self.url(edge), QUESTION, timeout_s=5.0)
        except ReconcilerError:
            return "", ""
        return answer["model_version"], answer["parameters"]["digest"]

    def versions(self) -> dict[str, str]:
        """What every edge answers with."""
        return {edge: self.ask(edge)[0] for edge in ADDRESSES}

    def wait(self, what: Callable[[], object], why: str) -> None:
        """Until `what` is true. Fails with the processes' output when it does not become so."""
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            died = [process.args for process in self._processes if process.poll() not in {None, 0, -9}]
            if died or time.monotonic() > deadline:
                raise AssertionError(f"never: {why}; versions {self.versions()}\n{self.output()}")
            time.sleep(LOOK_S)

    def wait_versions(self, **wanted: str) -> None:
        """Until the edges (edge_1=…) answer with these versions."""
        goal = {name.replace("_", "-"): version for name, version in wanted.items()}
        self.wait(lambda: all(self.ask(edge)[0] == version for edge, version in goal.items()), str(goal))

    def wait_settled(self) -> None:
        """Until every order has its outcome in the hub's log, for the newest commit."""
        self.wait(self.is_settled, "settled")

    def is_settled(self) -> bool:
        """Whether the newest commit is accepted and no order is open."""
        intents: dict[str, str] = {}
        planned, promised = "", 0
        for entry in self.entries():
            event = entry.event
            if event.type == "change.planned.v1" and event.gitcommit:
                planned, counts = event.gitcommit, event.data["counts"]
                promised = sum(counts.get(action, 0) for action in ("create", "update", "delete"))
            if event.type == "apply.intended.v1" and event.source.startswith("/hub"):
                intents[event.subject] = event.operationid
                promised -= 1
            settled = event.type in {"apply.succeeded.v1", "apply.failed.v1"}
            if settled and intents.get(event.subject) == event.operationid:
                del intents[event.subject]
        return planned == self.repository.git("rev-parse", "HEAD") and promised <= 0 and not intents

    def entries(self, edge: str = "") -> list[Entry]:
        """The hub's log, or an edge's."""
        try:
            reader = SqliteReader(self.state.edge(edge).log if edge else self.state.hub.log)
        except WorldUnavailable:
            return []
        try:
            return list(reader.read())
        finally:
            reader.close()

    def events(self, type_: str, edge: str = "") -> list[Entry]:
        """The entries of one type, in the hub's log or an edge's."""
        return [entry for entry in self.entries(edge) if entry.event.type == type_]

    def output(self) -> str:
        """What every process printed."""
        logs = [self.root / "output.log", *sorted(self.state.root.glob("edges/*/output.log"))]
        return "\n".join(f"--- {log}\n{log.read_text()[-3000:]}" for log in logs if log.exists())

    def edit(self, path: str, old: str, new: str, message: str = "Change") -> str:
        """The id of a commit that replaces `old` by `new` in one file."""
        text = (self.repository.path / path).read_text()
        assert old in text
        return self.repository.commit({path: text.replace(old, new)}, message)


def _question() -> dict[str, Any]:
    import tempfile

    from tests.digits import digits

    with tempfile.TemporaryDirectory() as scratch:
        return question(digits("1", Path(scratch)))


QUESTION = _question()
