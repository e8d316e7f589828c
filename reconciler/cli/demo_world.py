"""What the demo runs and asks: a file server, the reconciler as a process, the served models. Imports serving.endpoint.

In: a directory.  Out: answers of real models, and counts of what was asked and sent.
"""

import contextlib
import http.server
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from reconciler import control_socket, packages
from reconciler.edge.paths import StateDirectory
from reconciler.errors import PortTaken, ReconcilerError, WorldRefused, WorldUnavailable
from reconciler.serving import endpoint

EDGES: Final = {"edge-1": "127.0.0.2", "edge-2": "127.0.0.3", "edge-3": "127.0.0.4"}
YOU: Final = ("You", "you@example.com")
PATIENCE_S: Final = 90.0
LOOK_S: Final = 0.02
AGAIN: Final = "begin again: reconciler demo; with --dir DIR, what it leaves can be looked at"
PAUSE_S: Final = 0.02  # between two questions to one edge


class DemoArtifacts(http.server.ThreadingHTTPServer):
    """Serves a directory on loopback, and counts what it sends."""

    def __init__(self, directory: Path) -> None:
        self.requests = 0
        self.sent = 0
        count = threading.Lock()
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                """Counted, not printed."""

            def copyfile(self, source: Any, outputfile: Any) -> None:
                with count:
                    outer.requests += 1
                    outer.sent += os.fstat(source.fileno()).st_size
                super().copyfile(source, outputfile)

        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(directory)))
        threading.Thread(target=self.serve_forever, name="artifacts", daemon=True).start()

    @property
    def url(self) -> str:
        """Where the files are."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Asker:
    """Asks every edge all the time, as its users would, and counts."""

    def __init__(self, question: dict[str, Any], port: int) -> None:
        self.asked, self.failed = 0, 0
        self._question, self._port = question, port
        self._stop = threading.Event()
        self._count = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(edge,), daemon=True) for edge in EDGES]
        for thread in self._threads:
            thread.start()

    def _ask(self, edge: str) -> None:
        url = endpoint.model_url(EDGES[edge], self._port, "digits")
        while not self._stop.wait(PAUSE_S):
            try:
                endpoint.infer(url, self._question)
                failed = 0
            except ReconcilerError:
                failed = 1
            with self._count:
                self.asked += 1
                self.failed += failed

    def close(self) -> None:
        """Stop asking."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


class World:
    """The demo's repository, processes and questions."""

    def __init__(self, directory: Path, port: int) -> None:
        self.fleet, self.state, self.port = directory / "fleet", directory / "state", port
        self._output = directory / "run.log"
        self._run: subprocess.Popen[bytes] | None = None

    def check_machine(self) -> None:
        """Raises MachineUnfit without a package that a hub or a runtime needs, PortTaken where an edge cannot serve."""
        for part in (packages.HUB, packages.RUNTIME):
            part.require("`reconciler demo`")
        for edge, address in EDGES.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((address, self.port))
                except OSError as error:
                    hint = "name another one: reconciler demo --port 18080"
                    raise PortTaken(
                        f"{edge} cannot serve on {address}:{self.port}: {error.strerror}", hint=hint
                    ) from error

    def command(self, *words: str, state: bool = True) -> str:
        """The standard output of a reconciler command. Raises WorldRefused with what it said when it fails."""
        where = ["--state", str(self.state)] if state else []
        command = [sys.executable, "-m", "reconciler", *words, *where]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self.state.parent)
        if done.returncode:
            raise WorldRefused(f"reconciler {' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def start(self) -> None:
        """Run the reconciler, as a user would."""
        words = [sys.executable, "-m", "reconciler", "run", "--repo", str(self.fleet), "--state", str(self.state)]
        words += ["--listen", "127.0.0.1:0"]  # the usual one may be of a reconciler which runs here for good
        with self._output.open("wb") as output:
            self._run = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    @property
    def page(self) -> str:
        """Where the hub's page is, as `run` says it; "" before it does."""
        said = self._output.read_text(errors="replace") if self._output.exists() else ""
        return next((line.split()[-1] for line in said.splitlines() if line.startswith("listening at ")), "")

    def identify(self) -> None:
        """Have commits of the demo's repository signed by somebody also where Git knows nobody: what it invites to
        type must work.
        """
        known = subprocess.run(["git", "config", "user.email"], cwd=self.fleet, capture_output=True, check=False)
        if not known.stdout.strip():
            self.git("config", "user.name", YOU[0])
            self.git("config", "user.email", YOU[1])

    def outlast(self) -> None:
        """Stay as long as the reconciler runs. Raises WorldUnavailable, with its last words, once it has ended."""
        assert self._run is not None
        code = self._run.wait()
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        said = self._output.read_text(errors="replace")[-2000:].strip()
        raise WorldUnavailable(f"the reconciler of the demo has ended {how}; it said last:\n{said}", hint=AGAIN)

    def close(self) -> None:
        """End the reconciler in an orderly way, and with it agents and runtimes."""
        if self._run is not None:
            self._run.send_signal(signal.SIGTERM)
            if self._run.wait() < 0:  # it was ended by force: what it would have ended goes on
                self._end_agents()

    def _end_agents(self) -> None:
        """Agents end their runtimes with them."""
        for edge in EDGES:
            with contextlib.suppress(ReconcilerError, OSError, LookupError):
                home = StateDirectory(self.state).edge(edge)
                agent = os.pidfd_open(control_socket.call(home.control, {"verb": "status"})["pid"])
                try:
                    signal.pidfd_send_signal(agent, signal.SIGTERM)
                    select.select([agent], [], [], PATIENCE_S)
                finally:
                    os.close(agent)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text in one file of the repository."""
        file = self.fleet / path
        text = file.read_text()
        if old not in text:
            raise WorldRefused(f"{path} does not say {old!r}")
        file.write_text(text.replace(old, new))

    def git(self, *words: str) -> str:
        """What git printed in the repository."""
        author = ("-c", f"user.name={YOU[0]}", "-c", f"user.email={YOU[1]}")
        done = subprocess.run(["git", *author, *words], cwd=self.fleet, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def question(self) -> dict[str, Any]:
        """A request with real digits, from the golden file inside the archive."""
        with tarfile.open(self.fleet / "artifacts" / "digits-1.tar.gz") as archive:
            golden = archive.extractfile("golden.json")
            assert golden is not None
            return {"inputs": json.load(golden)["inputs"]}

    def answers(self, question: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """What each edge that answers says."""
        found = {}
        for edge, address in EDGES.items():
            with contextlib.suppress(ReconcilerError):
                found[edge] = endpoint.infer(endpoint.model_url(address, self.port, "digits"), question)
        return found

    def wait(self, what: Callable[[], bool], why: str) -> float:
        """Seconds until `what` was true. Raises WorldUnavailable when it never is, or when the reconciler has ended."""
        started = time.monotonic()
        while not what():
            ended = self._run is not None and self._run.poll() is not None
            if ended or time.monotonic() - started > PATIENCE_S:
                said = self._output.read_text()[-2000:] if self._output.exists() else ""
                raise WorldUnavailable(f"{why}: that did not happen\n{said}", hint="run `reconciler doctor`")
            time.sleep(LOOK_S)
        return time.monotonic() - started
