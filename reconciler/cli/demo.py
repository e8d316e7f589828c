"""`reconciler demo`: the main job, told step by step and verified by asking the served model."""

import sys
import tempfile
from pathlib import Path

import click


@click.command()
@click.option("--once", is_flag=True, help="end when every step is verified (also without a terminal)")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="keep repository and state here")
@click.option(
    "--port", type=click.IntRange(1024, 65535), default=8080, show_default=True, help="where models are served"
)
def command(once: bool, directory: Path | None, port: int) -> int:
    """Serve a real model on three edges of this machine, change it by a commit, roll it back by git revert.

    Needs the extra `onnx`. Exit 0 only if every step was verified by asking the served model.

    Example: reconciler demo --once
    """
    from reconciler.cli.demo_story import tell
    from reconciler.errors import UsageError

    if directory is not None:
        if directory.exists() and any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty", hint="name a directory that does not exist yet")
        directory.mkdir(parents=True, exist_ok=True)
        tell(directory.resolve(), port, stay=not once and sys.stdout.isatty())
        return 0
    stay = not once and sys.stdout.isatty()
    with tempfile.TemporaryDirectory(prefix="reconciler-demo-") as scratch:
        tell(Path(scratch), port, stay=stay)
    if stay:
        print(f"everything it started has ended, and {scratch} is removed; keep it next time with --dir DIR")
        print("where you exported RECONCILER_STATE: unset RECONCILER_STATE")
    return 0
