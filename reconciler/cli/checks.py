"""What `doctor` looks at, one function a check. May import: wiring, control_socket, history.

In: the machine and a state directory.  Out: findings. A check only reads, and never raises: what it meets is a finding.
"""

import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Literal

from reconciler import control_socket, packages
from reconciler.edge.paths import Home, StateDirectory
from reconciler.errors import HubUnreachable, ReconcilerError, UsageError
from reconciler.history.events import rfc3339
from reconciler.natural import natural
from reconciler.wording import named_of

if TYPE_CHECKING:
    from reconciler.history.state import State
    from reconciler.settings import Settings
    from reconciler.wiring.past import Past

PYTHON, GIT, SQLITE = (3, 11), (2, 36), (3, 51, 3)
TAIL: Final = 1000  # entries at the end of the log whose hashes are compared
AHEAD_S: Final = 5.0
LOOK_S: Final = 10.0  # for a remote to answer


@dataclass(frozen=True)
class Finding:
    """What one check found. edge: which it is about, where it is about one."""

    verdict: Literal["ok", "warn", "fail"]
    check: str
    found: str
    fix: str = ""
    edge: str = ""


def every(state_dir: Path, *, in_cluster: bool = False) -> list[Finding]:
    """Every check, in order. in_cluster: a cluster is looked at too, so that none is spoken of here."""
    if packages.is_edges_install():
        return [python(), installed(), sqlite(), onnx(), proxies(), *directory(state_dir), *agents(state_dir)]
    settings = _followed(state_dir)
    found = [python(), installed(), git(), author(), sqlite(), onnx(), proxies(), repository(settings)]
    found += [*directory(state_dir), *log(state_dir), *processes(state_dir), listener(state_dir, settings)]
    return found if in_cluster else [*found, cluster()]


def python() -> Finding:
    """Python itself."""
    said = ".".join(map(str, sys.version_info[:3]))
    fine = sys.version_info >= PYTHON
    return Finding("ok" if fine else "fail", "python", said, "" if fine else "install Python 3.11 or newer")


def installed() -> Finding:
    """What this install is for, by the packages that it has. The runtime's have a line of their own."""
    if packages.is_edges_install():
        return Finding("ok", "install", "an edge's: its agent, no hub", "a hub has more: docs/install.md")
    missing = [name for part in (packages.AGENT, packages.HUB, packages.CLUSTER) for name in part.missing]
    if missing:
        return Finding("fail", "install", f"missing: {', '.join(missing)}", packages.AGENT.had)
    return Finding("ok", "install", "complete: command line, hub and cluster")


