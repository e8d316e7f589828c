"""One program of the control plane: started so that it cannot outlive the test run, ended by its process id.

Each is started through a few lines of Python that ask the kernel for SIGKILL when the starting process is gone
(prctl PR_SET_PDEATHSIG, Linux), then become the program. It works also when the test run gets SIGKILL itself, needs no
second process to watch, and ends stopped programs too. The kernel counts the starting *thread*, hence `_main_thread`.

In: a command line.  Out: a process, its log, and its end.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_LAUNCH: Final = """
import ctypes, os, sys
parent, program = int(sys.argv[1]), sys.argv[2]
if hasattr(ctypes.CDLL(None), "prctl"):
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != parent:
    sys.exit("the process that started this one has ended")
os.execv(program, sys.argv[2:])
"""
_TAIL: Final = 40  # lines


class CannotStart(Exception):
    """A program ended early or never answered; the end of its log is part of the message."""


class Program:
    """A started program. directory: where its log goes, and its HOME."""

    def __init__(self, program: Path, arguments: list[str], directory: Path) -> None:
        self.name = program.name
        self.log = directory / f"{program.name}.log"
        _main_thread()
        # Nothing of a person's own configuration: etcd reads ETCD_*, clients KUBECONFIG, all of them proxies.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory)}
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                mortal(program, *arguments),
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is the test run's; what it started is ended in order
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
        """Raises CannotStart when the program ends or the time is over before it is ready."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise CannotStart(f"{self.name} ended with {self._child.returncode}; its log ends:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise CannotStart(f"{self.name} was not ready in {timeout_s:.0f} s; its log ends:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL:])

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers. Returns when it has stopped."""
        self._child.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 10.0
        stat = Path(f"/proc/{self.pid}/stat")
        while stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] not in "TtZ":
            if time.monotonic() > deadline:
                raise CannotStart(f"{self.name} did not stop")
            time.sleep(0.001)

    def resume(self) -> None:
        self._child.send_signal(signal.SIGCONT)

    def stop(self, *, graceful_s: float = 0.0) -> None:
        """SIGTERM and up to graceful_s seconds, then SIGKILL; returns when it is gone."""
        if not self.running:
            return
        if graceful_s:
            self._child.send_signal(signal.SIGCONT)
            self._child.terminate()
            try:
                self._child.wait(graceful_s)
            except subprocess.TimeoutExpired:
                pass
            else:
                return
        self._child.kill()
        self._child.wait()


def mortal(program: Path, *arguments: str) -> list[str]:
    """The command line that ends when the thread which starts it does, however that ends."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), str(program), *arguments]


def _main_thread() -> None:
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("start the control plane's programs in the main thread: they die with the thread")
