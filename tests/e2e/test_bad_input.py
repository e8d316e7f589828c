"""Bad input on the way from a commit to an answer: a named error, and what serves keeps serving."""

from hashlib import sha256
from pathlib import Path

import pytest

from tests.artifact_server import Bend
from tests.bad_models import make_bad_archive
from tests.e2e.fleet import Fleet
from tests.e2e.test_crashes import MODELS, SET, deploy, new_version

pytestmark = pytest.mark.e2e


@pytest.fixture
def serving(fleet: Fleet) -> Fleet:
    """A fleet that runs and serves version 1."""
    fleet.hub()
    fleet.wait_versions(edge_1="1", edge_2="1", edge_3="1")
    fleet.wait_settled()
    return fleet


def publish(fleet: Fleet, version: str, content: bytes, digest: str = "") -> None:
    """Add a version with these bytes to the catalogue, in the work tree."""
    fleet.server.files[f"/{version}.tar.gz"] = content
    entry = (
        f"    - version: '{version}'\n      downloadURL: {fleet.server.url(f'/{version}.tar.gz')}\n"
        f"      sha256sum: {digest or sha256(content).hexdigest()}\n"
    )
    fleet.repository.write({MODELS: (fleet.repository.path / MODELS).read_text().rstrip("\n") + "\n" + entry})


def rows(fleet: Fleet) -> dict[str, dict[str, object]]:
    """The status of each edge's digits."""
    return {row["edge"]: row for row in fleet.read("status")["rows"] if row["kind"] == "InferenceModel"}


def test_fault_089_a_version_whose_probe_fails_is_left_by_itself_and_held_after_unrelated_commits(
    serving: Fleet, tmp_path: Path
) -> None:
    publish(serving, "bad", make_bad_archive(tmp_path, "wrong_golden").read_bytes())
    serving.edit(SET, "defaultVersion: '1'", "defaultVersion: 'bad'", "Serve a version that fails")
    serving.wait(lambda: len(serving.events("apply.failed.v1")) == 3, "three edges refuse it")
    assert serving.versions() == {"edge-1": "1", "edge-2": "1", "edge-3": "1"}
    for failed in serving.events("apply.failed.v1"):
        assert failed.event.data["code"] == "RX404"
        assert failed.event.data["live"]["version"] == "1"
    for row in rows(serving).values():  # the hub shows why
        assert row["phase"] in {"Rejected", "RolledBack"}
        assert "golden" in str(row["message"]) or "expected" in str(row["message"])

    orders = len(serving.events("apply.intended.v1"))
    serving.repository.commit({"README.txt": "unrelated\n"}, "Unrelated")
    serving.repository.commit({"fleet.yaml": (serving.repository.path / "fleet.yaml").read_text() + "# note\n"}, "Note")
    serving.wait_settled()
    assert len(serving.events("apply.intended.v1")) == orders  # held by its content, not by the commit

    serving.run("release", "edge-2", "digits")
    serving.wait(lambda: len(serving.events("apply.failed.v1")) == 4, "edge-2 tried it again, and refused again")

    serving.repository.git("revert", "--no-edit", "HEAD~2")
    serving.wait_settled()
    assert serving.versions() == {"edge-1": "1", "edge-2": "1", "edge-3": "1"}


def test_fault_098_a_wrong_digest_is_refused_and_the_old_version_serves(serving: Fleet) -> None:
    publish(serving, "other", serving.server.files["/digits-2.tar.gz"], digest="0" * 64)
    serving.edit(SET, "defaultVersion: '1'", "defaultVersion: 'other'")
    serving.wait(lambda: len(serving.events("apply.failed.v1")) == 3, "three edges refuse it")
    assert {entry.event.data["code"] for entry in serving.events("apply.failed.v1")} == {"RX401"}
    assert serving.versions() == {"edge-1": "1", "edge-2": "1", "edge-3": "1"}
    left = serving.state.root.glob("edges/*/store/0000*")
    assert {path.name.partition(".")[2] for path in left} == {"refused.json"}  # what it was, and none of it
    assert len(serving.events("download.started.v1")) == 3 + 1 + 3  # models, a dataset, and one try an edge: no loop