def git() -> Finding:
    """The git command."""
    if shutil.which("git") is None:
        return Finding("fail", "git", "not installed", "install git 2.36 or newer")
    said = subprocess.run(["git", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    numbers = tuple(int(part) for part in said.split()[2].split(".")[:2]) if said.count(" ") >= 2 else (0, 0)
    fine = numbers >= GIT
    return Finding("ok" if fine else "fail", "git", said, "" if fine else "install git 2.36 or newer")


def author() -> Finding:
    """Whose commits `pin` and `rollback` make."""
    from reconciler.sources import commit
    from reconciler.sources.git_safety import Remote

    here = Path.cwd()
    try:
        return Finding("ok", "git author", commit.author(Remote.parse(str(here)), here))
    except ReconcilerError as error:
        return Finding("warn", "git author", "nobody: `pin` and `rollback` cannot commit", error.advice)


def sqlite() -> Finding:
    """SQLite, as Python has it. Before 3.51.3 two connections that write could damage a log; ours has one writer."""
    fine = sqlite3.sqlite_version_info >= SQLITE
    note = "" if fine else " (before 3.51.3: safe, because one process alone writes a log)"
    return Finding("ok", "sqlite", sqlite3.sqlite_version + note)


def onnx() -> Finding:
    """What serves models, without importing it."""
    missing = packages.RUNTIME.missing
    if not missing:
        return Finding("ok", "onnxruntime", "can be imported")
    fix = f"{packages.RUNTIME.had}; needed where models are served"
    return Finding("warn", "onnxruntime", f"missing: {', '.join(missing)}", fix)


def proxies() -> Finding:
    """How downloads leave this machine."""
    from reconciler.artifacts.proxy import described

    try:
        said = described()
    except ReconcilerError as error:
        return Finding("fail", "proxies", error.message, error.advice)
    return Finding("ok", "proxies", "; ".join(said) or "none: downloads go straight")


def _followed(state_dir: Path) -> "Settings | ReconcilerError":
    """The settings of a hub that began here now; why there can be none, where that is so."""
    from reconciler.cli.followed import followed

    try:
        return followed(state_dir, repo=None, branch=None, path=None)
    except ReconcilerError as error:
        return error


def repository(settings: "Settings | ReconcilerError") -> Finding:
    """Whether the repository answers that would be followed here. One look, and nothing is fetched."""
    if isinstance(settings, ReconcilerError):
        fix = "`reconciler init fleet` begins one; else set RECONCILER_REPO, or call this in your work tree"
        named = "none is named" if isinstance(settings, UsageError) else f"{settings.code}: {settings.message}"
        return Finding("warn", "repository", named, fix if isinstance(settings, UsageError) else settings.advice)
    from reconciler.sources.local_copy import LocalCopy
    from reconciler.wiring.hub import remote_of

    try:
        with TemporaryDirectory() as place:
            copy = LocalCopy(Path(place), remote_of(settings), settings.branch, LOOK_S)
            head = copy.remote_head()
    except ReconcilerError as error:
        return Finding("fail", "repository", f"{error.code}: {error.message}", error.advice)
    return Finding("ok", "repository", f"{remote_of(settings)}, {settings.branch} is at {head[:12]}")


def listener(state_dir: Path, settings: "Settings | ReconcilerError") -> Finding:
    """Whether the hub can have, or has, the address of its page, metrics and health."""
    given = os.environ.get("RECONCILER_LISTEN") or "127.0.0.1:9484"
    place = given if isinstance(settings, ReconcilerError) else settings.listen
    if place == "off":
        return Finding("ok", "listener", "off")
    host, _, port = place.rpartition(":")
    if _alive(StateDirectory(state_dir).hub):
        return Finding("ok", "listener", f"http://{place}, if the hub that runs was not told otherwise")
    if port != "0" and _listens(host.strip("[]"), int(port)):
        fix = "`reconciler run --listen HOST:PORT` takes another; `ss -ltnp` names who has it"
        return Finding("warn", "listener", f"{place} is taken", fix)
    return Finding("ok", "listener", f"{place} is free")


def cluster() -> Finding:
    """That none is needed; where one can be named."""
    home = os.environ.get("HOME", "")
    named = os.environ.get("KUBECONFIG") or (f"{home}/.kube/config" if home else "")
    files = [Path(one) for one in named.split(os.pathsep) if one]
    there = [str(one) for one in files if one.is_file()]
    said = (
        f"contexts are in {', '.join(there)}"
        if there
        else "no kubeconfig, and none is needed for edges of this machine"
    )
    return Finding(
        "ok", "cluster", f"not looked at: {said}", "`reconciler doctor --context NAME` looks" if there else ""
    )


def directory(state_dir: Path) -> Iterator[Finding]:
    """The state directory: there, ours, closed to others, with room."""
    try:
        found = state_dir.stat()
    except OSError:
        yield Finding(
            "warn",
            "state",
            f"{state_dir} is not there",
            "`reconciler run` or `reconciler agent EDGE` makes it; else name it by --state",
        )
        return
    if found.st_uid != os.getuid():
        yield Finding("fail", "state", f"{state_dir} belongs to user {found.st_uid}", "run as that user, or chown it")
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding("fail", "state", f"others may write to {state_dir}", f"chmod go-w {state_dir}")
    else:
        yield Finding("ok", "state", str(state_dir))
    free = shutil.disk_usage(state_dir).free
    enough = free > 1 << 30
    said = f"{free / (1 << 30):.1f} GiB free"
    yield Finding("ok" if enough else "warn", "disk", said, "" if enough else "free some: artifacts are kept here")


def log(state_dir: Path) -> Iterator[Finding]:
    """The end of the hub's log, and the clock against it."""
    from reconciler.wiring.past import opened

    try:
        with opened(state_dir) as past:
            yield _tail(past)
            now = past.replay.at()
            last = now.time
            yield _standing(now)
    except HubUnreachable:
        yield Finding("warn", "log", "there is none yet", "`reconciler run --repo REPO` begins one")
        return
    except ReconcilerError as error:
        yield Finding("fail", "log", f"{error.code}: {error.message}", error.advice)
        return
    ahead = last > rfc3339(time.time() + AHEAD_S)
    fix = "set the clock (`timedatectl`); order does not depend on it, but ages and expiries do"
    said = f"behind the log's last entry, {last}" if ahead else "not behind the log"
    yield Finding("warn" if ahead else "ok", "clock", said, fix if ahead else "")


def _standing(now: "State") -> Finding:
    """How all of it stands, as `status` says it."""
    from reconciler.history.standing import FAILING
    from reconciler.history.status import status

    seen = status(now, rfc3339(time.time()))
    standing, counts = seen.standing, seen.tally
    found = f"{standing.word}: {standing.why}" if standing.why else f"{sum(counts.values())} {standing.word}"
    verdict: Literal["ok", "warn", "fail"] = "ok" if standing.is_as_git else "fail" if seen.refused else "warn"
    fix = standing.way_out or ("`reconciler status` says which" if standing.word == FAILING else "`reconciler status`")
    return Finding(verdict, "fleet", found, "" if standing.is_as_git else fix)


def _tail(past: "Past") -> Finding:
    from reconciler.history.codec import chain

    end = past.log.head().seq
    begin = max(0, end - TAIL)
    prev, misfit = b"", 0
    for seq, hash_, body in past.log.stored_rows(max(0, begin - 1)):
        if prev and chain(prev, body) != hash_ and not misfit:
            misfit = seq
        prev = hash_
    if misfit:
        return Finding(
            "fail", "log", f"entry {misfit} does not fit the chain", "`reconciler log verify`, then a backup"
        )
    return Finding("ok", "log", f"{end} entries; the last {end - begin} fit the chain (`log verify` reads all)")


def processes(state_dir: Path) -> Iterator[Finding]:
    """The hub, the agents, and who listens where models are to be served."""
    place = StateDirectory(state_dir)
    hub = _alive(place.hub)
    fix = "" if hub else "start it with `reconciler run --repo REPO`"
    yield Finding("ok" if hub else "warn", "hub", f"process {hub}" if hub else "is not running", fix)
    from reconciler.wiring.past import opened

    try:
        with opened(state_dir) as past:
            now = past.replay.at()
    except ReconcilerError:  # `log` says which
        yield from agents(state_dir)
        return
    yield from agents(state_dir, _kept(now))
    yield from _ports(state_dir, now)


def agents(state_dir: Path, kept: Collection[str] | None = None) -> Iterator[Finding]:
    """The agents of this machine. kept: the edges that have anything, or are to have it; None where nobody knows."""
    place, left = StateDirectory(state_dir), []
    for home in sorted((state_dir / "edges").glob("*/log.db"), key=lambda log: natural(log.parent.name)):
        edge = home.parent.name
        pid = _alive(place.edge(edge))
        if not pid and kept is not None and edge not in kept:
            left.append(edge)
            continue
        fix = "" if pid else f"the hub starts it; else `reconciler agent {edge}`; see {place.edge(edge).output}"
        found = f"process {pid}" if pid else "is not running"
        yield Finding("ok" if pid else "warn", f"agent {edge}", found, fix, edge)
    if left:
        fix = f"of edges that left Git, the directories below {state_dir / 'edges'} may be removed"
        yield Finding("ok", "former edges", f"{named_of(left)}: nothing there, and nothing to come", fix)


def _alive(home: Home) -> int:
    """The pid of the process that answers there; 0 when none does."""
    try:
        return int(control_socket.call(home.control, {"verb": "status"}).get("pid", 0))
    except ReconcilerError:
        return 0


def _ports(state_dir: Path, now: "State") -> Iterator[Finding]:
    for (address, port), edge in sorted(_served(now).items(), key=lambda one: natural(one[1])):
        home = StateDirectory(state_dir).edge(edge)
        answers, agent = _listens(address, port), _alive(home)
        name, where = f"port {edge}", f"{address}:{port}"
        if answers and (other := _stranger(home, address, port)):
            fix = "stop it (`ss -ltnp`), or choose another servingPort"
            yield Finding("warn", name, f"{where}: {other}", fix, edge)
        elif answers and not agent:
            fix = "the next agent adopts it: start the hub; or stop it (`ss -ltnp`)"
            yield Finding("warn", name, f"{where} is served by a runtime that outlived its agent", fix, edge)
        elif agent and not answers:
            fix = f"`reconciler status`; `reconciler why {edge} MODEL`"
            yield Finding("warn", name, f"nothing listens at {where}", fix, edge)
        else:
            yield Finding("ok", name, f"{where} {'answers' if answers else 'is free'}", edge=edge)


def _stranger(home: Home, address: str, port: int) -> str:
    """Who listens there that is no runtime of this edge, in words; "" where one of its runtimes does."""
    from reconciler.serving import holder, process

    ours = [found for receipt in home.services.rglob(process.RECEIPT) if (found := process.find(receipt.parent))]
    pids = {one.pid for one in ours if (one.spec.address, one.spec.port) == (address, port)}
    for one in ours:
        one.close()
    pid = holder.pid_of(address, port)
    is_ours = pid in pids if pid is not None else bool(pids)  # who listens is not for everybody to see
    return "" if is_ours else holder.listener(address, port)


def _kept(now: "State") -> set[str]:
    from reconciler.history.keys import DELIVER, Key

    stage = now.stage(DELIVER)
    return {Key.parse(text).edge for text in (*stage.keys, *stage.waits)}


def _served(now: "State") -> dict[tuple[str, int], str]:
    from reconciler.history.keys import DELIVER, Key

    orders = ((Key.parse(text).edge, served.order) for text, served in now.stage(DELIVER).keys.items())
    return {(order["address"], int(order["port"])): edge for edge, order in orders if order.get("serving")}


def _listens(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as line:
        line.settimeout(1.0)
        return line.connect_ex((address, port)) == 0
