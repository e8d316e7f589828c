"""What may be given to Git at all: remotes, branch names, paths, and the environment of every command. Pure.

Imports errors and diagnostics; never runs Git.  In: the operator's settings.  Out: a `Remote` and its environment.
Everything that could make Git run a program, read another file or show a secret is refused or switched off here.
"""

import base64
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

from reconciler.diagnostics import printable
from reconciler.errors import GitRefused, GitUnavailable

Transport = Literal["https", "ssh", "file"]

_SCP: Final = re.compile(r"[A-Za-z0-9_.][\w.-]*@([A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:]+\]):[^:-].*")
_SCHEME: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+")
# git-check-ref-format(1), rules 3 to 10.
_BAD_REF: Final = re.compile(r"\.\.|[\x00-\x20\x7f~^:?*\[\\]|@\{|//|/\.|\.lock(/|$)|^[./-]|[./]$|^@$|^$|^HEAD$")

# Faults of objects that long gone tools wrote. What such a line says is shown, clamped, and never believed.
# What makes a tree ambiguous or an object incomplete stays an error, as do faults of .gitmodules and .gitattributes.
_HARMLESS: Final = (
    *("badDate", "badDateOverflow", "badEmail", "badName", "badTimezone", "zeroPaddedDate", "multipleAuthors"),
    *("missingEmail", "missingNameBeforeEmail", "missingSpaceBeforeDate", "missingSpaceBeforeEmail"),
    *("missingAuthor", "missingCommitter", "nulInCommit", "badTagName", "missingTaggerEntry"),
    *("zeroPaddedFilemode", "badFilemode"),
)

# Command-scope configuration: it wins over whatever a repository's own configuration says.
_CONFIG: Final = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.attributesFile": os.devnull,
    "core.alternateRefsCommand": "",
    "credential.helper": "",
    "transfer.fsckObjects": "true",
    # Nothing is ever checked out, so these paths do no harm here; they are refused one by one, with their names.
    "fetch.fsck.hasDot": "ignore",
    "fetch.fsck.hasDotdot": "ignore",
    "fetch.fsck.hasDotgit": "ignore",
    **{f"fetch.fsck.{fault}": "warn" for fault in _HARMLESS},
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "log.showSignature": "false",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "gc.autoDetach": "false",
    "maintenance.autoDetach": "false",
    "gc.pruneExpire": "never",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Where secrets are, never what they are.

    token_env, token_file: a variable or a file that holds an HTTPS token, read anew for each command.
    username: what the server wants beside the token.  ssh_key, known_hosts: files for ssh; empty means ssh's own.
    ca_file: certificates to trust for HTTPS instead of the system's.
    """

    token_env: str = ""
    token_file: Path | None = None
    username: str = "x-access-token"
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    ca_file: Path | None = None

    def token(self) -> str:
        """The token now; empty when none is referred to. Raises GitUnavailable, which names the reference only."""
        if self.token_env:
            value = os.environ.get(self.token_env, "")
            if not value.strip():
                raise GitUnavailable(f"the environment variable {self.token_env} with the Git token is empty")
            return value.strip()
        if self.token_file is None:
            return ""
        try:
            value = self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise GitUnavailable(f"the Git token file {self.token_file} cannot be read") from problem
        if not value:
            raise GitUnavailable(f"the Git token file {self.token_file} is empty")
        return value


NO_CREDENTIALS: Final = Credentials()


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository that may be followed: `url` as Git gets it (a local path is absolute), free of secrets."""

    url: str
    transport: Transport
    credentials: Credentials = NO_CREDENTIALS

    def __str__(self) -> str:
        return self.url

    @classmethod
    def parse(cls, text: str, credentials: Credentials = NO_CREDENTIALS) -> "Remote":
        """The remote that the operator's setting names: https://, ssh://, user@host:path, file:// or a local path.

        Raises GitRefused for everything else, before Git has run.
        """
        if text.strip() != text or not text or printable(text) != text or "\t" in text:
            raise GitRefused("the repository setting is empty or has blanks at its ends or control characters in it")
        if text.startswith("-"):
            raise GitRefused(f"a repository cannot begin with '-': {masked(text)}")
        if (scheme := _SCHEME.match(text)) is not None:
            return _with_scheme(scheme["scheme"].lower() + text[scheme.end("scheme") :], credentials)
        if _SCP.fullmatch(text) is not None:
            return cls(text, "ssh", credentials)
        if ":" in text.partition("/")[0]:
            raise GitRefused(f"not a repository that is followed: {masked(text)}")
        return cls(_absolute(text), "file", credentials)

    @property
    def path(self) -> Path | None:
        """The directory, when the remote is a local one."""
        return Path(self.url) if self.transport == "file" else None


def _with_scheme(text: str, credentials: Credentials) -> Remote:
    scheme = text.partition(":")[0]
    if scheme == "file":
        path = text[len("file://") :]
        if not path.startswith("/"):
            raise GitRefused(f"a file URL names an absolute path on this machine: {masked(text)}")
        return Remote(_absolute(path), "file", credentials)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError as problem:
        raise GitRefused(f"not a URL: {masked(text)}") from problem
    if scheme not in {"https", "ssh"}:
        raise GitRefused(f"the transport {scheme}:// is not followed: {masked(text)}")
    if parts.password is not None or (scheme == "https" and parts.username is not None):
        raise GitRefused(
            f"credentials do not belong into the URL: {masked(text)}",
            hint="name them by reference: an environment variable or a file that holds the token",
        )
    if not _HOST.fullmatch(host) or not _plain(parts):
        raise GitRefused(f"not a repository URL: {masked(text)}")
    return Remote(text, "https" if scheme == "https" else "ssh", credentials)


