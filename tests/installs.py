"""Installs of the product as users make them, without a network: the real wheel, put by pip into a virtual environment
that has the named packages of this one and no others.
"""

import subprocess
import sys
import venv
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
EDGE = ROOT / "requirements" / "edge.txt"


def pinned(file: Path) -> list[Requirement]:
    """What a file of requirements names, with versions and markers."""
    lines = (line.rstrip(" \\") for line in file.read_text().splitlines() if line[:1].isalnum())
    return [Requirement(line) for line in lines]


def here(file: Path) -> list[str]:
    """The packages that this Python gets by a file of requirements."""
    return [one.name for one in pinned(file) if one.marker is None or one.marker.evaluate()]


def build(source: Path, into: Path, *targets: str) -> list[Path]:
    """What `make dist` builds of a source tree: "wheel", "sdist". The time in it is hatchling's own."""
    options = [word for target in targets for word in ("-t", target)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(into), *options]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return sorted(into.iterdir())


def environment(at: Path, packages: Iterable[str], wheel: Path) -> Path:
    """The bin directory of a new virtual environment with these packages, as links to this one's, and the wheel."""
    venv.create(at, symlinks=True)
    (site,) = at.glob("lib/python*/site-packages")
    for name in packages:
        found = distribution(name)
        tops = {path.parts[0] for path in found.files or () if path.parts[0] not in {"..", "__pycache__"}}
        for top in tops:
            if not (site / top).exists():  # a namespace may be of several
                (site / top).symlink_to(str(found.locate_file(top)))
    command = [sys.executable, "-m", "pip", "--python", str(at), "install", "--quiet", "--no-index", "--no-deps"]
    command += ["--no-compile"]  # what is imported is compiled then
    subprocess.run([*command, "--disable-pip-version-check", str(wheel)], check=True, capture_output=True)
    return at / "bin"
