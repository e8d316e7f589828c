"""`pin` and `rollback` make one clean commit, and nothing else."""

import io
import json
from pathlib import Path

import pytest

from reconciler.wiring.past import opened
from tests.git_repository import Repository
from tests.unit.cli_world import FILES, SET, World
from tests.unit.conftest import Call

PIN_07 = FILES["edges/berlin-07.yaml"]


@pytest.fixture(scope="module")
def upgraded(settled_once: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """One edge serves version 2, the other is still to get it."""
    world = settled_once.copied(tmp_path_factory.mktemp("upgraded"))
    with world.hub("berlin-07", "berlin-08"):
        world.commit({"deployments/defect.yaml": SET % "2"}, "Up")
        world.serves("berlin-07", "2", previous="1")
    return world


@pytest.fixture
def world(upgraded: World, tmp_path: Path) -> World:
    """A copy of them that a test may change."""
    return upgraded.copied(tmp_path / "world")


def words(world: World) -> tuple[object, ...]:
    return ("--repo", world.repository.path, "--state", world.place.root)


def text(world: World, path: str) -> str:
    return world.repository.git("show", f"HEAD:{path}") + "\n"


def head_changes(world: World) -> list[str]:
    return world.repository.git("diff", "--no-renames", "--name-only", "HEAD~1", "HEAD").splitlines()


def test_a_pin_is_one_commit_of_one_file(call: Call, world: World) -> None:
    before = world.repository.head()
    said = call("pin", "berlin-07", "defect@1", "--reason", "night shift", "--expires", "2099-12-31", *words(world))
    assert said.code == 0
    assert world.repository.git("rev-parse", "HEAD~1") == before
    assert head_changes(world) == ["edges/berlin-07.yaml"]
    added = text(world, "edges/berlin-07.yaml").removeprefix(PIN_07)
    assert "model: defect" in added
    assert "version: '1'" in added
    assert "night shift" in added
    assert "2099-12-31" in added
    assert world.repository.git("status", "--porcelain") == ""
    assert world.repository.git("log", "-1", "--format=%s|%b|%an") == "Pin defect on berlin-07 to 1|night shift\n|Ada"


def test_without_a_version_it_is_the_one_that_serves(call: Call, world: World) -> None:
    call("pin", "berlin-08", "defect", *words(world))  # 2 is ordered there, 1 still serves
    assert "version: '1'" in text(world, "edges/berlin-08.yaml")


def test_a_dataset_is_pinned_as_one(call: Call, world: World) -> None:
    said = call("pin", "berlin-07", "parts@7", *words(world), "--output", "json")
    assert json.loads(said.out)["dataset"] == "parts"
    assert "dataset: parts" in text(world, "edges/berlin-07.yaml")
    assert call("pin", "berlin-07", "parts", "--remove", *words(world)).out.startswith("Unpin dataset parts on berlin")
    subjects = world.repository.git("log", "-2", "--format=%s").splitlines()
    assert subjects == ["Unpin dataset parts on berlin-07", "Pin dataset parts on berlin-07 to 7"]


@pytest.mark.parametrize(("version", "field"), [("1", "model"), ("9", "dataset")])
def test_a_name_of_both_means_the_model_unless_only_the_dataset_has_the_version(
    call: Call, world: World, version: str, field: str
) -> None:
    data = FILES["datasets/parts.yaml"].replace("parts}", "defect}")
    versions = [data[data.index("    - {") : data.index("  defaultVersion")].replace("'7'", f"'{n}'") for n in "19"]
    world.repository.commit(
        {"datasets/defect.yaml": data.replace("  defaultVersion", f"{''.join(versions)}  defaultVersion")}
    )
    said = call("pin", "berlin-07", f"defect@{version}", *words(world), "--output", "json")
    assert (said.code, json.loads(said.out).get(field)) == (0, "defect")


def test_a_pin_is_removed_again_to_the_last_byte(call: Call, world: World) -> None:
    call("pin", "berlin-07", "defect@1", *words(world))
    assert call("pin", "berlin-07", "defect", "--remove", *words(world)).code == 0
    assert text(world, "edges/berlin-07.yaml") == PIN_07


def test_the_same_pin_again_is_no_commit(call: Call, world: World) -> None:
    call("pin", "berlin-07", "defect@1", *words(world))
    before = world.repository.head()
    assert call("pin", "berlin-07", "defect@1", *words(world)).code == 0
    assert world.repository.head() == before


@pytest.mark.parametrize("model", ["defect", "defect@1", "defect@2"])
def test_a_pin_said_again_keeps_its_reason_and_expiry(call: Call, world: World, model: str) -> None:
    call("pin", "berlin-08", "defect@1", "--reason", "night shift", "--expires", "2099-12-31", *words(world))
    assert call("pin", "berlin-08", model, *words(world)).code == 0
    written = text(world, "edges/berlin-08.yaml")
    assert "night shift" in written
    assert "2099-12-31" in written


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (("defect@1", "--expires", "2020-01-01"), "--expires 2020-01-01 has passed: it is 20"),
        (("defect@1", "--expires", "2020-01-01T10:00:00Z"), "has passed"),
        (("defect@1",), "--expires 2021-02-03 has passed"),
        (("defect@1", "--expires", "some day"), "'some day' is not a time"),
        (("defect@1", "--expires", "yesterday"), "has passed"),
    ],
)
def test_a_pin_that_would_end_before_it_begins_is_refused(
    call: Call, world: World, said: tuple[str, ...], why: str
) -> None:
    over = "  pins:\n    - {model: defect, version: '2', expires: 2021-02-03}\n"
    before = world.repository.commit({"edges/berlin-07.yaml": PIN_07 + over})
    done = call("pin", "berlin-07", *said, *words(world))
    assert (done.code, done.out) == (2, "")
    assert why in done.err
    assert world.repository.head() == before
    assert call("pin", "berlin-07", "defect@1", "--expires", "", *words(world)).code == 0


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (("berlin-09", "defect@1"), "berlin-07, berlin-08"),
        (("berlin-07", "defec@1"), "it gets defect, parts"),
        (("berlin-07", "defect@9"), "defect has 1, 2"),
        (("berlin-07", "defect@"), "no version behind the @"),
        (("berlin-07", "parts@9"), "dataset parts has no version 9"),
        (("berlin-07", "defect@1", "--remove"), "--remove takes a name"),
        (("berlin-07", "defect", "--remove"), "no pin for model defect"),
    ],
)
def test_what_cannot_be_pinned_is_refused_with_what_there_is(
    call: Call, world: World, said: tuple[str, ...], why: str
) -> None:
    before = world.repository.head()
    done = call("pin", *said, *words(world))
    assert (done.code, done.out) == (2, "")
    assert why in done.err
    assert world.repository.head() == before


