"""`plan` looks before anybody leaps: exit codes, what it says, and that nothing is left behind."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler.cli import remote
from reconciler.cli.plan import NO_POLICY, _notes
from reconciler.errors import HubUnreachable, ReconcilerError, RightMissing
from reconciler.history import events as ev
from reconciler.history.keys import DECLARE, DELIVER
from reconciler.history.state import EdgeSeen, Served, StageState, State
from reconciler.kube.client.resources import KEPT
from reconciler.planning.plan import Plan, Step
from reconciler.wiring.past import opened
from reconciler.wiring.preview import Preview
from tests.git_repository import Repository
from tests.scripted_server import ScriptedServer, answer
from tests.unit.cli_world import FILES, MODEL, SET, SHA, World, key
from tests.unit.conftest import Call, Said

PlanOf = Callable[..., Said]


@pytest.fixture
def plan(call: Call, settled: World) -> PlanOf:
    def planned(*words: str) -> Said:
        return call("plan", "--repo", settled.repository.path, "--state", settled.place.root, *words)

    return planned


def shown(said: Said) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said.out)
    return found


def test_with_nothing_to_do_it_ends_with_0(plan: PlanOf, settled: World) -> None:
    said = plan()
    head = settled.repository.head()[:12]
    of = f"plan of branch main at {head}; that commit was read last"
    assert (said.code, said.out) == (0, f"{of}\n\nnothing to do\n")


def test_files_of_other_tools_are_counted_and_named_where_that_is_asked(plan: PlanOf, settled: World) -> None:
    files = {".github/ci.yml": "on: push\n", "mkdocs.yml": "site: x\n", "old/a.yaml": "kind: [\n"}
    settled.repository.commit({**files, ".reconcilerignore": "old/\n"})
    said = plan()
    assert (said.code, said.out.splitlines()[-1]) == (0, "nothing to do")
    assert "not committed" not in said.out
    assert "3 files left out, of other tools (-v names them)\n" in said.err
    assert [line for line in plan("-v").err.splitlines() if line.startswith("left out: ")] == [
        "left out: .github/ci.yml: its name begins with a dot",
        "left out: mkdocs.yml: it declares nothing of ai.kubeedge.io",
        "left out: old/a.yaml: .reconcilerignore:1",
    ]
    assert set(shown(plan("--output", "json"))["leftOut"]) == set(files)


def test_changes_end_with_1_and_say_field_line_and_bytes(plan: PlanOf, settled: World) -> None:
    settled.repository.commit({"deployments/defect.yaml": SET % "2"})
    said = plan("--output", "json")
    assert said.code == 1
    value = shown(said)
    first = value["steps"][0]
    assert (first["key"], first["action"], first["origin"]) == (
        str(key("berlin-07")),
        "update",
        "deployments/defect.yaml:6",
    )
    assert {"field": "version", "old": "1", "new": "2"} in first["changes"]
    assert value["fetchBytes"] == {"berlin-07": 5150000, "berlin-08": 5150000}
    assert value["counts"] == {"update": 2}
    assert value["commit"] == settled.repository.head()


def test_a_refused_document_ends_with_3_even_beside_changes(plan: PlanOf, settled: World) -> None:
    settled.repository.commit({"deployments/defect.yaml": SET % "2", "broken.yaml": "kind: [  # of ai.kubeedge.io\n"})
    said = plan()
    assert said.code == 3
    assert "--> broken.yaml:2:1" in said.out
    assert "2 to update" in said.out


def test_a_warning_refuses_nothing(plan: PlanOf, settled: World) -> None:
    pins = "  pins: [{model: defect, version: '1', reason: 0644}]\n"
    settled.repository.commit({"edges/berlin-07.yaml": FILES["edges/berlin-07.yaml"] + pins})
    said = plan()
    assert said.code == 0
    assert "warning[RX217]" in said.out


def test_what_is_wrong_ends_with_more_than_1(call: Call, tmp_path: Path) -> None:
    said = call("plan", "--repo", tmp_path / "nowhere", "--state", tmp_path / "state")
    assert said.code == 4
    assert "error[RX301]" in said.err
    assert call("plan", "--repo", "ext::sh", "--state", tmp_path / "state").code == 5


def test_a_path_that_is_no_repository_is_not_answered_with_a_look_at_a_remote(
    call: Call, settled: World, tmp_path: Path
) -> None:
    for place, state in ((tmp_path, settled.place.root), (tmp_path / "none", settled.place.root)):
        said = call("plan", "--repo", place, "--state", state)
        assert (said.code, str(place) in said.err, "ls-remote" in said.err) == (4, True, False)
        assert "is the path right" in said.err


def test_a_folder_that_is_not_there_is_missed_in_the_branch_that_is_checked_out(
    call: Call, settled: World, tmp_path: Path
) -> None:
    git = settled.repository.git
    words = ("plan", "--repo", settled.repository.path, "--state", tmp_path / "new", "--path", "nope")
    head = git("rev-parse", "HEAD").strip()
    for words_of_git, place in ((("checkout", "-q", "-b", "feature"), " of feature"), (("checkout", "-q", head), "")):
        git(*words_of_git)
        said = call(*words)
        assert f"there is no folder nope in commit {head[:12]}{place}\n" in said.err
    assert f"in commit {head[:12]} of main\n" in call(*words, "--branch", "main").err


def test_without_any_state_it_plans_from_nothing(call: Call, settled: World, tmp_path: Path) -> None:
    said = call("plan", "--repo", settled.repository.path, "--state", tmp_path / "none")
    assert said.code == 1
    first = f"nothing is known of what is live (no log in {tmp_path / 'none'}): everything is shown as new. "
    assert said.out.startswith(first + "Name the hub: --repo . --hub URL, or its --state directory.\n")
    assert "4 to create" in said.out
    assert not (tmp_path / "none" / "hub").exists()


def test_a_work_tree_is_taken_as_it_is_on_disk(plan: PlanOf, settled: World) -> None:
    settled.repository.write({"deployments/defect.yaml": SET % "2"})
    said = plan()
    assert said.code == 1
    assert "not committed yet: deployments/defect.yaml" in said.err
    assert "version  1 → 2" in said.out


def test_a_repository_of_another_object_format_is_planned_under_the_same_state(
    call: Call, plan: PlanOf, settled: World, tmp_path: Path
) -> None:
    other = Repository(tmp_path / "other", object_format="sha256")
    other.commit(FILES)
    for _ in range(2):  # there and back
        assert plan().code == 0
        said = call("plan", "--repo", other.path, "--state", settled.place.root)
        assert (said.code, other.head()[:12] in said.out) == (0, True), said


def test_nothing_is_recorded_beside_a_hub_that_runs(plan: PlanOf, settled: World) -> None:
    with opened(settled.place.root) as past:
        before = past.log.head()
    with settled.hub("berlin-07"):
        settled.repository.commit({"deployments/defect.yaml": SET % "2"})
        head = settled.record.log.head()
        assert plan().code == 1
        assert settled.record.log.head() == head
    assert head.seq >= before.seq


def test_a_plan_that_would_delete_too_much_says_why_and_how_it_goes_on(plan: PlanOf, settled: World) -> None:
    settled.repository.commit({"edges/berlin-08.yaml": None})
    said = plan()
    assert said.code == 1
    assert "held: it deletes 2 of 4" in said.out
    digest = shown(plan("--output", "json"))["digest"]
    assert f"`reconciler approve {digest}`" in said.out


def test_a_plan_that_is_held_already_is_shown_with_the_same_digest(plan: PlanOf, settled: World) -> None:
    with settled.hub("berlin-07", "berlin-08"):
        settled.commit({"edges/berlin-08.yaml": None}, "Too much")
        held = settled.record.state.stage(DELIVER).held_plan
    assert held is not None
    value = shown(plan("--output", "json"))
    assert (value["digest"], value["held"]) == (held.digest, held.reason)


REFUSAL = {"error": "wrong", "code": "RX404", "phase": "Rejected", "quarantine": SHA["2"], "live": {}}


@pytest.mark.parametrize("later", [{}, {"README.md": "words\n"}, {"edges/berlin-07.yaml": None}])
def test_what_an_edge_refused_is_not_nothing_to_do(
    plan: PlanOf, settled: World, later: dict[str, str | bytes | None]
) -> None:
    with settled.hub("berlin-07", "berlin-08"):
        settled.commit({"deployments/defect.yaml": SET % "2"}, "Up")
        settled.serves("berlin-07", "2")
        settled.says("berlin-08", ev.APPLY_FAILED, REFUSAL)
    if later:
        settled.repository.commit(later)
    said = plan()
    assert said.code == 1
    note = "note: berlin-08 defect: version 2 is Rejected: RX404: wrong; it is held back: publish a new version "
    assert note in said.out
    assert "nothing to do" not in said.out
    assert [one["key"] for one in shown(plan("--output", "json"))["refused"]] == [str(key("berlin-08"))]


@pytest.mark.parametrize("later", [{}, {"README.md": "words\n"}])
def test_changes_that_wait_are_not_nothing_to_do(
    call: Call, plan: PlanOf, settled: World, later: dict[str, str | bytes | None]
) -> None:
    assert call("suspend", "--reason", "night", "--state", settled.place.root).code == 0
    with settled.hub("berlin-07", "berlin-08"):
        settled.commit({"deployments/defect.yaml": SET % "2"}, "Up")
    if later:
        settled.repository.commit(later)
    said = plan()
    assert said.code == 1
    assert "waits: suspended by" in said.out
    assert "2 waiting" in said.out


FLEET = """\
apiVersion: ai.kubeedge.io/v1alpha1
kind: Fleet
metadata: {name: fleet}
spec: {prune: {maxShare: 50%}}
"""


def test_a_fleet_that_goes_is_noted(plan: PlanOf, settled: World) -> None:
    with settled.hub("berlin-07", "berlin-08"):
        settled.commit({"fleet.yaml": FLEET}, "Allow more")
    assert "note:" not in plan().out
    settled.repository.commit({"fleet.yaml": None})
    assert "note: no Fleet is declared any more: its limits and permissions go back to the defaults" in plan().out
    assert len(shown(plan("--output", "json"))["notes"]) == 1


def test_what_follows_as_the_fleet_of_a_commit_comes_into_force_is_shown(plan: PlanOf, settled: World) -> None:
    entry = "    - {version: '3', downloadURL: https://models.example.com/defect-3.tar.gz, size: 7}\n"
    with settled.hub("berlin-07", "berlin-08"):
        settled.commit({"models/defect.yaml": MODEL + entry, "deployments/defect.yaml": SET % "3"}, "Without a digest")
    assert plan().code == 3
    fleet = FLEET.replace("prune: {maxShare: 50%}", "artifacts: {requireDigest: false}")
    settled.repository.commit({"fleet.yaml": fleet})
    said = plan()
    assert said.out.splitlines()[-1] == "plan: nothing at once; 2 to update as its Fleet comes into force"
    value = shown(plan("-o", "json"))
    assert (value["counts"], value["then"], [one["edge"] for one in value["steps"]]) == (
        {},
        {"update": 2},
        ["berlin-07", "berlin-08"],
    )
    with settled.hub("berlin-07", "berlin-08"):
        settled.turn("commit")
        orders = [e for e in settled.record.log.read() if e.event.type == ev.APPLY_INTENDED][-2:]
    assert [order.event.data["spec"]["version"] for order in orders] == ["3", "3"]


@pytest.mark.enable_socket
@pytest.mark.parametrize("why", [HubUnreachable("no Pod runs"), RightMissing("may not list pods")])
def test_a_cluster_without_a_hub_is_planned_and_says_what_is_not_known(
    call: Call, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: ReconcilerError
) -> None:
    def unheard(*_: object) -> bytes:
        raise why

    monkeypatch.setattr(remote, "basis", unheard)
    world.repository.commit(dict(FILES))
    lists = ({"kind": f"{kind}List", "metadata": {"resourceVersion": "1"}, "items": []} for kind in KEPT)
    with ScriptedServer([answer(200, body=json.dumps(one).encode()) for one in lists]) as server:
        place = ("--repo", world.repository.path, "--state", tmp_path / "state", "--context", "here")
        said = call("plan", *place, "--kubeconfig", server.kubeconfig(tmp_path))
    assert said.code == 1
    first = f"nothing is known of what a hub holds back or was told ({why.message}; no log in {tmp_path / 'state'}). "
    assert said.out.startswith(first + "Name the hub")


def test_rewritten_history_is_held(plan: PlanOf, settled: World) -> None:
    settled.repository.git("commit", "--quiet", "--amend", "-m", "Another beginning")
    settled.repository.commit({"deployments/defect.yaml": SET % "2"})
    assert "held: history was rewritten" in plan().out


def test_another_folder_is_said_with_what_it_would_change(plan: PlanOf, settled: World) -> None:
    settled.repository.commit({"b/note.yaml": "", "b/defect.yaml": SET % "2"})
    said = plan("--path", "b")
    assert "note: the source was switched from all folders to folder b" in said.out
    assert "held: it deletes 4 of 4" in said.out
    assert plan("--path", "bb").code == 2


def test_a_clone_is_planned_in_the_folder_that_is_followed(call: Call, settled: World, tmp_path: Path) -> None:
    """It is no other repository: it has the commit that was read last."""
    clone = tmp_path / "clone"
    settled.repository.git("clone", "--quiet", ".", str(clone))
    said = call("plan", "--repo", clone, "--state", settled.place.root)
    assert (said.code, "switched" in said.out) == (0, False)


def test_the_repository_is_the_work_tree_that_it_is_called_in(
    call: Call, settled: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(settled.repository.path)
    assert call("plan", "--state", settled.place.root).code == 0
    monkeypatch.chdir(tmp_path)
    said = call("plan", "--state", settled.place.root)
    assert said.code == 2
    assert "which repository?" in said.err


def test_bytes_of_one_digest_are_fetched_once_by_an_edge() -> None:
    from reconciler.cli.plan import fetched

    def step(edge: str, sha: str, size: int | None, waits: str = "") -> Step:
        return Step(key(edge), "create", {"sha256": sha}, {}, (), "", fetch_bytes=size, waits=waits)

    steps = (step("a", "x", 10), step("a", "x", 10), step("a", "y", 5), step("b", "x", None), step("c", "x", 9, "held"))
    assert fetched(Plan(steps)) == {"a": 15, "b": None}


@pytest.mark.enable_socket
@pytest.mark.parametrize(("code", "ends"), [(200, 1), (503, 4)])
def test_a_plan_for_a_cluster_ends_every_connection_that_it_opened(
    call: Call, world: World, tmp_path: Path, code: int, ends: int
) -> None:
    world.repository.commit(dict(FILES))
    lists = ({"kind": f"{kind}List", "metadata": {"resourceVersion": "1"}, "items": []} for kind in KEPT)
    with ScriptedServer([answer(code, body=json.dumps(one).encode()) for one in lists]) as server:
        place = ("--repo", world.repository.path, "--state", tmp_path / "state")
        said = call("plan", *place, "--kubeconfig", server.kubeconfig(tmp_path))
        assert said.code == ends
        assert server.connections == 1
        assert server.left_open() == 0


def test_an_edge_that_takes_no_orders_is_said_though_nothing_is_planned_for_it() -> None:
    state = State(edges={"e1": EdgeSeen(refusal="an older copy"), "e2": EdgeSeen()})
    ahead = cast("Preview", SimpleNamespace(loses_policy=False, state=state, remarks=tuple))
    assert list(_notes(ahead)) == ["e1 takes no orders from this log: an older copy"]


def test_what_stays_of_an_object_is_named_with_whose_it_is() -> None:
    kept = {"mutated": {"spec.replicas": [1, 3, "helm"]}}
    keys = {f"InferenceModel/default/m{n:02}": Served(operation="o", live=kept) for n in range(12)}
    ahead = cast(
        "Preview",
        SimpleNamespace(loses_policy=False, state=State(stages={DECLARE: StageState(keys=keys)}), remarks=tuple),
    )
    *named, rest = _notes(ahead)
    assert named[0] == "InferenceModel/default/m00: spec.replicas stays 3, which is helm's; Git says 1"
    assert (len(named), rest) == (10, "and 2 objects more of which something stays: `reconciler status`")


def test_what_is_fought_over_is_said_though_nothing_is_planned_for_it() -> None:
    until = "2999-01-01T00:00:00.000000Z"
    model = Served(operation="o", phase="Committed", fought=until, message="kubectl and reconciler fight over it")
    keys = {"InferenceModel/default/a": model, "InferenceModel/default/b": Served(operation="o")}
    state = State(stages={DECLARE: StageState(keys=keys)})
    ahead = cast("Preview", SimpleNamespace(loses_policy=True, state=state, remarks=tuple))
    assert list(_notes(ahead)) == [
        NO_POLICY,
        (
            "InferenceModel/default/a is left as it is: kubectl and reconciler fight over it, "
            "left alone until 2999-01-01T00:00:00Z"
        ),
    ]


FROZEN = """\
apiVersion: ai.kubeedge.io/v1alpha1
kind: Fleet
metadata: {name: fleet}
spec:
  freeze: [{from: 2020-01-01, until: 2099-01-01, reason: the shops are full}]
"""


def test_each_commit_is_planned_by_the_policy_of_the_one_before_it(plan: PlanOf, settled: World) -> None:
    settled.repository.commit({"fleet.yaml": FROZEN})
    settled.repository.commit({"deployments/defect.yaml": SET % "2"})
    said = plan()
    assert said.out.count("waits: frozen until 2099-01-02") == 2
    assert "plan: 2 waiting" in said.out


def test_what_came_before_a_freeze_is_planned_without_it(plan: PlanOf, settled: World) -> None:
    settled.repository.commit({"deployments/defect.yaml": SET % "2"})
    settled.repository.commit({"fleet.yaml": FROZEN})
    settled.repository.commit({"README.md": "later"})
    said = plan()
    assert "2 to update" in said.out
    assert "waits" not in said.out
