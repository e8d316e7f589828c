"""The agent's handle on a runtime process. May import: control, ports, errors, endpoint; never the model libraries.

In: a RuntimeSpec.  Out: a process that outlives this one, found again by DIR/runtime.json; what it serves, as it says
itself. A process is known by its pid and start time, and held by a pidfd, so that a reused pid is never signalled.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import reconciler
from reconciler import control_socket, packages
from reconciler.errors import HubUnreachable, PortTaken, RuntimeUnavailable, WorldRefused, WorldUnavailable
from reconciler.ports import Answer
from reconciler.serving import endpoint, holder

CONTROL: Final = "control.sock"
RECEIPT: Final = "runtime.json"
LOG: Final = "runtime.log"
START_S: Final = 60.0  # until a new process must answer
LOAD_S: Final = 600.0  # until a model must be loaded and probed
ANSWER_S: Final = 5.0
STOP_S: Final = 30.0  # for answers in flight, before the process is killed
LOOK_S: Final = 0.02  # between two looks at a process that starts; its death is noticed at once
TAIL: Final = 2000  # bytes of the log that an error quotes
FAULTS: Final = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS})


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """One service: the name of its model in URLs, where it listens, and the directory that is this process's own."""

    model: str
    address: str
    port: int
    directory: Path

    @property
    def url(self) -> str:
        """Where clients ask it."""
        return endpoint.model_url(self.address, self.port, self.model)


class End(NamedTuple):
    """How a process ended. at_fault: by its own doing; not by somebody's signal (the OOM killer, a person), after which
    SIGTERM leaves code 0, nor where it cannot be known: an adopted process is not our child.
    """

    how: str = "ended"
    at_fault: bool = False


class RuntimeProcess:
    """A running runtime: `ports.Runtime`, and a file descriptor that becomes readable when the process ends."""

    def __init__(self, spec: RuntimeSpec, pid: int, pidfd: int) -> None:
        self.spec = spec
        self.pid = pid
        self.end = End()  # once it has `exited`
        self._pidfd = pidfd

    def fileno(self) -> int:
        """A pidfd, for `select`: readable once the process has ended."""
        return self._pidfd

    def exited(self, wait_s: float = 0.0) -> bool:
        """Whether the process has ended, waiting up to `wait_s` for it; true of a handle that was let go."""
        if self._pidfd < 0:
            return True
        watch = select.poll()
        watch.register(self._pidfd, select.POLLIN)
        if not watch.poll(wait_s * 1000):
            return False
        with contextlib.suppress(OSError):  # not our child: adopted, or reaped by another thread
            end = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
            if end is not None and end.si_code == os.CLD_EXITED:
                self.end = End(f"ended with code {end.si_status}", at_fault=end.si_status != 0)
            elif end is not None:
                self.end = End(f"was ended by signal {end.si_status}", at_fault=end.si_status in FAULTS)
        return True

    def last_words(self) -> str:
        """The end of what the process wrote to runtime.log."""
        with contextlib.suppress(OSError):
            return (self.spec.directory / LOG).read_bytes()[-TAIL:].decode(errors="replace").strip()
        return ""

    def answer(self) -> Answer:
        """What it serves now, asked through its public endpoint. Raises RuntimeUnavailable."""
        try:
            said = endpoint.metadata(self.spec.url, ANSWER_S)
            versions, digest = said["versions"], said["parameters"]["digest"]
            unproven = said["parameters"].get("unproven", "")
        except (WorldRefused, LookupError, TypeError) as error:  # something else listens there
            raise RuntimeUnavailable(f"{self.spec.url} is not served by our runtime: {error}") from error
        return Answer(self.spec.model, versions[0] if versions else "", digest, ready=bool(versions), unproven=unproven)

    def status(self) -> dict[str, Any]:
        """Which versions it holds (`serving`, `standby`, `previous`; empty: none) and its `pid`, by its own socket."""
        return self._call({"verb": "status"}, ANSWER_S)

    def load(self, path: Path, version: str, *, allow_signature_change: bool = False) -> Answer:
        """As `ports.Runtime.load`; allow_signature_change: other inputs than the version in service are accepted."""
        request = {"verb": "load", "path": str(path.resolve()), "version": version}
        return self._answered(request | {"allowSignatureChange": allow_signature_change})

    def activate(self) -> Answer:
        """As `ports.Runtime.activate`. Raises ProbeFailed: what served before serves again."""
        return self._answered({"verb": "activate"})

    def revert(self) -> Answer:
        """As `ports.Runtime.revert`; nothing happens when there is nothing to undo."""
        return self._answered({"verb": "revert"})

    def settle(self) -> None:
        """As `ports.Runtime.settle`."""
        self._answered({"verb": "settle"})

    def stop(self) -> None:
        """End the process: answers in flight first, by force after STOP_S. Idempotent."""
        if self._pidfd < 0:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, sign)
            if self.exited(STOP_S):
                break
        self.close()

    def close(self) -> None:
        """Let go of the process without ending it. Idempotent."""
        if self._pidfd >= 0:
            self.exited()  # a child that has ended is reaped, else it stays a zombie as long as the agent lives
            os.close(self._pidfd)
            self._pidfd = -1

    def _answered(self, request: dict[str, Any]) -> Answer:
        return Answer(**self._call(request, LOAD_S))

    def _call(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        try:
            return control_socket.call(self.spec.directory / CONTROL, request, timeout_s)
        except (HubUnreachable, WorldUnavailable) as error:
            if isinstance(error, RuntimeUnavailable):  # its own word
                raise
            raise RuntimeUnavailable(f"the runtime of {self.spec.model} gave no answer: {error.message}") from error


def start(spec: RuntimeSpec, deadline_s: float = START_S, *, patience_s: float = 0.0) -> RuntimeProcess:
    """A new process that answers on its port and serves nothing yet. An earlier one of this directory is stopped.

    patience_s: how long it is waited for the port.
    Raises PortTaken, and RuntimeUnavailable: with the end of runtime.log when it ends or does not answer in time, with
    the packages where they are missing.
    """
    if missing := packages.RUNTIME.missing:
        what = f"models cannot be served here without {', '.join(missing)}"
        raise RuntimeUnavailable(what, hint=packages.RUNTIME.had)
    spec.directory.mkdir(parents=True, exist_ok=True)
    before = find(spec.directory)
    if before is not None:
        before.stop()
    _await_free(spec, time.monotonic() + patience_s)
    process = _spawned(spec)
    try:
        _await_answer(process, time.monotonic() + deadline_s)
    except BaseException:
        process.stop()
        raise
    return process


def end_orphan(spec: RuntimeSpec, ours: Path) -> None:
    """End the runtime that listens where `spec` is to, when it is one of ours that `find` finds no more.

    ours: the directory below which our runtimes have theirs. One whose directory was deleted under it, or that runs by
    another receipt in the directory of `spec`, is an orphan; what serves another service is not.
    """
    pid = holder.pid_of(spec.address, spec.port)
    if pid is None:
        return
    try:
        pidfd = os.pidfd_open(pid)  # what is read below is of the process that is held
    except OSError:
        return
    directory = holder.runtime_directory(pid)
    process = RuntimeProcess(spec, pid, pidfd)
    if (
        directory is not None
        and directory.is_relative_to(ours)
        and (directory == spec.directory.resolve() or _is_left(pid))
    ):
        process.stop()
    process.close()


def _works_in(pid: int, directory: Path) -> bool:
    """Whether a process has this very directory as its own, moved or not. Source: proc_pid_cwd(5)."""
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/cwd"), directory.stat())  # noqa: PTH116  # not what it points to
    except OSError:
        return False


def _is_left(pid: int) -> bool:
    """Whether the directory in which the process works was deleted. Source: proc_pid_cwd(5)."""
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink()).endswith(" (deleted)")
    except OSError:
        return False