def test_a_file_with_changes_of_its_own_is_left_alone(call: Call, world: World) -> None:
    world.repository.write({"edges/berlin-07.yaml": PIN_07 + "# mine\n"})
    said = call("pin", "berlin-07", "defect@1", *words(world))
    assert said.code == 5
    assert "edges/berlin-07.yaml" in said.err
    assert (world.repository.path / "edges/berlin-07.yaml").read_text() == PIN_07 + "# mine\n"


def test_other_unsaved_work_stays_unsaved(call: Call, world: World) -> None:
    world.repository.write({"notes.yaml": "mine: 1\n"})
    assert call("pin", "berlin-07", "defect@1", *words(world)).code == 0
    assert world.repository.git("status", "--porcelain") == "?? notes.yaml"


class Terminal(io.StringIO):
    """A standard input at which somebody sits."""

    def isatty(self) -> bool:
        return True


# ── rollback ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rollback_restores_the_recorded_bytes_in_one_commit(call: Call, world: World) -> None:
    first = world.repository.git("rev-list", "--max-parents=0", "HEAD")
    new = "apiVersion: ai.kubeedge.io/v1alpha1\nkind: Edge\nmetadata: {name: new}\n"
    world.repository.commit({"new.yaml": new, "compose.yaml": "services: {}\n", "README.md": "words\n"})
    before = world.repository.head()
    said = call("rollback", "--to", first[:10], "--yes", *words(world))
    assert said.code == 0
    assert world.repository.git("rev-parse", "HEAD~1") == before
    assert head_changes(world) == ["deployments/defect.yaml", "new.yaml"]
    assert text(world, "deployments/defect.yaml") == SET % "1"
    for path in ("README.md", "compose.yaml"):  # no manifest: none of our business
        assert world.repository.git("ls-files", path) == path
    assert "restore  deployments/defect.yaml" in said.err
    assert "remove   new.yaml" in said.err


