"""The guard around every command: what comes out for what was raised, as whole processes where that matters."""

import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
import yaml

from reconciler.cli import explain
from reconciler.cli.main import COMMANDS
from reconciler.diagnostics import Diagnostic
from reconciler.errors import RepositoryRefused, SettingInvalid, error_classes
from reconciler.settings import Settings
from reconciler.state_directory import default_state_dir
from tests.unit.cli_world import World
from tests.unit.conftest import Call

WEB = ("starlette", "uvicorn", "prometheus_client", "anyio", "http")
HEAVY = ("kubernetes", "git", "pydantic", "rich", "msgspec", "yaml", "ruamel", "sqlite3", "numpy", "onnxruntime", *WEB)
CLI = Path(import_module("reconciler.cli").__file__ or "").parent


def process(code: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python that runs `code` as the entry point would."""
    script = f"import sys\nfrom reconciler.__main__ import main\nsys.argv = ['reconciler', *sys.argv[1:]]\n{code}"
    command = [sys.executable, "-W", "error", "-c", script, *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


LOADED = (
    "code = main()\nprint(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\nsys.exit(code)"
)


@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), *((name, "--help") for name in COMMANDS), ("completion", "bash")]
)
def test_help_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    done = process(LOADED, *words)
    assert done.returncode == 0
    assert done.stdout
    loaded = done.stderr.strip().splitlines()[-1]
    assert "'click'" in loaded
    assert [name for name in HEAVY if f"'{name}'" in loaded] == []


def test_reading_this_machines_log_loads_nothing_of_the_listener(settled: World, tmp_path: Path) -> None:
    (tmp_path / "reconciler").symlink_to(settled.place.root)  # so that it is found without being named
    for words in (("status",), ("state",), ("history",), ("plan", "--help")):
        done = process(LOADED, *words, XDG_STATE_HOME=str(tmp_path))
        assert done.returncode == 0, done.stderr
        loaded = done.stderr.strip().splitlines()[-1]
        assert [name for name in (*WEB, "kubernetes", "pydantic") if f"'{name}'" in loaded] == [], words


@pytest.mark.parametrize(("line", "found"), [("reconciler pl", "plan"), ("reconciler plan --ou", "--output")])
def test_completing_loads_nothing_heavy(line: str, found: str) -> None:
    code = (
        "try:\n    main()\nfinally:\n"
        "    print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    words = {"_RECONCILER_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = process(code, **words)
    assert found in done.stdout
    loaded = done.stderr.strip().splitlines()[-1]
    assert [name for name in HEAVY if f"'{name}'" in loaded] == []


def test_rich_is_imported_to_draw_and_to_measure_and_nowhere_else() -> None:
    users = [
        path.name
        for path in CLI.parent.rglob("*.py")
        if "import rich" in path.read_text() or "from rich" in path.read_text()
    ]
    assert sorted(users) == ["draw.py", "fold.py"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_has_a_file_help_and_an_example(name: str) -> None:
    command = import_module(f"reconciler.cli.{name}").command
    parts = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    assert parts
    for part in parts:
        assert part.help
        assert "Example:" in f"{part.epilog}{part.help}"


def test_every_command_file_is_in_the_table() -> None:
    with_command = {path.stem for path in CLI.glob("*.py") if "\ndef command(" in path.read_text()}
    assert with_command == set(COMMANDS)


@pytest.mark.parametrize("cls", error_classes())
@pytest.mark.parametrize("form", ["table", "json"])
def test_every_failure_is_told_with_its_code_hint_and_exit_code(
    call: Call, monkeypatch: pytest.MonkeyPatch, cls: type[Exception], form: str
) -> None:
    problem = Diagnostic(code="RX201", message="no", path="a.yaml", line=3)
    failure = RepositoryRefused([problem]) if issubclass(cls, RepositoryRefused) else cls("it is so")

    def fail(**_: object) -> None:
        raise failure

    monkeypatch.setattr(explain.command, "callback", fail)
    said = call("explain", "--output", form)
    assert (said.code, said.out) == (failure.exit_code, "")  # type: ignore[attr-defined]  # all of our tree
    assert said.code != 1
    if form == "table":
        assert f"error[{failure.code}]: {failure}" in said.err  # type: ignore[attr-defined]  # as above
        assert said.err.splitlines()[-1].startswith(" help: ")
    else:
        told = json.loads(said.err)
        assert (told["schemaVersion"], told["kind"], told["code"]) == (1, "Error", failure.code)  # type: ignore[attr-defined]  # as above
        assert told["hint"]
    assert ("a.yaml" in said.err) == issubclass(cls, RepositoryRefused)


@pytest.mark.parametrize("words", [("nonsense",), ("status", "--nonsense"), ("why",), ("status", "-o", "xml")])
def test_what_cannot_be_meant_ends_with_2(call: Call, words: tuple[str, ...]) -> None:
    said = call(*words)
    assert (said.code, said.out) == (2, "")
    assert said.err


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense", "-o", "json"),
        ("status", "--nonsense", "-ojson"),
        ("why", "a", "b", "c", "--output", "json"),
        ("status", "--output=json", "--nonsense"),
    ],
)
def test_what_cannot_be_meant_is_told_as_json_too(call: Call, words: tuple[str, ...]) -> None:
    said = call(*words)
    assert (said.code, said.out) == (2, "")
    told = json.loads(said.err)
    assert (told["kind"], told["code"], told["retryable"]) == ("Error", "RX101", False)
    assert told["error"]


def test_the_kinds_come_as_json_too(call: Call) -> None:
    made = yaml.safe_load_all(call("crds").out)
    listed = json.loads(call("crds", "-o", "json").out)
    assert (listed["kind"], listed["items"]) == ("List", list(made))


def shell(words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as a shell starts it, with its redirections."""
    line = f"exec {sys.executable} -m reconciler {words}"
    return subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, env=os.environ | environment, check=False
    )


