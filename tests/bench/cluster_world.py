"""What the benchmark of the cluster acts on: declared objects in Git, a hub as a process, a watch beside it.

In: a control plane and a directory.  Out: commits and pushes, what the hub's log and the API server say of them.
Times are seconds since 1970, of one machine: a file's mtime, an event's recordedtime, and this process's clock.
"""

import hashlib
import json
import os
import signal
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from reconciler import control_socket
from reconciler.edge.paths import StateDirectory
from reconciler.errors import HubUnreachable, NameUnknown, ReconcilerError, WorldUnavailable
from reconciler.eventlog.reader import SqliteReader
from reconciler.history import events as ev
from reconciler.history.events import Entry
from reconciler.kube.client.connection import Connection
from reconciler.kube.client.resources import OURS, Resource
from tests.bench.bare_applies import Apply
from tests.control_plane.plane import ControlPlane
from tests.git_repository import Repository

RECONCILER: Final = str(Path(sysconfig.get_path("scripts")) / "reconciler")
MODELS: Final = OURS["InferenceModel"]
A_FILE: Final = 10  # documents
LOOK_S: Final = 0.02
PATIENCE_S: Final = 300.0
SET: Final = "detect"
LABELS: Final = {"app.kubernetes.io/managed-by": "reconciler"}
TICKS: Final = os.sysconf("SC_CLK_TCK")


class Times(NamedTuple):
    """When something moved in Git. moved: the branch of the remote.  done: `git push` was over."""

    moved: float
    done: float


