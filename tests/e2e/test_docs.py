"""docs/ is true: its console blocks are typed, in order, where one real hub keeps a fleet made by `reconciler init`."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.documentation import ROOT, Command, commands
from tests.e2e.fleet import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TUTORIAL = ROOT / "repo-template" / "README.md"
PAGES = sorted(page for page in ROOT.glob("docs/**/*.md") if any(not one.why_not for one in commands(page.read_text())))
TOLD = re.compile(r"\bRX\d{3}\b|\b(?:Rejected|RolledBack|Waiting|Degraded|Unknown|Drifted)\b")
PATIENCE_S = 240.0


@dataclass(frozen=True)
class Typed:
    """What came of one command."""

    command: Command
    code: int
    output: str

    @property
    def wrong(self) -> str:
        """What the page says of it that is not so; "" where all is."""
        told = set(TOLD.findall(self.command.shown)) - set(TOLD.findall(self.output))
        if self.code == self.command.code and not told:
            return ""
        missing = f", nothing of {', '.join(sorted(told))}" if told else ""
        return f"$ {self.command.text}\nexit code {self.code} for {self.command.code}{missing}\n{self.output[-3000:]}"


class Machine:
    """A person's machine: a home, a terminal, and a hub that runs in another one."""

    def __init__(self, home: Path) -> None:
        self.home, self.port, self.listen = home, free_port(), free_port()
        programs = home / "bin"
        programs.mkdir(parents=True)
        (programs / "reconciler").write_text(f'#!/bin/sh\nexec {sys.executable} -W error -m reconciler "$@"\n')
        (programs / "reconciler").chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "RECONCILER_"))},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / ".local" / "state"),
            "PYTHONPATH": str(ROOT),
            "RECONCILER_LISTEN": f"127.0.0.1:{self.listen}",
            "GIT_AUTHOR_NAME": "You",
            "GIT_AUTHOR_EMAIL": "you@example.com",
            "GIT_COMMITTER_NAME": "You",
            "GIT_COMMITTER_EMAIL": "you@example.com",
        }
        self.fleet = home / "my-fleet"
        self.hub: subprocess.Popen[bytes] | None = None

    def type(self, lines: list[Command], where: Path) -> list[Typed]:
        """The commands in one shell, one after the other."""
        script = "".join(f"{self._here(one.text)}\nprintf '\\n=%s=%s=\\n' {n} $?\n" for n, one in enumerate(lines))
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=where,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        parts = re.split(r"\n=(\d+)=(\d+)=\n", done.stdout)
        assert len(parts) == 3 * len(lines) + 1, done.stdout
        return [Typed(one, int(parts[3 * n + 2]), parts[3 * n]) for n, one in enumerate(lines)]

    def _here(self, text: str) -> str:
        """With the ports that are free on this machine in place of those that everybody has."""
        return text.replace("127.0.0.1:9484", f"127.0.0.1:{self.listen}").replace(":8080", f":{self.port}")

    def pids(self) -> Iterator[int]:
        """Every living process of ours that works below this home."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if str(self.home).encode() in (entry / "environ").read_bytes():
                        yield int(entry.name)

    def close(self) -> None:
        """End the hub in an orderly way, with its agents and their runtimes, then by id whatever is left."""
        if self.hub is not None:
            self.hub.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.hub.wait(30)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.hub is not None:
            self.hub.wait(30)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which the tutorial was begun: a repository of one's own, and a hub that keeps it."""
    made = Machine(tmp_path_factory.mktemp("home"))
    try:
        start, *_ = commands(TUTORIAL.read_text())
        (typed,) = made.type([start], made.home)
        assert typed.wrong == ""
        for path in made.fleet.rglob("*.yaml"):
            path.write_text(path.read_text().replace("servingPort: 8080", f"servingPort: {made.port}"))
        subprocess.run(["git", "commit", "-qam", "Another port"], cwd=made.fleet, env=made.environment, check=True)
        with (made.home / "hub.log").open("wb") as log:
            made.hub = subprocess.Popen(
                ["reconciler", "run", "--repo", str(made.fleet)],
                env=made.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        (settled,) = made.type([Command("reconciler wait --timeout 60")], made.fleet)
        assert settled.wrong == "", (made.home / "hub.log").read_text()
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_to_type_does_what_it_says(machine: Machine, page: Path) -> None:
    lines = [one for one in commands(page.read_text()) if not one.why_not]
    typed = machine.type(lines, machine.fleet)
    assert "\n".join(one.wrong for one in typed if one.wrong) == ""
    (settled,) = machine.type([Command("reconciler wait --timeout 60")], machine.fleet)
    assert settled.wrong == "", "the page leaves the fleet as it found it"
