"""`make dist-check`: docs/install.md, command by command, as somebody does it who has the files of a release alone.

With pip and pipx of the registry, in environments that are new. Then what each install weighs.
"""

import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.installs import ROOT

PAGE = ROOT / "docs" / "install.md"
WITHOUT = {"pip", "setuptools", "pkg_resources", "_distutils_hack"}  # what a new environment has anyway
STARTS = 5  # imports of which the fastest counts
WEIGHED = {"plain": ("git", "kubernetes"), "onnx": ("numpy", "onnxruntime"), "edge": ("numpy", "onnxruntime")}


def steps(page: str) -> Iterator[str]:
    """The commands of the page's console blocks, in order."""
    for block in re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        yield from (line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ "))


def environment(home: Path) -> dict[str, str]:
    """The variables of somebody with this home, pipx on the path and nothing of ours."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIPX", "RECONCILER"))}
    paths = [home / ".local" / "bin", home / "pipx" / "bin"]
    found = os.pathsep.join([*map(str, paths), plain["PATH"]])
    return plain | {"HOME": str(home), "PATH": found, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_QUIET": "1"}


def weight(programs: Path, modules: tuple[str, ...]) -> str:
    """What an environment has: packages, megabytes on disk, and what the dearest imports cost."""
    (site,) = programs.parent.glob("lib/python*/site-packages")
    packages = [path for path in site.glob("*.dist-info") if path.name.partition("-")[0] not in WITHOUT]
    files = (path for path in site.rglob("*") if path.is_file() and path.relative_to(site).parts[0] not in WITHOUT)
    size = sum(path.stat().st_size for path in files) / 1e6
    took = ", ".join(f"{name} {_import_s(programs, name) * 1000:.0f} ms" for name in modules)
    return f"{len(packages) - 1} packages beside ours, {size:.0f} MB; imports: {took}"


def _import_s(programs: Path, module: str) -> float:
    def once(code: str) -> float:
        """Seconds of CPU, so that a busy machine does not count."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([str(programs / "python"), "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once(f"import {module}") for _ in range(STARTS)) - min(once("") for _ in range(STARTS))


def main() -> int:
    """0 when every command of the page did what it should."""
    with TemporaryDirectory(prefix="reconciler-install-") as place:
        home = Path(place) / "home"
        home.mkdir()
        for name in ("dist", "requirements"):
            (home / name).symlink_to(ROOT / name)
        subprocess.run([sys.executable, "-m", "venv", str(home / "pipx")], check=True)
        subprocess.run([str(home / "pipx" / "bin" / "pip"), "install", "-q", "pipx"], check=True)
        for step in steps(PAGE.read_text()):
            began = time.perf_counter()
            done = subprocess.run(
                ["bash", "-c", step], cwd=home, env=environment(home), capture_output=True, text=True, check=False
            )
            print(f"{'✓' if done.returncode == 0 else '✗'} {time.perf_counter() - began:5.1f} s  {step}", flush=True)
            if done.returncode:
                print(done.stdout + done.stderr, file=sys.stderr)
                return 1
        for name, modules in WEIGHED.items():
            print(f"{name}: {weight(home / name / 'bin', modules)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
