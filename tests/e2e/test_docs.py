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
ELSEWHERE = ROOT / "docs" / "guides"  # what these say is typed by tests of their own, which have the libraries
PAGES = [
    TUTORIAL,
    *sorted(
        page
        for page in ROOT.glob("docs/**/*.md")
        if ELSEWHERE not in page.parents and any(not one.why_not for one in commands(page.read_text()))
    ),
]
TOLD = re.compile(r"\bRX\d{3}\b|\b(?:Rejected|RolledBack|Waiting|Degraded|Unknown|Drifted)\b")
PATIENCE_S = 240.0
# What the pages take from a machine that tests do not have: a unit of systemd, and somebody who may do everything.
SYSTEMCTL = """\
#!/bin/bash
case $1 in
start) nohup reconciler run --repo "$HOME/my-fleet" > "$HOME/hub.log" 2>&1 < /dev/null & echo $! > "$HOME/hub.pid" ;;
stop) kill "$(cat "$HOME/hub.pid")"; while kill -0 "$(cat "$HOME/hub.pid")" 2> /dev/null; do sleep 0.1; done ;;
esac
"""


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
    """A person's machine: a home, a shell, a repository of their own, and a hub that keeps it."""

    def __init__(self, home: Path) -> None:
        self.home, self.fleet, self.state = home, home / "my-fleet", home / "state"
        listen, first = f"127.0.0.1:{free_port()}", free_port()
        second = next(port for port in iter(free_port, 0) if port != first)
        # What a page says -> what it is here: ports that are free, and directories that are ours.
        self._here = {
            "127.0.0.1:9484": listen,
            ":8080": f":{first}",
            ":8081": f":{second}",
            "--deploy site=demo": f"--deploy site=demo --port {second}",
            "/var/lib/reconciler": str(self.state),
            "/backup": str(home / "backup"),
        }
        programs = home / "bin"
        programs.mkdir(parents=True)
        for name, text in {
            "reconciler": f'#!/bin/sh\nexec {sys.executable} -W error -m reconciler "$@"\n',
            "systemctl": SYSTEMCTL,
            "sudo": '#!/bin/sh\nexec "$@"\n',
        }.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "RECONCILER_"))},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "RECONCILER_STATE": str(self.state),
            "RECONCILER_LISTEN": listen,
            "GIT_AUTHOR_NAME": "You",
            "GIT_AUTHOR_EMAIL": "you@example.com",
            "GIT_COMMITTER_NAME": "You",
            "GIT_COMMITTER_EMAIL": "you@example.com",
        }

    def type(self, lines: list[Command], where: Path) -> list[Typed]:
        """The commands in one shell, one after the other, until one ends with a code that it should not have."""
        script = "".join(
            f"{self.here(one.text)}\ncode=$?; printf '\\n=%s=\\n' $code; [ $code = {one.code} ] || exit 0\n"
            for one in lines
        )
        (self.home / "script.sh").write_text(script)
        with (self.home / "typed.log").open("w+") as output:
            try:
                subprocess.run(
                    ["bash", str(self.home / "script.sh")],
                    cwd=where,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    check=False,
                    timeout=PATIENCE_S,
                )
            except subprocess.TimeoutExpired:
                output.write(f"\n=124=\nnot done after {PATIENCE_S} s")
            output.seek(0)
            *parts, rest = re.split(r"\n=(\d+)=\n", output.read())
        said = zip(parts[::2], parts[1::2], strict=True)
        typed = [Typed(one, int(code), text) for one, (text, code) in zip(lines, said, strict=False)]
        assert typed, rest
        return typed

    def here(self, text: str) -> str:
        """With what this machine has in place of what a page says."""
        for said, there in self._here.items():
            text = text.replace(said, there)
        return text

    def do(self, *lines: str) -> None:
        """Commands that have to work."""
        wrong = [typed.wrong for typed in self.type([Command(line) for line in lines], self.home) if typed.wrong]
        assert not wrong, "\n".join(wrong)

    def begin(self) -> None:
        """The tutorial's first command, and a hub that has done all that it says."""
        first, *_ = commands(TUTORIAL.read_text())
        port = self.here(":8080")[1:]
        self.do(
            first.text,
            f"sed -i 's/servingPort: 8080/servingPort: {port}/' deployments/digits.yaml",
            "git commit -qam 'Another port'",
            "tar xzf artifacts/digits-2.tar.gz -C .. model.onnx",  # a model of one's own
            "systemctl start reconciler",
            "reconciler wait --timeout 60",
        )

    def as_before(self, commit: str) -> None:
        """The repository as it was at a commit, by another one, and the fleet with it."""
        git = ["git", "-C", str(self.fleet)]
        if not subprocess.check_output([*git, "status", "--short"]) + subprocess.check_output(
            [*git, "log", f"{commit}.."]
        ):
            return
        self.do(
            f"cd {self.fleet}",
            f"git rm -rq . && git checkout -q {commit} -- .",
            "git diff --cached --quiet || git commit -qm 'As before'",
            "reconciler wait --commit HEAD --timeout 60",
        )

    def close(self) -> None:
        """End the hub in an orderly way, with its agents and their runtimes, then by id whatever is left."""
        subprocess.run(["systemctl", "stop"], env=self.environment, check=False, timeout=60, capture_output=True)
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if str(self.home).encode() in (entry / "environ").read_bytes():
                        os.kill(int(entry.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which the tutorial was begun."""
    made = Machine(tmp_path_factory.mktemp("home"))
    try:
        made.begin()
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_to_type_does_what_it_says(machine: Machine, page: Path) -> None:
    before = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=machine.fleet, text=True).strip()
    lines = [one for one in commands(page.read_text()) if not one.why_not]
    if page == TUTORIAL:
        assert [one.text.split()[1] for one in lines[:2]] == ["init", "run"]
        lines = lines[2:]  # which were done: `begin`
    try:
        wrong = [typed.wrong for typed in machine.type(lines, machine.fleet) if typed.wrong]
        assert not wrong, "\n".join(wrong)
    finally:
        machine.as_before(before)