def test_a_file_that_was_renamed_goes_back_to_its_old_name(call: Call, world: World) -> None:
    world.repository.git("mv", "deployments/defect.yaml", "deployments/moved.yaml")
    world.repository.commit()
    with opened(world.place.root) as past:
        head = past.log.head().seq
    assert call("rollback", "--to", str(head), "--yes", *words(world)).code == 0
    assert head_changes(world) == ["deployments/defect.yaml", "deployments/moved.yaml"]
    assert text(world, "deployments/defect.yaml") == SET % "2"


def test_nobody_to_ask_means_nothing_done(call: Call, world: World) -> None:
    before = world.repository.head()
    said = call("rollback", "--to", "10", *words(world))
    assert (said.code, said.out) == (2, "")
    assert "restore  deployments/defect.yaml" in said.err
    assert "--yes" in said.err
    assert world.repository.head() == before


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 130)])
def test_a_person_is_asked(call: Call, world: World, monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: answer)
    before = world.repository.head()
    assert call("rollback", "--to", "10", *words(world)).code == code
    assert (world.repository.head() != before) is (code == 0)


def test_a_point_like_now_changes_nothing(call: Call, world: World) -> None:
    with opened(world.place.root) as past:
        head = past.log.head().seq
    before = world.repository.head()
    said = call("rollback", "--to", str(head), "--yes", *words(world))
    assert said.code == 0
    assert said.out.startswith("nothing differs from commit ")
    assert world.repository.head() == before


def test_an_edge_alone_goes_back_by_pins(call: Call, world: World) -> None:
    first = world.repository.git("rev-list", "--max-parents=0", "HEAD")
    said = call("rollback", "--to", first, "--edge", "berlin-07", "--yes", *words(world), "--output", "json")
    assert said.code == 0
    assert json.loads(said.out)["changes"] == [
        {"path": "edges/berlin-07.yaml", "action": "pin", "detail": "model defect to 1"}
    ]
    assert head_changes(world) == ["edges/berlin-07.yaml"]
    assert "version: '1'" in text(world, "edges/berlin-07.yaml")
    assert text(world, "deployments/defect.yaml") == SET % "2"


def test_a_version_that_is_no_longer_offered_is_named_and_left(call: Call, world: World) -> None:
    first = world.repository.git("rev-list", "--max-parents=0", "HEAD")
    only_2 = "\n".join(line for line in FILES["models/defect.yaml"].splitlines() if "version: '1'" not in line) + "\n"
    world.repository.commit({"models/defect.yaml": only_2})
    said = call("rollback", "--to", first, "--edge", "berlin-07", "--yes", *words(world))
    assert said.code == 0
    assert "cannot be pinned to 1: the repository no longer offers that" in said.err


def test_a_rollback_is_a_revert_that_can_be_reverted(call: Call, world: World) -> None:
    call("rollback", "--to", "10", "--yes", *words(world))
    world.repository.revert()
    assert text(world, "deployments/defect.yaml") == SET % "2"


def test_a_work_tree_that_nobody_named_is_refused_where_the_log_has_read_another_one(
    call: Call, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Repository(tmp_path / "other")
    other.commit(FILES, "Looks alike")
    before = other.head()
    monkeypatch.chdir(other.path)
    here = ("--state", world.place.root)
    for command in (("pin", "berlin-07", "defect@1"), ("rollback", "--to", "1", "--yes"), ("plan",)):
        said = call(*command, *here)
        assert (said.code, "has no commit" in said.err, "--repo" in said.err) == (2, True, True), said
    assert (other.head(), other.git("status", "--porcelain")) == (before, "")
    monkeypatch.chdir(world.repository.path)
    assert call("pin", "berlin-07", "defect@1", "--reason", "night shift", *here).code == 0


@pytest.mark.parametrize("verb", ["pin", "rollback"])
def test_how_long_is_waited_is_a_duration(call: Call, verb: str) -> None:
    said = " ".join(call(verb, "--help").out.split())
    assert "--timeout DURATION How long --wait waits: 90s, 5m." in said