@pytest.mark.parametrize("command", ["--help", "explain RX404", "status", "doctor", "crds -o json"])
@pytest.mark.parametrize(
    ("how", "said"), [(">&-", "Bad file descriptor"), (">/dev/full", "No space left"), (">&- <&-", "descriptor")]
)
def test_an_output_that_takes_nothing_is_said_with_a_code(settled: World, command: str, how: str, said: str) -> None:
    done = shell(f"{command} {how}", RECONCILER_STATE=str(settled.place.root))
    assert done.returncode == 2
    assert ("RX106" in done.stderr, "the output cannot be written" in done.stderr) == (True, True)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", ["2>&-", "<&-", "2>&- <&-", "2>/dev/full"])
def test_a_stream_that_nobody_needs_may_be_closed(how: str) -> None:
    whole = shell("explain RX404").stdout
    assert (whole != "", shell(f"explain RX404 {how}").stdout) == (True, whole)


@pytest.mark.parametrize("how", ["2>/dev/full", "2>&-", "2>&1 | exit 0", ">/dev/full 2>/dev/full"])
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("plan --repo /nowhere/at/all", 4),
        ("plan --repo /nowhere/at/all -o json", 4),
        ("nonsense", 2),
        ("wait --timeout x", 2),
    ],
)
def test_telling_what_is_wrong_never_changes_the_exit_code(command: str, code: int, how: str) -> None:
    line = f"set -o pipefail; {sys.executable} -m reconciler {command} {how}"
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=False).returncode == code


def test_a_bug_that_nobody_can_be_told_ends_with_70_too(tmp_path: Path) -> None:
    code = "import os\nos.dup2(os.open('/dev/full', os.O_WRONLY), 2)\nsys.modules['reconciler.cli.main'] = None\n"
    assert process(f"{code}sys.exit(main())", "plan", TMPDIR=str(tmp_path)).returncode == 70


@pytest.mark.parametrize("how", [">&-", ">/dev/full"])
@pytest.mark.parametrize("form", ["", "-o json"])
def test_what_was_done_before_the_output_failed_is_said(settled: World, how: str, form: str) -> None:
    at = f"--state {settled.place.root} --repo {settled.repository.path}"
    done = shell(f"pin berlin-07 defect@2 --reason night {at} {form} {how}")
    head = settled.repository.git("rev-parse", "--short=7", "HEAD").strip()
    assert (done.returncode, "RX106" in done.stderr) == (2, True)
    assert f"this is done: Pin defect on berlin-07 to 2: edges/berlin-07.yaml in commit {head}" in done.stderr
    asked = shell(f"status --state {settled.place.root} {how}")
    assert "what the command did before stands" in asked.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict"])