class World:
    """A work tree of `models` InferenceModels, ten a file, and the bare repository that the hub follows."""

    def __init__(self, place: Path, models: int) -> None:
        self.models = models
        self.origin = Repository(place / "origin.git", bare=True)
        self._tree = Repository(place / "tree")
        self._targets: dict[int, str] = {}
        self.push({_path(first): self._file(first) for first in range(0, models, A_FILE)})

    def push(self, files: Mapping[str, str]) -> Times:
        """One commit of these files, pushed."""
        self._tree.commit(files)
        return self._pushed()

    def revert(self) -> Times:
        """A commit that reverts the last one, pushed."""
        self._tree.revert()
        return self._pushed()

    def turn(self, n: int, target: str) -> Times:
        """Another target version for one model: one line changes."""
        self._targets[n] = target
        return self.push({_path(n): self._file(n // A_FILE * A_FILE)})

    def add_set(self, edges: int, default: str) -> Times:
        """A set over `edges` Edges, with `default` for all of them."""
        files = {"set.yaml": _set(default)}
        if not (self._tree.path / "edges").exists():
            files |= {f"edges/{first:05}.yaml": _edges(first, edges) for first in range(0, edges, A_FILE)}
        return self.push(files)

    def _pushed(self) -> Times:
        self._tree.push(self.origin.path)
        done = time.time()
        return Times((self.origin.path / "refs/heads/main").stat().st_mtime_ns / 1e9, done)

    def _file(self, first: int) -> str:
        numbers = range(first, min(self.models, first + A_FILE))
        return "---\n".join(_document(model(n, self._targets.get(n, "1"))) for n in numbers)


def model(n: int, target: str = "1") -> dict[str, Any]:
    """The InferenceModel number `n`, as it is declared."""
    entries = [
        {
            "version": version,
            "downloadURL": f"https://models.example.com/model-{n}-{version}.tar.gz",
            "sha256sum": hashlib.sha256(f"{n} {version}".encode()).hexdigest(),
        }
        for version in "12"
    ]
    return {
        "apiVersion": MODELS.api_version,
        "kind": MODELS.kind,
        "metadata": {"name": f"model-{n}", "namespace": "default"},
        "spec": {
            "modelName": f"model-{n}",
            "deployToLayer": "edge",
            "frameworkType": "onnx",
            "nodeName": f"node-{n % 100}",
            "servingPort": 8080 + n // 100,
            "targetVersion": target,
            "manifest": entries,
        },
    }


def sent(intent: Entry, namespace: str) -> Apply:
    """An order of an InferenceModel in the log as the request that it became, in another namespace."""
    event = intent.event
    _, _, name = event.subject.removesuffix("@").split("/")
    return apply(name, namespace, event.data["spec"], (event.operationid, str(intent.seq), event.gitcommit))


def apply(name: str, namespace: str, spec: Mapping[str, Any], stamps: tuple[str, str, str]) -> Apply:
    """A request as the hub sends it. spec: `{labels, spec}`.  stamps: operation id, place in the log, commit."""
    names = ("ai.kubeedge.io/operation-id", "ai.kubeedge.io/seq", "ai.kubeedge.io/commit")
    annotations = dict(zip(names, stamps, strict=True))
    metadata = {"name": name, "namespace": namespace, "labels": spec["labels"], "annotations": annotations}
    document = {"apiVersion": MODELS.api_version, "kind": MODELS.kind, "metadata": metadata, "spec": spec["spec"]}
    return Apply(MODELS.path(namespace, name), json.dumps(document, separators=(",", ":")).encode())


def _path(n: int) -> str:
    return f"models/{n // 1000:02}/{n // A_FILE * A_FILE:05}.yaml"


def _document(document: Mapping[str, Any]) -> str:
    """YAML as a person writes it, one field a line."""
    meta, spec = document["metadata"], document["spec"]
    lines = [f"apiVersion: {document['apiVersion']}", f"kind: {document['kind']}", "metadata:"]
    lines += [f"  {name}: {value}" for name, value in meta.items()]
    lines.append("spec:")
    for name, value in spec.items():
        if name != "manifest":
            lines.append(f"  {name}: {json.dumps(value)}")
    lines.append("  manifest:")
    for entry in spec["manifest"]:
        first, *others = (f"{name}: {json.dumps(value)}" for name, value in entry.items())
        lines += [f"    - {first}", *(f"      {other}" for other in others)]
    return "\n".join(lines) + "\n"


def _edges(first: int, count: int) -> str:
    return "---\n".join(
        f"apiVersion: {MODELS.api_version}\nkind: Edge\n"
        f"metadata:\n  name: edge-{n}\n  labels: {{site: bench}}\n"
        f"spec:\n  nodeName: edge-node-{n}\n  address: 127.0.0.1\n"
        for n in range(first, min(count, first + A_FILE))
    )


def _set(default: str) -> str:
    entries = "".join(
        f"      - version: '{version}'\n        downloadURL: https://models.example.com/{SET}-{version}.tar.gz\n"
        f"        sha256sum: {hashlib.sha256(f'{SET} {version}'.encode()).hexdigest()}\n"
        for version in "12"
    )
    return (
        f"apiVersion: {MODELS.api_version}\nkind: InferenceModelSet\n"
        f"metadata: {{name: {SET}, namespace: default}}\n"
        f"spec:\n  edgeSelector:\n    matchLabels: {{site: bench}}\n  defaultVersion: '{default}'\n"
        f"  template:\n    spec:\n      modelName: {SET}\n      deployToLayer: edge\n      frameworkType: onnx\n"
        f"      servingPort: 9000\n      manifest:\n{entries}"
    )


class Hub:
    """`reconciler run` in a state directory of its own."""

    def __init__(self, place: Path, repository: Path, kubeconfig: Path) -> None:
        self._place, self._state = place, StateDirectory(place / "state")
        place.mkdir(parents=True, exist_ok=True)
        words = ["--repo", str(repository), "--state", str(self._state.root), "--kubeconfig", str(kubeconfig)]
        self._command = [RECONCILER, "run", *words, "--listen", "off", "--poll", "3600"]
        self._process: subprocess.Popen[bytes] | None = None
        self.began = 0.0

    def start(self) -> None:
        """Returns at once."""
        output = (self._place / "output.log").open("ab")
        self.began = time.time()
        self._process = subprocess.Popen(self._command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        output.close()

    def stop(self) -> None:
        """SIGTERM, and its end. Raises RuntimeError where that was not in order."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        if process.wait(60) != 0:
            raise RuntimeError(f"the hub ended with {process.returncode}: {self.said()}")

    def kill(self) -> None:
        """End it, however it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def said(self) -> str:
        """The end of what it printed."""
        return (self._place / "output.log").read_text()[-2000:]

    def sync(self) -> None:
        """Have it look at the branch. Returns when its loop has."""
        control_socket.call(self._state.hub.control, {"verb": "sync"})
        self.turned()

    def turned(self) -> None:
        """Returns when the loop has taken what was due before: a verb that changes nothing is answered in turn."""
        try:
            control_socket.call(self._state.hub.control, {"verb": "resume", "scope": "nothing", "actor": "bench"})
        except NameUnknown:
            return
        raise RuntimeError("something of this name was suspended")

    def audit(self) -> None:
        """Have it look at everything. Returns when it has."""
        for verb in ("suspend", "resume"):
            control_socket.call(
                self._state.hub.control, {"verb": verb, "scope": "*", "actor": "bench", "reason": "bench"}
            )

    def cpu(self) -> float:
        """Seconds, user and system, of it and of the children that it has waited for (proc(5), stat 14 to 17)."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(") ")[2].split()
        return sum(int(field) for field in fields[11:15]) / TICKS

    def resident(self) -> float:
        """Bytes."""
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024

    @property
    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def head(self) -> int:
        """How many entries its log has."""
        try:
            reader = SqliteReader(self._state.hub.log)
        except (ReconcilerError, OSError):
            return 0
        try:
            return reader.head().seq
        finally:
            reader.close()

    def log(self, after: int = 0) -> list[Entry]:
        """What its log has, after this entry."""
        reader = SqliteReader(self._state.hub.log)
        try:
            return list(reader.read(after=after))
        finally:
            reader.close()

    def applied(self, count: int, after: int = 0) -> list[Entry]:
        """The entries after `after`, as soon as `count` orders among them have their outcome. Looks rarely."""
        least = after + 2 * count
        until(lambda: self.head() >= least and self._outcomes(after) >= count, self._alive, look_s=LOOK_S * 10)
        return self.log(after)

    def _outcomes(self, after: int) -> int:
        return sum(entry.event.type in ev.OUTCOMES for entry in self.log(after))

    def steady(self) -> None:
        """Returns when it leads, has listed everything and looked at it."""
        until(self._leads, self._alive)
        self.turned()

    def _leads(self) -> bool:
        """Whether its own term has begun: its events of before are older than the process."""
        head = self.head()
        recent = self.log(max(0, head - 20)) if head else []
        return any(entry.event.type == ev.LEASE_ACQUIRED and at(entry) >= self.began for entry in recent)

    def _alive(self) -> str:
        ended = self._process is None or self._process.poll() is not None
        return f"the hub has ended: {self.said()}" if ended else ""


def at(entry: Entry) -> float:
    """When its log recorded an entry: as its commit began."""
    return datetime.fromisoformat(entry.event.recordedtime).timestamp()


def of_type(entries: Iterable[Entry], *types: str) -> list[Entry]:
    """Those of these types."""
    return [entry for entry in entries if entry.event.type in types]


def until(done: Callable[[], bool], failed: Callable[[], str] = str, look_s: float = LOOK_S) -> None:
    """Raises TimeoutError, RuntimeError with what `failed` says."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if why := failed():
            raise RuntimeError(why)
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_S:.0f} s")
        time.sleep(look_s)


class Watched:
    """A watch beside the hub's: when each object of a kind came to be as it is, as any client hears of it."""

    def __init__(self, plane: ControlPlane, resource: Resource = MODELS) -> None:
        self._connection = Connection.open(kubeconfig=plane.kubeconfig)
        version = plane.get(resource.path(), limit="1")["metadata"]["resourceVersion"]
        self._changed = threading.Condition()
        self._seen: dict[str, tuple[float, dict[str, Any]]] = {}
        query = {"watch": "1", "resourceVersion": version}
        self._thread = threading.Thread(target=self._hear, args=(resource.path(), query), daemon=True)
        self._thread.start()

    def when(self, name: str, as_it_should_be: Callable[[dict[str, Any]], bool]) -> float:
        """When the object was heard of as it should be. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: name in self._seen and as_it_should_be(self._seen[name][1]), 30):
                raise TimeoutError(f"{name} did not come to be as it should: {self._seen.get(name)}")
            return self._seen[name][0]

    def close(self) -> None:
        self._connection.end_watches()
        self._thread.join()
        self._connection.close()

    def _hear(self, path: str, query: Mapping[str, str]) -> None:
        try:
            with self._connection.lines(path, query=query, silence_s=PATIENCE_S) as lines:
                for line in lines:
                    now, document = time.time(), json.loads(line)["object"]
                    with self._changed:
                        self._seen[document["metadata"]["name"]] = now, document
                        self._changed.notify_all()
        except (WorldUnavailable, HubUnreachable):
            return
