"""A hub and its cluster, for tests: a Git repository, a real API server with a proxy before it, the hub's log.

In: commits, rules of the proxy, what other writers do.  Out: what the log and the API server say became of it.
A hub runs in this process (`hub`), or as one of its own (`process`) where it is to be killed. It has the rights that
`reconciler crds roles` writes, and no more. `check` holds the log against the API server's own audit log.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from reconciler.edge.paths import StateDirectory
from reconciler.engine.queue import Cause, Trigger
from reconciler.errors import WorldUnavailable
from reconciler.eventlog.reader import SqliteReader
from reconciler.history.events import Entry
from reconciler.history.fold import fold
from reconciler.history.keys import DECLARE, Key
from reconciler.history.state import Served, StageState, State
from reconciler.history.status import Status, status
from reconciler.kube.client.resources import OURS
from reconciler.kube.client.rights import HOME, RULES
from reconciler.settings import Settings
from reconciler.wiring.cluster import Further
from reconciler.wiring.hub import HubProcess
from tests.api_proxy import ROOT, ApiProxy, Request
from tests.control_plane.client import Document
from tests.control_plane.plane import ControlPlane
from tests.git_repository import Repository

PATIENCE_S: Final = 60.0
LOOK_S: Final = 0.02
FLEET: Final = {"prune": {"maxDeletes": 1000, "maxShare": "100%"}}
SHA: Final = "dec87e2f3c06e60e554acac0b2b80e394c616b0ecdf878fab7f04fd414a66eff"
EDITOR: Final = "kubectl-edit"
WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
PLURALS: Final = {resource.plural: resource.kind for resource in OURS.values()}
Events = list[Entry]


def manifest(kind: str, name: str, spec: Mapping[str, Any], namespace: str = "default", **metadata: Any) -> str:
    """A file of the repository. JSON is YAML."""
    place = {"namespace": namespace} if OURS[kind].namespaced else {}
    head = {"apiVersion": OURS[kind].api_version, "kind": kind, "metadata": {"name": name, **place, **metadata}}
    return json.dumps(head | {"spec": dict(spec)})


def service(version: str = "1", **spec: Any) -> dict[str, Any]:
    """The spec of an InferenceModel with one version, on a node of the cluster."""
    entry = {"version": version, "downloadURL": f"https://models.example.com/{version}.tar.gz", "sha256sum": SHA}
    fields = {"modelName": "faces", "deployToLayer": "edge", "frameworkType": "onnx", "nodeName": "berlin"}
    return {**fields, "manifest": [entry], "targetVersion": version, **spec}


def model(name: str, version: str = "1", **spec: Any) -> dict[str, str]:
    """An InferenceModel as a file."""
    return {f"models/{name}.yaml": manifest("InferenceModel", name, service(version, **spec))}


def models(count: int, version: str = "1") -> dict[str, str]:
    """Many of them, one a line of files that hold a hundred each."""
    rows = [manifest("InferenceModel", f"m{n:05}", service(version)) for n in range(count)]
    return {f"models/{n}.yaml": "\n---\n".join(rows[n : n + 100]) for n in range(0, count, 100)}


def fleet(**spec: Any) -> dict[str, str]:
    """The policy, without limits unless they are given."""
    return {"fleet.yaml": manifest("Fleet", "fleet", {**FLEET, **spec})}


def key(name: str, kind: str = "InferenceModel") -> str:
    """The key of an object in the namespace `default`."""
    return str(Key(kind, "default" if OURS[kind].namespaced else "", name, ""))


def started(world: "World", files: Mapping[str, str], **policy: Any) -> None:
    """A hub that has done the first commit. policy: of the Fleet."""
    world.commit({**fleet(**policy), **files})
    world.hub()
    world.wait_settled()
    world.proxy.forget()


def uid(world: "World", name: str = "one") -> str:
    """Of an InferenceModel; "" where there is none."""
    found = world.there(name)
    return str(found["metadata"]["uid"]) if found else ""


def uids(world: "World") -> dict[str, str]:
    """Of every InferenceModel, by name."""
    return {name: uid(world, name) for name in world.versions()}


def port(world: "World", name: str = "one") -> int | None:
    """On which an InferenceModel serves; None where there is none."""
    found = world.there(name)
    return found["spec"].get("servingPort") if found else None


def written(world: "World") -> list[str]:
    """The names of the objects that were written with success, each time one was."""
    return sorted(one.path.rpartition("/")[2] for one in world.writes() if one.answered in {200, 201})


class World:
    """Everything of one test. `close` ends what it started."""

    def __init__(
        self, plane: ControlPlane, root: Path, name: str = "hub", home: str = "", *rights: dict[str, list[str]]
    ) -> None:
        """home: the namespace of the Lease, a new one unless given.  rights: of the hub's user beside its own."""
        self.plane, self.root, self.name = plane, root, name
        self.home = home or plane.fresh_namespace("hub")
        self.user = f"{name}-{self.home}"
        rules = [{"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)} for rule in RULES]
        home_rules = [{"apiGroups": [r.group], "resources": [r.resource], "verbs": list(r.verbs)} for r in HOME]
        self.direct = plane.kubeconfig_for(self.user, *rules, *home_rules, *rights)
        self.proxy = ApiProxy(self.direct, root / "proxy")
        self.state_dir = StateDirectory(root / "state")
        self.repository = Repository(root / "fleet")
        self.hubs: list[tuple[HubProcess, threading.Thread]] = []
        self.failures: list[BaseException] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._entries: Events = []
        self._state = State()
        self._reader: SqliteReader | None = None

    # ── hubs ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def settings(self, kubeconfig: Path | None = None) -> dict[str, str]:
        """Of a hub. Its kubeconfig leads through the proxy unless another is given."""
        given = {"repo": str(self.repository.path), "state_dir": str(self.state_dir.root), "listen": "off"}
        return given | {"lease_namespace": self.home, "kubeconfig": str(kubeconfig or self.proxy.kubeconfig)}

    def hub(self, kubeconfig: Path | None = None, *, further: Sequence[Further] = (), **settings: Any) -> HubProcess:
        """A hub in this process, running. further: its stages beyond those of every hub."""
        hub = HubProcess(Settings(**{**self.settings(kubeconfig), **settings}), further=further)

        def run() -> None:
            try:
                hub.run()
            except BaseException as failure:  # noqa: BLE001  # told by whoever waits
                self.failures.append(failure)

        thread = threading.Thread(target=run, name="hub")
        self.hubs.append((hub, thread))
        thread.start()
        return hub

    def stop(self) -> None:
        """End the hubs of this process in an orderly way."""
        for hub, thread in self.hubs:
            hub.stop()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        self.hubs.clear()

    def process(
        self, failpoint: str = "", kubeconfig: Path | None = None, arguments: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """A hub as a process. arguments: of another one than the product's."""
        environment = {**os.environ, "RECONCILER_FAILPOINT": failpoint}
        ours = ["reconciler", "run", "--repo", str(self.repository.path), "--state", str(self.state_dir.root)]
        ours += ["--kubeconfig", str(kubeconfig or self.proxy.kubeconfig), "--listen", "off"]
        command = [sys.executable, "-W", "error", "-m", *(arguments or ours)]
        environment["RECONCILER_LEASE_NAMESPACE"] = self.home
        with (self.root / "output.log").open("ab") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )
        self._processes.append(process)
        return process

    def bury(self) -> None:
        """Take away the Lease of a process that is dead for certain, so that its successor need not wait for it."""
        self.plane.request("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{self.home}/leases/reconciler")

    def look(self, cause: str = "audit", subject: str = "") -> None:
        """Have the hub look again now, as its timer does each five minutes."""
        self.hubs[-1][0].queue.stage(DECLARE).add(Trigger(Cause(cause), subject))

    def close(self) -> None:
        """End everything, by id."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(PATIENCE_S)
        self.proxy.clear()
        self.stop()
        self.proxy.close()
        if self._reader is not None:
            self._reader.close()
        assert not self.failures, self.failures

    # ── what it says ──────────────────────────────────────────────────────────────────────────────────────────────

    def entries(self) -> Events:
        """The log so far."""
        with contextlib.suppress(WorldUnavailable):
            self._reader = self._reader or SqliteReader(self.state_dir.hub.log)
            new = list(self._reader.read(after=self._state.seq))
            fold(self._state, new)
            self._entries += new
        return self._entries

    def forget(self) -> None:
        """Read another log from its beginning: the one before was lost."""
        if self._reader is not None:
            self._reader.close()
        self._reader, self._entries, self._state = None, [], State()

    def events(self, type_: str, subject: str = "") -> Events:
        """The entries of one type, of one object or all. type_: without its version, `apply.intended`."""
        wanted = f"{type_}.v1"
        return [one for one in self.entries() if one.event.type == wanted and subject in {"", one.event.subject}]

    @property
    def state(self) -> State:
        """The fold of the log."""
        self.entries()
        return self._state

    @property
    def mine(self) -> StageState:
        """What the log knows of the cluster's objects."""
        return self.state.stage(DECLARE)

    def served(self, name: str, kind: str = "InferenceModel") -> Served:
        """What the log knows of an object."""
        return self.mine.known(key(name, kind))

    def status(self) -> Status:
        """As `reconciler status` tells it."""
        return status(self.state, "2100-01-01T00:00:00Z")

    def output(self) -> str:
        """What the processes printed."""
        log = self.root / "output.log"
        return log.read_text()[-1500:] if log.exists() else ""

    # ── waiting ───────────────────────────────────────────────────────────────────────────────────────────────────

    def wait(self, done: Callable[[], object], why: str, timeout_s: float = PATIENCE_S) -> None:
        """Until `done` is true. Fails with the end of the log when it does not become so."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline or self.failures:
                quiet = {"apply.intended.v1", "apply.succeeded.v1", "apply.abandoned.v1"}
                told = [one for one in self.entries()[:-20] if one.event.type not in quiet] + self.entries()[-20:]
                last = [f"{e.seq} {e.event.type} {e.event.subject} {str(e.event.data)[:300]}" for e in told[-60:]]
                ends = [text for one in self.failures for text in traceback.format_exception(one)]
                raise AssertionError("\n".join([f"never: {why}", *ends, *last, self.output()]))
            time.sleep(LOOK_S)

    def wait_event(self, type_: str, subject: str = "", count: int = 1, **data: Any) -> Entry:
        """The newest event of a type, once there are so many of them whose data are as wanted."""

        def found() -> Events:
            return [one for one in self.events(type_, subject) if data.items() <= one.event.data.items()]

        self.wait(lambda: len(found()) >= count, f"{count} {type_} {subject} {data}")
        return found()[-1]

    def wait_settled(self) -> None:
        """Until the newest commit is accepted, all that its plan promised is intended, and no intent is open."""
        self.wait(self.is_settled, "settled")

    def is_settled(self) -> bool:
        """Whether it is so."""
        state = self.state
        if state.ref.accepted != self.repository.head():
            return False
        plans = [one for one in self._entries if one.event.type == "change.planned.v1" and one.event.gitcommit]
        promised = sum(plans[-1].event.data["counts"].get(action, 0) for action in ("create", "update", "delete"))
        done = sum(e.event.type == "apply.intended.v1" for e in self._entries if e.seq > plans[-1].seq)
        undone = [one for one in self.mine.keys.values() if one.open or (one.operation and one.phase == "Desired")]
        return done >= promised and not undone

    def commit(self, files: Mapping[str, str | bytes | None], message: str = "Change") -> str:
        """The id of a commit with these files."""
        return self.repository.commit(files, message)

    # ── the cluster, as others see it ─────────────────────────────────────────────────────────────────────────────

    def path(self, name: str, kind: str = "InferenceModel") -> str:
        """Where an object is."""
        resource = OURS[kind]
        return resource.path("default" if resource.namespaced else "", name)

    def there(self, name: str, kind: str = "InferenceModel") -> Document | None:
        """An object as it is now."""
        code, document = self._read(self.path(name, kind))
        return document if code == 200 else None

    def _read(self, path: str) -> tuple[int, Document]:
        """An answer of an API server that is there: one that has just started is busy for a moment."""
        deadline = time.monotonic() + PATIENCE_S
        while (answer := self.plane.request("GET", path))[0] in {429, 500, 503} and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return answer

    def wait_served(self) -> None:
        """Until each of our kinds is answered for."""
        assert {self._read(resource.path())[0] for resource in OURS.values()} == {200}

    def versions(self) -> dict[str, str]:
        """InferenceModel -> its version, of all."""
        items = self._read(OURS["InferenceModel"].path())[1]["items"]
        return {one["metadata"]["name"]: one["spec"].get("targetVersion", "") for one in items}

    def edit(
        self, name: str, change: Document, manager: str = "kubectl-edit", kind: str = "InferenceModel"
    ) -> Document:
        """What somebody else makes of an object: a merge patch."""
        code, document = self.plane.request("PATCH", self.path(name, kind), change, query={"fieldManager": manager})
        assert code == 200, document
        return document

    def delete(self, name: str, kind: str = "InferenceModel") -> None:
        """Somebody deletes an object."""
        code, document = self.plane.request("DELETE", self.path(name, kind))
        assert code == 200, document

    # ── counting ──────────────────────────────────────────────────────────────────────────────────────────────────

    def sent(self, *verbs: str) -> list[Request]:
        """Requests about our kinds that came to the proxy, of these verbs. Those of a status are left out."""
        found = [one for one in self._about_ours() if not one.path.endswith("/status")]
        return [one for one in found if not verbs or one.verb in verbs]

    def statuses(self) -> list[Request]:
        """The writes of a status that came to the proxy."""
        return [one for one in self._about_ours() if one.path.endswith("/status") and one.verb == "patch"]

    def _about_ours(self) -> list[Request]:
        return self.proxy.requests(path="ai.kubeedge.io")

    def writes(self) -> list[Request]:
        """The writes among them."""
        return self.sent(*WRITES)

    def audited(self) -> Iterator[tuple[str, str, str, int]]:
        """(time, verb, key, status) of every write about our kinds that the hub's user sent, as the server has it."""
        for one in self.plane.local().audited():
            ref = one.get("objectRef", {})
            if not one["user"].get("username", "").endswith(f":{self.user}") or ref.get("resource") not in PLURALS:
                continue
            is_share = one["verb"] == "patch" and "fieldValidation" not in one["requestURI"]  # moved to us: no effect
            if one["verb"] in WRITES and ref.get("subresource") is None and not is_share:
                found = Key(PLURALS[ref["resource"]], ref.get("namespace", ""), ref["name"], "")
                yield one["requestReceivedTimestamp"], one["verb"], str(found), one["responseStatus"]["code"]

    def check(self) -> None:
        """Every effect has its intent before it, none is there twice, nothing went that was not ordered to go."""
        ordered: dict[tuple[str, str], list[str]] = {}
        for one in self.events("apply.intended"):
            verb = "delete" if one.event.data["action"] == "delete" else "patch"
            ordered.setdefault((one.event.subject, verb), []).append(one.event.recordedtime)
        done: Counter[tuple[str, str]] = Counter()
        for at, verb, subject, code in self.audited():
            if code >= 300:
                continue
            done[subject, verb] += 1
            before = [time_ for time_ in ordered.get((subject, verb), ()) if time_ <= at]
            assert len(before) >= done[subject, verb], f"{verb} {subject} at {at}: intents {before}"
        for (subject, verb), times in ordered.items():
            assert done[subject, verb] <= len(times)
