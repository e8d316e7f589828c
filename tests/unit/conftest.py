"""What the command line's tests share: a told story on disk, and a way to call a command as a person does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.cli.main import main
from tests.unit.cli_world import World, fix_log_ids, settle, tell_story


@dataclass(frozen=True)
class Said:
    """What a command left."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """A command, run in this process, away from the machine's own settings and without a terminal."""
    for name in ("RECONCILER_REPO", "RECONCILER_STATE", "RECONCILER_STATE_DIR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GIT_CONFIG_GLOBAL", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_DIR"):
        monkeypatch.delenv(name, raising=False)

    def called(*words: str) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return called


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A state directory with a past; tests only read it."""
    world = World(tmp_path_factory.mktemp("story"))
    with pytest.MonkeyPatch.context() as patch:
        fix_log_ids(patch)
        tell_story(world)
    return world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A repository and a state directory that a test may change."""
    return World(tmp_path)


@pytest.fixture(scope="session")
def settled_once(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two edges that serve version 1, made once."""
    world = World(tmp_path_factory.mktemp("settled"))
    settle(world)
    return world


@pytest.fixture
def settled(settled_once: World, tmp_path: Path) -> World:
    """A copy of them, with their repository, that a test may change."""
    return settled_once.copied(tmp_path / "world")