def adopt(spec: RuntimeSpec) -> RuntimeProcess | None:
    """The living process of an earlier agent that runs by exactly this spec; None: `start` one."""
    process = find(spec.directory)
    if process is None or process.spec == spec:
        return process
    process.close()
    return None


def find(directory: Path) -> RuntimeProcess | None:
    """The living process of this directory, whatever its terms; what a copied receipt names works in another one."""
    try:
        receipt = json.loads((directory / RECEIPT).read_bytes())
        spec = RuntimeSpec(receipt["model"], receipt["address"], receipt["port"], directory)
        pidfd = os.pidfd_open(receipt["pid"])
    except (OSError, ValueError, KeyError, TypeError):  # none, torn, or gone
        return None
    process = RuntimeProcess(spec, receipt["pid"], pidfd)
    pid = receipt["pid"]  # which the pidfd keeps while it is compared
    if process.exited() or receipt.get("born") != born(pid) or not _works_in(pid, directory):
        process.close()
        return None
    return process


def born(pid: int) -> str:
    """When this process began: boot id and clock ticks since boot. Empty when it is gone. Source: proc(5)."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {ticks}"
    except OSError:
        return ""


def write_receipt(spec: RuntimeSpec) -> None:
    """Leave DIR/runtime.json for the next agent, whole or not at all. Called by the runtime once it listens."""
    terms = {"model": spec.model, "address": spec.address, "port": spec.port}
    receipt = {"pid": os.getpid(), "born": born(os.getpid())} | terms
    draft = spec.directory / f"{RECEIPT}.tmp"
    draft.write_text(json.dumps(receipt))
    draft.replace(spec.directory / RECEIPT)


def environment() -> dict[str, str]:
    """The variables of a Python process of ours, which finds this very package: -P keeps the current directory out."""
    ours = str(Path(reconciler.__file__).parent.parent)
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [ours, os.environ.get("PYTHONPATH")]))}


def _spawned(spec: RuntimeSpec) -> RuntimeProcess:
    options = {"directory": spec.directory, "model": spec.model, "address": spec.address, "port": spec.port}
    arguments = [sys.executable, "-P", "-m", holder.SERVER]
    arguments += [f"--{name}={value}" for name, value in options.items()]
    log = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    pid = os.posix_spawn(
        sys.executable,
        arguments,
        environment(),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(spec.directory / LOG), log, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return RuntimeProcess(spec, pid, os.pidfd_open(pid))


def _await_free(spec: RuntimeSpec, until: float) -> None:
    while True:
        try:
            return holder.check_free(spec.address, spec.port)
        except PortTaken:
            if time.monotonic() >= until:
                raise
        time.sleep(LOOK_S)


def _await_answer(process: RuntimeProcess, until: float) -> None:
    while time.monotonic() < until:
        if process.exited(LOOK_S):
            raise RuntimeUnavailable(f"the runtime of {process.spec.model} ended at its start: {process.last_words()}")
        with contextlib.suppress(RuntimeUnavailable):
            process.status()  # its own socket first: the port may be somebody else's
            process.answer()
            return
    raise RuntimeUnavailable(f"the runtime of {process.spec.model} did not answer in time: {process.last_words()}")