def test_what_an_encoding_lacks_is_written_as_its_code(settled: World, encoding: str) -> None:
    state = str(settled.place.root)
    done = shell("history", RECONCILER_STATE=state, PYTHONIOENCODING=encoding, PYTHONUTF8="0", LC_ALL="C")
    assert (done.returncode, "Traceback" in done.stderr, bool(done.stdout)) == (0, False, True)
    json.loads(shell("status -o json", RECONCILER_STATE=state, PYTHONIOENCODING=encoding).stdout)


@pytest.mark.parametrize("command", ["run --repo . --once --listen off", "status", "log verify"])
def test_a_state_directory_that_cannot_be_is_no_crash(command: str, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main", tmp_path], check=True)
    (tmp_path / "file").touch()
    done = shell(f"{command} --state {tmp_path / 'file' / 'state'}")
    assert done.returncode == 2
    assert str(tmp_path / "file") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_user_without_a_home_is_told_what_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nobody)
    with pytest.raises(SettingInvalid, match="no home directory"):
        default_state_dir({})
    assert default_state_dir({"XDG_STATE_HOME": "/x"}) == Path("/x/reconciler")
    given = {"repo": "https://git.example.com/fleet.git", "state_dir": "/state"}
    assert Settings.load(given, {}).state_dir == Path("/state")


def test_a_bug_ends_with_70_and_keeps_its_traceback() -> None:
    code = (
        "from reconciler.cli import explain\n"
        "def fail(**_):\n    raise KeyError('a bug')\n"
        "explain.command.callback = fail\nsys.exit(main())"
    )
    done = process(code, "explain")
    assert done.returncode == 70
    first, rest = done.stderr.split("\n", 1)
    assert first == "error[RX600]: this is a bug: KeyError: 'a bug'"
    place = Path(rest.partition("traceback in ")[2].partition(";")[0])
    assert "Traceback" in place.read_text()
    place.unlink()
    assert "nothing that runs was touched" in rest


@pytest.mark.parametrize("kept", [True, False])
def test_a_bug_is_one_json_object_where_that_was_asked_for(kept: bool) -> None:
    code = (
        f"import tempfile\ntempfile.tempdir = None if {kept} else '/nonexistent'\n"
        "from reconciler.cli import explain\ndef fail(**_):\n    raise KeyError('a bug')\n"
        "explain.command.callback = fail\nsys.exit(main())"
    )
    done = process(code, "explain", "-o", "json")
    assert (done.returncode, done.stdout) == (70, "")
    said = json.loads(done.stderr)
    assert (said["kind"], said["code"], said["error"]) == ("Error", "RX600", "this is a bug: KeyError: 'a bug'")
    trace = said["traceback"]
    if kept:
        assert trace in said["hint"]
        trace = Path(said["traceback"]).read_text()
        Path(said["traceback"]).unlink()
    assert trace.startswith("Traceback")


def test_a_traceback_that_can_be_kept_nowhere_is_printed() -> None:
    code = (
        "import tempfile\ntempfile.tempdir = '/nonexistent'\nfrom reconciler.cli import explain\n"
        "def fail(**_):\n    raise KeyError('a bug')\n"
        "explain.command.callback = fail\nsys.exit(main())"
    )
    done = process(code, "explain")
    assert (done.returncode, "Traceback" in done.stderr) == (70, True)


def test_an_import_that_fails_is_a_bug_too_and_never_reads_as_differences(tmp_path: Path) -> None:
    done = process("sys.modules['reconciler.cli.main'] = None\nsys.exit(main())", "plan", TMPDIR=str(tmp_path))
    assert done.returncode == 70
    (kept,) = tmp_path.iterdir()
    assert "ModuleNotFoundError" in kept.read_text()


def test_an_interrupt_ends_with_130() -> None:
    code = (
        "import os, signal\nfrom reconciler.cli import explain\n"
        f"explain.command.callback = lambda **_: os.kill(os.getpid(), {int(signal.SIGINT)})\nsys.exit(main())"
    )
    assert process(code, "explain").returncode == 130


def test_nobody_reading_on_is_no_bug() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "reconciler", "explain"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_state_directory_that_a_variable_names_is_said_to_be_so(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_STATE", str(tmp_path / "gone"))
    assert "(RECONCILER_STATE names it)" in call("status").err
    assert "RECONCILER_STATE" not in call("status", "--state", tmp_path / "other").err