def test_fault_094_a_download_that_breaks_off_is_resumed(serving: Fleet) -> None:
    content = serving.server.files["/digits-2.tar.gz"]
    serving.server.bend(*[Bend(cut_at=len(content) // 2)] * 3)
    serving.edit(SET, "defaultVersion: '1'", "defaultVersion: '2'")
    serving.wait_versions(edge_1="2", edge_2="2", edge_3="2")
    ranged = [request for request in serving.server.requests if "range" in request.headers]
    assert len(ranged) == 3


@pytest.mark.parametrize("kind", ["no_model", "sequence_map", "other_input"])
def test_fault_132_a_model_that_cannot_run_here_is_refused_before_the_flip(
    serving: Fleet, tmp_path: Path, kind: str
) -> None:
    publish(serving, "bad", make_bad_archive(tmp_path, kind).read_bytes())  # type: ignore[arg-type]  # one of its kinds
    serving.edit(SET, "defaultVersion: '1'", "defaultVersion: 'bad'")
    serving.wait(lambda: len(serving.events("apply.failed.v1")) == 3, "three edges refuse it")
    assert {entry.event.data["code"] for entry in serving.events("apply.failed.v1")} == {"RX405"}
    assert serving.versions() == {"edge-1": "1", "edge-2": "1", "edge-3": "1"}


def test_fault_104_a_hostile_archive_is_refused_whole(serving: Fleet, tmp_path: Path) -> None:
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("model.onnx"))
        link = tarfile.TarInfo("evil")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    publish(serving, "evil", stream.getvalue())
    serving.edit(SET, "defaultVersion: '1'", "defaultVersion: 'evil'")
    serving.wait(lambda: len(serving.events("apply.failed.v1")) == 3, "three edges refuse it")
    assert {entry.event.data["code"] for entry in serving.events("apply.failed.v1")} == {"RX402"}
    assert serving.versions() == {"edge-1": "1", "edge-2": "1", "edge-3": "1"}


def test_fault_068_a_broken_file_beside_a_good_one_freezes_only_itself(serving: Fleet) -> None:
    edge = (serving.repository.path / "edges/edge-2.yaml").read_text()
    serving.repository.write({"edges/edge-2.yaml": edge.replace("spec:", "spec: [", 1)})
    serving.edit(SET, "defaultVersion: '1'", "defaultVersion: '2'", "A good line and a broken file")
    serving.wait_versions(edge_1="2", edge_2="2", edge_3="2")  # edge-2 is as it was last good
    checked = serving.events("manifests.checked.v1")[-1].event.data["problems"]["edges/edge-2.yaml"]
    assert checked[0]["code"] == "RX201"
    assert checked[0]["line"] > 0
    assert serving.run("plan", check=3).returncode == 3


def test_fault_049_rewritten_history_is_held_until_it_is_approved(serving: Fleet) -> None:
    deploy(serving, "1", "3")
    serving.wait_versions(edge_1="3", edge_2="3", edge_3="3")
    serving.wait_settled()
    serving.repository.git("reset", "--hard", "--quiet", serving.first)
    new_version(serving, "4")
    serving.edit(SET, "defaultVersion: '1'", "defaultVersion: '4'", "Another past")
    serving.wait(lambda: serving.events("change.planned.v1")[-1].event.data.get("held"), "the plan is held")
    assert serving.versions() == {"edge-1": "3", "edge-2": "3", "edge-3": "3"}
    held = serving.events("change.planned.v1")[-1].event
    assert "rewritten" in held.data["held"]
    assert len(serving.events("ref.rewritten.v1")) == 1

    serving.run("approve", held.newdigest)
    serving.wait_versions(edge_1="4", edge_2="4", edge_3="4")
    serving.wait_settled()


def test_fault_051_an_emptied_repository_deletes_nothing(serving: Fleet) -> None:
    serving.repository.commit(
        {str(path.relative_to(serving.repository.path)): None for path in serving.repository.path.rglob("*.yaml")},
        "Oops",
    )
    serving.wait(lambda: serving.events("change.planned.v1")[-1].event.data.get("held"), "the plan is held")
    assert serving.versions() == {"edge-1": "1", "edge-2": "1", "edge-3": "1"}
    serving.repository.git("revert", "--no-edit", "HEAD")
    serving.wait_settled()
    assert not [entry for entry in serving.events("apply.intended.v1") if entry.event.data["action"] == "delete"]


def test_an_unknown_pin_keeps_what_was_ordered_and_says_where(serving: Fleet) -> None:
    pin = "  pins:\n    - {model: digits, version: '99'}\n"
    path = "edges/edge-3.yaml"
    serving.repository.commit({path: (serving.repository.path / path).read_text() + pin}, "A typo")
    serving.wait_settled()
    problems = serving.events("manifests.checked.v1")[-1].event.data["problems"]
    (problem,) = problems["InferenceModel/default/digits-edge-3@edge-3"]
    assert problem["code"] == "RX215"
    assert problem["path"] == path
    assert "has 1, 2" in problem["message"]
    assert serving.versions()["edge-3"] == "1"