def _absolute(text: str) -> str:
    try:
        return str(Path(text).expanduser().resolve())
    except (OSError, RuntimeError) as problem:  # a home that nobody has, a loop of links
        raise GitRefused(f"not a directory on this machine: {text}") from problem


def _plain(parts: SplitResult) -> bool:
    """Whether nothing in the URL can be an option or a query: no `-` at the start of user or path, no ? and #."""
    user, path = parts.username or "", parts.path.lstrip("/")
    return bool(path) and not (user.startswith("-") or path.startswith("-") or parts.query or parts.fragment)


def masked(text: str) -> str:
    """A URL without what stands before an @, and safe to print."""
    return printable(re.sub(r"(://|^)[^/@]*@", r"\1***@", text))


def checked_branch(name: str) -> str:
    """`name`, when it can be a branch (git-check-ref-format). Raises GitRefused."""
    if _BAD_REF.search(name) or len(name) > 255:
        raise GitRefused(f"not a branch name: {printable(name)!r}", hint="give the branch's short name, such as main")
    return name


def checked_folder(name: str) -> str:
    """`name` as Git writes a path: relative, without a closing slash, empty for the whole tree. Raises GitRefused."""
    folder = name.strip("/")
    if name.startswith(("/", "-")) or (folder and path_problem(folder)):
        raise GitRefused(f"not a folder inside the repository: {printable(name)!r}")
    return folder


def is_object_id(text: str) -> bool:
    """Whether `text` is a full SHA-1 or SHA-256 object id."""
    return len(text) in {40, 64} and all(char in "0123456789abcdef" for char in text)


def checked_oid(text: str) -> str:
    """`text`, when it is a full object id: only those reach a command line. Raises GitRefused."""
    if not is_object_id(text):
        raise GitRefused(f"not a full object id: {printable(text)[:80]!r}")
    return text


def path_problem(path: str) -> str:
    """Why a path of a tree is refused, in words; empty when it is fine."""
    if printable(path) != path or "\t" in path:
        return "the path has a control or formatting character"
    for part in path.split("/"):
        if part in {"", ".", ".."}:
            return "the path has an empty, '.' or '..' part"
        # Names that some file system takes for .git: NTFS short name, trailing dots and blanks, an alternate stream.
        if part.rstrip(". ").split(":")[0].lower() in {".git", "git~1"}:
            return "the path leads into .git"
    return ""


def environment(
    remote: Remote, token: str = "", global_config: str = os.devnull, extra: Sequence[tuple[str, str]] = ()
) -> dict[str, str]:
    """Every variable that a Git command about `remote` gets beside the process's own (without its GIT_ ones).

    token: handed over as an HTTP header, by the environment only.  global_config: a file that stands for the user's
    configuration; empty leaves the user's own in force.  extra: configuration that wins over the repository's.
    """
    config = [*_CONFIG.items(), *extra]
    if remote.path is not None:
        # The operator named this path, so it is read although another user may own it: this one and no other.
        config += [("safe.directory", str(remote.path)), ("safe.directory", str(remote.path / ".git"))]
    if remote.transport == "https" and token:
        header = f"Authorization: Basic {_basic(remote.credentials.username, token)}"
        config.append((f"http.https://{urlsplit(remote.url).netloc}/.extraHeader", header))
    ca_file = remote.credentials.ca_file
    return {
        "LC_ALL": "C",  # what Git says is read: it says it in one language
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        **({"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": global_config} if global_config else {}),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ALLOW_PROTOCOL": remote.transport,
        "GIT_SSH_COMMAND": ssh_command(remote.credentials),
        **({"GIT_SSL_CAINFO": str(ca_file)} if ca_file else {}),
        **config_variables(config),
    }


def config_variables(config: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The configuration as git-config(1)'s GIT_CONFIG_COUNT variables."""
    variables = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables


def ssh_command(credentials: Credentials) -> str:
    """The ssh that Git starts: never asks, never trusts an unknown host."""
    words = [
        "ssh",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "ConnectTimeout=20",
        "-o",
        "ControlPath=none",
    ]
    if credentials.ssh_key is not None:
        words += ["-i", str(credentials.ssh_key), "-o", "IdentitiesOnly=yes"]
    if credentials.known_hosts is not None:
        words += ["-o", f"UserKnownHostsFile={credentials.known_hosts}"]
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)


def redacted(text: str, remote: Remote, token: str) -> str:
    """`text` without the token in any form that we hand over, without URLs' user parts, safe to print, one line."""
    if token:
        for secret in (token, _basic(remote.credentials.username, token)):
            text = text.replace(secret, "***")
    text = re.sub(r"://[^/@\s]*@", "://***@", text)
    return printable(" ".join(text.split()))


def _basic(username: str, token: str) -> str:
    return base64.b64encode(f"{username}:{token}".encode()).decode()
