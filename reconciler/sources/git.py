"""Git commands, run with a deadline, in a clean environment, through GitPython. Imports errors and git_safety.

In: an argument list.  Out: bytes; a failure is a GitUnavailable with Git's own words, redacted. Nothing else here or in
another room starts Git. A command is the leader of its own session, so that a deadline ends its children too.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from reconciler.errors import GitUnavailable
from reconciler.sources.git_safety import Remote, environment, redacted

if TYPE_CHECKING:
    from git.cmd import Git as GitCommand

READ_DEADLINE_S: Final = 60.0
WORDS_KEPT: Final = 600
# Which certificates this machine trusts: the operator's, and no way to another repository.
_KEPT: Final = ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH")
_CONFIGURED: Final = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")


class GitAnswer(NamedTuple):
    """What a command left: its exit status, its output, and its words, redacted."""

    status: int
    output: bytes
    words: str


def deadline_passed(problem: GitUnavailable) -> bool:
    """Whether the command did not end in time (it and its children were killed), rather than fail."""
    return isinstance(problem.__cause__, subprocess.TimeoutExpired)


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """Git as this product runs it, about one remote. Commands start in `directory`, which must exist.

    git_dir: the repository to work on; None lets Git find the one at `directory` itself, never above it.
    global_config, extra: see git_safety.environment.
    """

    directory: Path
    remote: Remote
    git_dir: Path | None = None
    global_config: str = os.devnull
    extra: tuple[tuple[str, str], ...] = ()

    def run(self, *words: str, stdin: bytes = b"", deadline_s: float = READ_DEADLINE_S) -> bytes:
        """What the command printed. Raises GitUnavailable when it fails or takes too long."""
        answer = self.ask(*words, stdin=stdin, deadline_s=deadline_s)
        if answer.status:
            raise GitUnavailable(f"git {words[0]} of {self.remote}: {answer.words or f'exit {answer.status}'}")
        return answer.output

    def ask(
        self,
        *words: str,
        stdin: bytes = b"",
        deadline_s: float = READ_DEADLINE_S,
        authenticated: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> GitAnswer:
        """The command's answer, whatever its exit status. authenticated: give it the token."""
        token = self.remote.credentials.token() if authenticated and self.remote.transport == "https" else ""
        variables = {**self._environment(token), **(variables or {})}
        try:
            status, output, words_said = _execute(self.directory, words, stdin, variables, deadline_s)
        except subprocess.TimeoutExpired as problem:
            # The chained cause would show the command line only; the environment is never part of it.
            raise GitUnavailable(f"git {words[0]} of {self.remote} took longer than {deadline_s:g} s") from problem
        except OSError as problem:
            raise GitUnavailable(f"git could not be started: {problem.strerror}", hint="install git 2.36+") from problem
        said = redacted(words_said.decode("utf-8", "replace"), self.remote, token)
        return GitAnswer(status, output, said[-WORDS_KEPT:])

    def _environment(self, token: str) -> dict[str, str]:
        place = {"GIT_CEILING_DIRECTORIES": str(self.directory.parent)}
        if self.git_dir is not None:
            place["GIT_DIR"] = str(self.git_dir)
        if not self.global_config:  # the user's own counts: so does where it stands
            place |= {name: os.environ[name] for name in _CONFIGURED if name in os.environ}
        return environment(self.remote, token, self.global_config, self.extra) | place


def _execute(
    directory: Path, words: tuple[str, ...], stdin: bytes, variables: Mapping[str, str], deadline_s: float
) -> tuple[int, bytes, bytes]:
    """Exit status, output and error output. Raises subprocess.TimeoutExpired, OSError."""
    try:
        from git.cmd import Git as GitCommand
        from git.exc import GitCommandNotFound
    except ModuleNotFoundError:
        raise  # GitPython itself is missing
    except ImportError as problem:  # importing it runs git
        raise FileNotFoundError(2, "git is not installed") from problem
    # Inherited GIT_ variables (a hub started from a hook has GIT_DIR) would lead somewhere else: take them away.
    inherited = [name for name in os.environ if name.startswith("GIT_") and name not in {*variables, *_KEPT}]
    command = ["env", *(f"--unset={name}" for name in inherited)] if inherited else []
    # -C, because GitPython starts a command in the process's own directory when the one it was given is not there.
    command += [GitCommand.GIT_PYTHON_GIT_EXECUTABLE or "git", "-C", str(directory), "--no-pager", *words]
    try:
        process = GitCommand(directory).execute(
            command, istream=subprocess.PIPE, as_process=True, env=variables, start_new_session=True
        )
    except GitCommandNotFound as problem:
        raise FileNotFoundError(2, "git is not installed") from problem
    try:
        output, errors = process.communicate(stdin, timeout=deadline_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise
    return process.returncode, output, errors


def _kill(process: "GitCommand.AutoInterrupt") -> None:
    """End the command's whole session. Its pipes are not read to their end: a process that left it may hold them."""
    leader = process.proc
    assert leader is not None
    os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()
    for stream in (leader.stdin, leader.stdout, leader.stderr):
        if stream is not None:
            with suppress(OSError):  # what was still to be written has nowhere to go
                stream.close()
