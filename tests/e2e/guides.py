"""A guide as its reader follows it: its Python blocks become files, its console blocks are typed, in order.

In: a page in Markdown.  Out: every command ended well and printed the lines shown under it, or AssertionError.
A block ```python begins with `# NAME.py`.  A line `$ COMMAND` is typed (tests.documentation); the lines below it are
what it has to print, where … stands for anything.  `reconciler run` is left running, as in a terminal of its own.
Ports are free ones of this test in place of those that the page has.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.documentation import Command, commands
from tests.e2e.fleet import end_all, free_port
from tests.git_repository import IDENTITY

PATIENCE_S: Final = 300.0
URL: Final = re.compile(r"(http://127\.0\.0\.\d):\d+(/v2/models/)([\w.-]+)")


def is_said(shown: str, output: str) -> bool:
    """Whether a line of the output is the one shown, where … stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("…"))
    return any(re.fullmatch(pattern, line.strip()) for line in output.splitlines())


class Reader:
    """Somebody who follows a page in a directory of their own. `close` ends what they left running."""

    def __init__(self, home: Path) -> None:
        self.place = home / "work"
        self.place.mkdir()
        self.state = home / "state"
        self._run: subprocess.Popen[bytes] | None = None
        self._log = home / "run.log"
        self._moved_to = home / "place"
        self._ports: set[int] = set()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        mine = {"PATH": path, "RECONCILER_STATE": str(self.state), "RECONCILER_LISTEN": "off", "LANG": "C.UTF-8"}
        self.environment = {**os.environ, **IDENTITY, **mine}

    def follow(self, page: str) -> list[str]:
        """Do what the page says. What each command printed."""
        for text in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
            name = re.match(r"# (\w+\.py)\n", text)
            assert name, f"a python block begins with its file's name: {text[:60]!r}"
            (self.place / name[1]).write_text(text)
        return [self._type(command) for command in commands(page)]

    def _type(self, command: Command) -> str:
        text = URL.sub(self._with_port, command.text)
        if re.match(r"reconciler run\b", text):
            with self._log.open("wb") as log:
                words = ["bash", "-c", f"exec {text}"]
                self._run = subprocess.Popen(words, cwd=self.place, env=self.environment, stdout=log, stderr=log)
            return ""
        script = f'set -o pipefail\n{text}\ncode=$?\npwd > "$PLACE"\nexit $code'
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.place,
            env={**self.environment, "PLACE": str(self._moved_to)},
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
        )
        told = f"$ {text}\n{done.stdout}\n--- run\n{self._log.read_text() if self._log.exists() else ''}"
        assert done.returncode == command.code, f"exit {done.returncode}\n{told}"
        missing = [line for line in command.shown.splitlines() if not is_said(line, done.stdout)]
        assert not missing, f"the page shows {missing}\n{told}"
        self.place = Path(self._moved_to.read_text().rstrip("\n"))
        if text.startswith(("reconciler init", "reconciler package")):
            self._take_free_ports(is_committed=text.startswith("reconciler init"))
        return done.stdout

    def _take_free_ports(self, *, is_committed: bool) -> None:
        """Serve what was just declared on ports of this test, so that no two tests meet."""
        fleet = next(place for place in (self.place, *self.place.iterdir()) if (place / "deployments").is_dir())
        for path in (fleet / "deployments").glob("*.yaml"):
            text = path.read_text()
            said = re.search(r"servingPort: (\d+)", text)
            if said and int(said[1]) not in self._ports:
                port = free_port()
                self._ports.add(port)
                path.write_text(text.replace(said[0], f"servingPort: {port}"))
        if is_committed:
            words = ["git", "commit", "-qam", "Ports of this test"]
            subprocess.run(words, cwd=fleet, env=self.environment, check=True)

    def _with_port(self, url: re.Match[str]) -> str:
        """The URL of a page with the port that the model is declared on."""
        said = re.search(r"servingPort: (\d+)", (self.place / "deployments" / f"{url[3]}.yaml").read_text())
        assert said
        return f"{url[1]}:{said[1]}{url[2]}{url[3]}"

    def close(self) -> None:
        """End everything, by id."""
        if self._run is not None and self._run.poll() is None:
            self._run.send_signal(signal.SIGINT)
            self._run.wait(PATIENCE_S)
        end_all(self.state)
