"""A control plane whose processes are ours: etcd and kube-apiserver, and the other three on demand.

In: a directory with programs.  Out: a `LocalControlPlane` that can be paused, restarted, compacted and set back.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from tests.control_plane.home import Home, b64, free_port, listens, sweep
from tests.control_plane.parts import PROGRAMS, arguments
from tests.control_plane.plane import ControlPlane, skip
from tests.control_plane.process import Program


class LocalControlPlane(ControlPlane):
    """Ours to stop, pause and set back. origin: "assets" or "built"."""

    def __init__(self, directory: Path, kubeconfig: Path, home: Home, *, origin: str) -> None:
        super().__init__(kubeconfig, directory)
        self._home = home
        self.origin = origin
        self._parts: dict[str, Program] = {}
        self._serving: dict[int, int] = {}

    @classmethod
    def start(cls, programs: Path, *, origin: str = "built", audit: bool = False, fsync: bool = False) -> Self:
        """Returns when the API server is ready. audit: keep who sent what (see `audited`). Raises CannotStart."""
        sweep()
        home = Home(programs, audit=audit, fsync=fsync)
        try:
            home.start()
            return cls(home.directory, home.kubeconfig, home, origin=origin)
        except BaseException:
            home.stop()
            raise

    def local(self) -> "LocalControlPlane":
        return self

    @property
    def pids(self) -> dict[str, int]:
        """Program name -> process id, of what runs."""
        running = (self._home.etcd, self._home.api, *self._parts.values())
        return {program.name: program.pid for program in running if program and program.running}

    def lacks(self, what: str) -> str:
        if what == "processes":
            return ""
        if what == "audit":
            return "" if self._home.audit else "this control plane was started without an audit log"
        name = PROGRAMS.get(what, what)
        return "" if (self._home.programs / name).is_file() else f"{self._home.programs} holds no {name}"

    def audited(self, resource: str = "") -> list[dict[str, Any]]:
        """audit.k8s.io/v1 Events, in the order in which their answers were complete; of one plural, or all.

        A request stands there just after its answer: user.username, verb, objectRef, requestReceivedTimestamp (µs).
        """
        lines = (self.directory / "audit.jsonl").read_bytes().splitlines()
        events = [json.loads(line) for line in lines if line.endswith(b"}")]
        return [one for one in events if not resource or one.get("objectRef", {}).get("resource") == resource]

    def pause(self) -> None:
        """SIGSTOP to the API server: connections stay open, nothing answers."""
        assert self._home.api
        self._home.api.pause()

    def resume(self) -> None:
        assert self._home.api
        self._home.api.resume()

    def restart(self, *, graceful_s: float = 10.0) -> None:
        """The API server anew at the same address; its watch caches start empty. graceful_s 0: killed."""
        self.halt(graceful_s=graceful_s)
        self._home.start_api()

    def halt(self, *, graceful_s: float = 0.0) -> None:
        """The API server is gone until `restart`: connections are refused."""
        assert self._home.api
        self._home.api.stop(graceful_s=graceful_s)

    def restart_etcd(self) -> None:
        """etcd is killed and comes back with its data; the API server answers 5xx in between."""
        assert self._home.etcd
        self._home.etcd.stop()
        self._home.start_etcd()
        self._home.wait_ready()

    def revision(self) -> int:
        """etcd's, which is the newest resourceVersion."""
        return int(self._home.ask_etcd("/v3/kv/range", {"key": b64("/")})["header"]["revision"])

    def compact(self) -> int:
        """Forgets all history before now and restarts the API server, whose caches would remember it.

        After that an older resourceVersion, and a continue token of before, is answered with 410. Returns the revision.
        """
        revision = self.revision()
        self._home.ask_etcd("/v3/kv/compaction", {"revision": str(revision), "physical": True})
        self.restart(graceful_s=0)
        return revision

    def snapshot(self) -> Path:
        """A copy of etcd's data as a crash right now would leave it; for `restore`."""
        assert self._home.etcd
        copy = Path(tempfile.mkdtemp(prefix="snapshot-", dir=self.directory))
        self._home.etcd.pause()
        try:
            shutil.copytree(self._home.data, copy, dirs_exist_ok=True)
        finally:
            self._home.etcd.resume()
        return copy

    def restore(self, snapshot: Path) -> None:
        """Everything as at the snapshot: later writes never were, and resourceVersion goes back."""
        assert self._home.etcd
        self.halt()
        self._home.etcd.stop()
        shutil.rmtree(self._home.data)
        shutil.copytree(snapshot, self._home.data)
        self._home.start_etcd()
        self._home.start_api()

    def stop(self) -> None:
        """All programs end and the directory goes; the data was for this run only."""
        self.admin.close()
        for part in reversed(self._parts.values()):
            part.stop()
        self._home.stop()

    def fake_nodes(self, *names: str, serving: Mapping[int, int] | None = None) -> None:
        """Nodes of kwok, Ready when this returns; Pods bound to them run at once, as far as the API server can tell.

        serving: port of any Pod -> port of 127.0.0.1 that port-forward reaches under it. kwok reads that when it
        starts, so it starts anew whenever this is called. Skips the test where kwok cannot be had.
        """
        if reason := self.lacks("kwok"):
            skip(f"needs kwok: {reason}")
        if "kwok" in self._parts:
            self._parts.pop("kwok").stop()
        self._serving = dict(serving or {})
        self._start("kwok")
        for name in names:
            self.request("POST", "/api/v1/nodes", {"metadata": {"name": name}})
        for name in names:
            self._parts["kwok"].wait_until(partial(self._ready, f"/api/v1/nodes/{name}"))

    def end(self, part: str) -> None:
        if part in self._parts:
            self._parts.pop(part).stop()

    def _start(self, part: str) -> None:
        if part not in PROGRAMS or ((there := self._parts.get(part)) and there.running):
            return
        port = free_port()
        words = arguments(part, port, self._home, self._serving)
        self._parts[part] = started = Program(self._home.programs / PROGRAMS[part], words, self.directory)
        started.wait_until(lambda: listens(port))
        if part == "controller-manager":
            started.wait_until(lambda: not ControlPlane.lacks(self, part))

    def _ready(self, node: str) -> bool:
        conditions = self.get(node).get("status", {}).get("conditions") or []
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def _authority(self) -> bytes:
        return self._home.ca.read_bytes()
