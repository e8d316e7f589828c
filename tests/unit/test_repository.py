"""The followed branch as declared objects, from real commits: what each reading says, and what stays as it was."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.diagnostics import BLOCKS_PRUNING
from reconciler.errors import GitUnavailable, HistoryError
from reconciler.history import events as ev
from reconciler.history.keys import DELIVER
from reconciler.model.identity import Identity
from reconciler.planning.declared import Object
from reconciler.sources.cache import DocumentCache
from reconciler.sources.git_safety import Remote
from reconciler.sources.mirror import Mirror
from reconciler.sources.repository import DocumentRepository
from reconciler.stages.git import Reading
from tests.fleets import sha
from tests.git_repository import Repository
from tests.stations import HubStation, types

HEAD = "apiVersion: ai.kubeedge.io/v1alpha1\n"


def edge(name: str, labels: str = "") -> str:
    return f"{HEAD}kind: Edge\nmetadata:\n  name: {name}\n  labels: {{{labels}}}\nspec: {{}}\n"


def listed(*texts: str) -> str:
    """The same as a List."""
    items = "".join(f"- {text.rstrip()}\n".replace("\n", "\n  ").rstrip(" ") for text in texts)
    return f"apiVersion: v1\nkind: List\nitems:\n{items}"


def model(name: str, port: int = 8080, **digests: str) -> str:
    rows = "".join(
        f"    - {{version: '{version[1:]}', downloadURL: 'https://m.example.com/{name}', sha256sum: {digest}}}\n"
        for version, digest in (digests or {"v1": sha(name)}).items()
    )
    return (
        f"{HEAD}kind: InferenceModel\nmetadata:\n  name: {name}\nspec:\n  modelName: {name}\n  deployToLayer: edge\n"
        f"  frameworkType: onnx\n  nodeName: e1\n  servingPort: {port}\n  manifest:\n{rows}  targetVersion: '1'\n"
    )


class Followed:
    """A hub that follows a repository which a test commits to."""

    def __init__(self, place: Path) -> None:
        self.place, self.git = place, Repository(place / "git")
        self.hub = HubStation()
        self.documents = self.reopened()

    def reopened(self, cache: str = "cache.db") -> DocumentRepository:
        mirror = Mirror(self.place / "mirror", Remote.parse(str(self.git.path)))
        self.documents = DocumentRepository(
            mirror, self.hub.state, self.hub.log.blob, DocumentCache(self.place / cache)
        )
        self.hub.follow(self.documents)
        return self.documents

    def push(self, files: Mapping[str, str | bytes | None], message: str = "Change") -> list[Any]:
        """Commit files, and have the hub see it; what it appended."""
        self.git.commit(files, message)
        return self.hub.turn("commit")

    def declared(self) -> set[str]:
        """Kind/name of every declared object."""
        kinds = ("Edge", "InferenceModel", "InferenceModelSet", "Model", "Dataset", "Fleet")
        return {f"{obj.kind}/{obj.name}" for kind in kinds for obj in self.documents.declared.of_kind(kind)}

    def problems(self) -> dict[str, list[str]]:
        """Slot -> `code line` of each problem in force."""
        return {
            slot: [f"{one['code']} {one.get('line', 0)}" for one in group]
            for slot, group in self.hub.state.problems.items()
        }

    def get(self, kind: str, name: str) -> Object:
        found = self.documents.declared.get(Identity(kind, "" if kind in {"Edge", "Fleet"} else "default", name))
        assert found is not None
        return found


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


def test_what_a_commit_declares_is_read_with_the_place_of_everything(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1") + "---\n" + model("m"), "README.md": "not ours"})
    assert followed.declared() == {"Edge/e1", "InferenceModel/m"}
    found = followed.get("InferenceModel", "m")
    assert (found.place("targetVersion"), found.index) == ("a.yaml:20", 1)
    assert list(followed.hub.state.files) == ["a.yaml"]
    oid = followed.hub.state.files["a.yaml"]
    assert followed.hub.state.documents == {"a.yaml": [f"{oid}#0", f"{oid}#1"]}
    assert followed.hub.log.blob(oid) == (edge("e1") + "---\n" + model("m")).encode()


def test_an_unmoved_branch_is_nothing_to_read(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1")})
    assert followed.documents.reading()() is None


def test_a_change_parses_its_file_and_names_what_differs(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": edge("e2") + "---\n" + edge("e3")})
    followed.git.commit({"b.yaml": "\n# a comment moves every line\n" + edge("e2") + "---\n" + edge("e3", "site: x")})
    reading = followed.documents.reading()()
    assert isinstance(reading, Reading)
    assert (reading.parsed, reading.changed) == (2, frozenset({Identity("Edge", "", "e3")}))
    assert list(reading.blobs) == [followed.git.git("rev-parse", "HEAD:b.yaml")]


def test_an_object_that_moves_between_files_stays_what_it_was(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m")})
    entries = followed.push({"b.yaml": None, "c/d.yaml": model("m")})
    assert types(entries) == [ev.REF_ADVANCED, ev.CHANGE_PLANNED]
    assert followed.get("InferenceModel", "m").path == "c/d.yaml"


def test_fault_68_one_broken_file_freezes_its_objects_only_and_every_problem_is_shown_at_once(
    followed: Followed,
) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m"), "c.yaml": model("p", 9000)})
    broken = {
        "b.yaml": model("m").replace("servingPort: 8080", "servingPort: 70000"),
        "c.yaml": model("p", 9000).replace("targetVersion: '1'", "targetVersion: '7'"),
        "d.yaml": model("o", 9001),
    }
    entries = followed.push(broken)
    assert followed.problems() == {"b.yaml": ["RX213 10"], "c.yaml": ["RX215 13"]}
    assert followed.hub.orders(entries) == {"InferenceModel/default/o@e1": "create 1"}
    assert followed.get("InferenceModel", "m").spec["servingPort"] == 8080
    followed.push({"b.yaml": model("m", 9002)})
    assert followed.problems() == {"c.yaml": ["RX215 13"]}
    assert followed.hub.mine.served("InferenceModel/default/m@e1").order["port"] == 9002


def test_a_file_that_cannot_be_parsed_keeps_all_it_declared_and_blocks_pruning(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m"), "c.yaml": model("p", 9000)})
    entries = followed.push({"b.yaml": "kind: [unclosed", "c.yaml": None})
    assert followed.hub.orders(entries) == {}
    assert followed.declared() == {"Edge/e1", "InferenceModel/m"}
    assert "InferenceModel/default/p@e1" in followed.hub.mine.keys  # it vanished in a commit that cannot be read
    assert followed.hub.orders(followed.hub.turn("audit")) == {}
    assert followed.hub.orders(followed.push({"b.yaml": model("m")})) == {"InferenceModel/default/p@e1": "delete"}


def test_a_document_without_a_readable_name_leaves_its_place_as_it_was(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m") + "---\n" + model("p", 9000)})
    followed.push({"b.yaml": model("m").replace("name: m\n", "name: M_\n", 1) + "---\n" + model("p", 9001)})
    assert followed.declared() == {"Edge/e1", "InferenceModel/m", "InferenceModel/p"}
    assert followed.hub.mine.served("InferenceModel/default/p@e1").order["port"] == 9001


def test_an_unreadable_document_does_not_bring_back_what_moved_from_its_place(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m") + "---\n" + model("p", 9000)})
    entries = followed.push({"b.yaml": model("p", 9001) + "---\n" + model("m").replace("name: m\n", "name: M_\n", 1)})
    assert followed.hub.orders(entries) == {"InferenceModel/default/p@e1": "update 1"}
    assert followed.get("InferenceModel", "p").spec["servingPort"] == 9001
    assert "InferenceModel/default/m@e1" in followed.hub.mine.keys  # nothing is pruned meanwhile


MISTYPED = model("m").replace("servingPort: 8080", "servingPort: 70000")
NAMELESS = model("m").replace("name: m\n", "name: M_\n", 1)


@pytest.mark.parametrize(
    "moved",
    [
        {"c/m.yaml": MISTYPED},
        {"c/m.yaml": model("m") + "  replicaz: 3\n"},
        {"c/m.yaml": model("m", v1=sha("other bytes under the same version"))},
        {"a.yaml": edge("e1") + "---\n" + MISTYPED},
        {"c/m.yaml": MISTYPED, "d/m.yaml": MISTYPED},
        {"c/m.yaml": model("m", 9000), "d/m.yaml": model("m", 9001)},
        {"c/m.yaml": MISTYPED, "d/m.yaml": model("m", 9001)},
        {"c/m.yaml": "kind: [unclosed"},
        {"c/m.yaml": b"\xff\xfe\x00"},
        {"c/m.yaml": NAMELESS},
        {"c/m.yaml": model("m").replace("kind: InferenceModel", "kind: InferrenceModel")},
    ],
)
def test_what_is_moved_and_refused_in_one_commit_stays_as_it_was(
    followed: Followed, moved: Mapping[str, str | bytes]
) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m")})
    entries = followed.push({"b.yaml": None, **moved})
    assert followed.hub.orders(entries) == {}
    assert followed.problems() != {}
    assert followed.hub.orders(followed.hub.turn("audit")) == {}
    order = dict(followed.hub.state.stage(DELIVER).known("InferenceModel/default/m@e1").order)
    followed.reopened("none-yet.db")
    assert followed.hub.orders(followed.hub.turn("audit")) == {}
    places: dict[str, str | bytes | None] = dict.fromkeys(set(moved) - {"a.yaml"})
    mended = {**places, "a.yaml": edge("e1"), "e/m.yaml": model("m")}
    assert followed.hub.orders(followed.push(mended)) == {}
    assert (followed.problems(), followed.get("InferenceModel", "m").path) == ({}, "e/m.yaml")
    assert followed.hub.state.stage(DELIVER).known("InferenceModel/default/m@e1").order == order
    assert followed.hub.orders(followed.push({"e/m.yaml": None})) == {"InferenceModel/default/m@e1": "delete"}


def test_what_was_moved_and_refused_goes_when_its_new_place_goes(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m")})
    followed.push({"b.yaml": None, "c.yaml": MISTYPED})
    assert followed.hub.orders(followed.push({"c.yaml": None, "d.yaml": MISTYPED})) == {}
    assert followed.get("InferenceModel", "m").path == "d.yaml"
    assert followed.hub.orders(followed.push({"d.yaml": None})) == {"InferenceModel/default/m@e1": "delete"}
    assert followed.problems() == {}


def test_an_edge_that_is_moved_and_mistyped_keeps_its_models_and_its_pins(followed: Followed) -> None:
    pinned = edge("e1").replace("spec: {}", "spec: {address: 127.0.0.9}")
    followed.push({"a.yaml": pinned, "b.yaml": model("m")})
    assert followed.hub.orders(followed.push({"a.yaml": None, "c.yaml": pinned.replace("address", "adress")})) == {}
    assert followed.get("Edge", "e1").spec["address"] == "127.0.0.9"


@pytest.mark.parametrize("broken", ["spec: {freeze: 3}\n", "spec: [unclosed", "kind: [unclosed"])
def test_a_fleet_that_is_moved_and_broken_stays_in_force(followed: Followed, broken: str) -> None:
    head = f"{HEAD}kind: Fleet\nmetadata: {{name: fleet}}\n"
    window = "{from: '2027-01-01T00:00:00Z', until: '2027-02-01T00:00:00Z', reason: shops}"
    followed.push({"fleet.yaml": f"{head}spec: {{freeze: [{window}]}}\n", "a.yaml": edge("e1"), "b.yaml": model("m")})
    followed.push({"fleet.yaml": None, "c/fleet.yaml": broken if "kind" in broken else head + broken})
    assert followed.hub.orders(followed.push({"b.yaml": model("m", 9000)})) == {}
    assert followed.hub.state.fleet["freeze"]


def test_fault_118_an_object_declared_twice_is_frozen_and_both_places_are_named(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m")})
    entries = followed.push({"c.yaml": model("m", 9000)})
    assert followed.hub.orders(entries) == {}
    ((problem,),) = followed.hub.state.problems.values()
    assert (problem["code"], problem["path"]) == ("RX214", "c.yaml")
    assert "b.yaml:1" in problem["message"]
    assert problem["notes"] == [BLOCKS_PRUNING]
    assert followed.hub.orders(followed.push({"b.yaml": model("m", 9001)})) == {}  # both claim it now
    assert followed.problems().keys() == {"b.yaml", "c.yaml"}
    entries = followed.push({"b.yaml": None})
    assert followed.hub.orders(entries) == {"InferenceModel/default/m@e1": "update 1"}
    assert (followed.problems(), followed.get("InferenceModel", "m").path) == ({}, "c.yaml")


@pytest.mark.parametrize("is_list", [False, True])
@pytest.mark.parametrize("is_one_file", [False, True])
def test_what_becomes_a_second_declaration_of_another_keeps_what_it_declared(
    followed: Followed, is_one_file: bool, is_list: bool
) -> None:
    def files(second: str) -> dict[str, str | bytes | None]:
        texts = [model("m"), model(second, 9000), model("o", 9001)]
        if not is_one_file:
            return {f"{n}.yaml": listed(text) if is_list else text for n, text in enumerate(texts)}
        return {"all.yaml": listed(*texts) if is_list else "---\n".join(texts)}

    followed.push({"a.yaml": edge("e1"), **files("p")})
    entries = followed.push({"a.yaml": edge("e1") + "# more\n", **files("m")})
    assert followed.hub.orders(entries) == {}
    assert followed.declared() == {"Edge/e1", "InferenceModel/m", "InferenceModel/o", "InferenceModel/p"}
    assert {problem["code"] for problem in followed.hub.state.all_problems} == {"RX214"}
    assert followed.hub.orders(followed.hub.turn("audit")) == {}
    followed.reopened("none-yet.db")
    assert followed.hub.orders(followed.push({"b.yaml": edge("e2")})) == {}  # and it is looked at again
    assert followed.hub.orders(
        followed.push({"c.yaml": model("p", 9002)})
    ) == {  # claimed elsewhere, it is no longer kept
        "InferenceModel/default/p@e1": "update 1"
    }
    assert followed.hub.orders(followed.push({"c.yaml": None})) == {}
    assert followed.hub.orders(followed.push(files("p"))) == {"InferenceModel/default/p@e1": "update 1"}
    assert followed.problems() == {}


def test_declared_twice_nothing_is_pruned_until_one_is_gone(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "m.yaml": model("m"), "p.yaml": model("p", 9000), "o.yaml": model("o", 9001)})
    entries = followed.push({"p.yaml": model("m"), "o.yaml": None})
    assert followed.hub.orders(entries) == {}
    assert followed.hub.mine.held_plan is None
    followed.push({"m.yaml": None})
    assert followed.problems() == {}
    assert followed.hub.mine.held_plan is not None  # they go, as far as the limits let them
    assert followed.hub.mine.held_plan.counts == {"delete": 2}


def test_a_version_keeps_its_digest_for_ever(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m", v1=sha("one"))})
    entries = followed.push({"b.yaml": model("m", v1=sha("another"))})
    assert followed.hub.orders(entries) == {}
    assert followed.problems() == {"b.yaml": ["RX221 12"]}
    entries = followed.push(
        {"b.yaml": model("m", v1=sha("one"), v2=sha("two")).replace("Version: '1'", "Version: '2'")}
    )
    assert followed.hub.orders(entries) == {"InferenceModel/default/m@e1": "update 2"}
    assert followed.problems() == {}


def test_fault_49_a_head_older_than_before_is_rewritten_history(followed: Followed) -> None:
    first = followed.git.commit({"a.yaml": edge("e1"), "b.yaml": model("m")})
    followed.hub.turn("commit")
    followed.push({"b.yaml": model("m", 9000)})
    followed.git.reset(first)
    entries = followed.hub.turn("commit")
    assert types(entries) == [ev.REF_REWRITTEN, ev.REF_ADVANCED, ev.CHANGE_PLANNED]
    held = followed.hub.mine.held_plan
    assert held is not None
    assert followed.hub.orders(followed.hub.verb("approve", digest=held.digest)) == {
        "InferenceModel/default/m@e1": "update 1"
    }
    assert followed.hub.state.ref.accepted == first


def test_fault_49_a_force_push_whose_old_commit_is_gone_is_told_by_what_the_log_knows(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m")})
    other = Repository(followed.place / "other")
    other.commit({"a.yaml": edge("e1"), "c.yaml": model("p", 9000)})
    followed.git.git("fetch", "--quiet", str(other.path), "+main:incoming", env={"GIT_ALLOW_PROTOCOL": "file"})
    followed.git.reset("incoming")
    followed.git.git("reflog", "expire", "--expire=now", "--all")
    followed.git.git("gc", "--quiet", "--prune=now")
    shutil.rmtree(followed.place / "mirror")  # begun afresh: the old commit is nowhere
    followed.reopened()
    entries = followed.hub.turn("commit")
    assert types(entries)[0] == ev.REF_REWRITTEN
    held = followed.hub.mine.held_plan
    assert held is not None
    assert held.counts == {"create": 1, "delete": 1}


def test_fault_50_a_branch_that_is_gone_prunes_nothing_and_comes_back(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m")})
    followed.git.git("branch", "-m", "main", "renamed")
    with pytest.raises(GitUnavailable, match="no branch main"):
        followed.documents.reading()()
    assert followed.declared() == {"Edge/e1", "InferenceModel/m"}
    assert ev.APPLY_INTENDED not in types(followed.hub.turn("commit"))  # said, and tried again later
    followed.git.git("branch", "-m", "renamed", "main")
    assert followed.documents.reading()() is None


def test_fault_55_every_commit_between_two_looks_has_its_files_and_facts(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1")})
    commits = [followed.git.commit({"b.yaml": model("m", 9000 + n)}, f"Change {n}") for n in range(3)]
    entries = followed.hub.turn("commit")
    advanced = [entry.event for entry in entries if entry.event.type == ev.REF_ADVANCED]
    assert [event.gitcommit for event in advanced] == commits
    assert [event.data["subject"] for event in advanced] == ["Change 0", "Change 1", "Change 2"]
    for event in advanced:
        ((path, oid),) = event.data["files"].items()
        assert path == "b.yaml"
        assert followed.hub.log.blob(oid) is not None
    assert followed.hub.orders(entries) == {"InferenceModel/default/m@e1": "create 1"}
    assert followed.hub.mine.served("InferenceModel/default/m@e1").order["port"] == 9002


def test_fault_56_a_revert_and_its_revert_are_known_by_their_blobs(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m")})
    good = followed.git.head()
    followed.push({"b.yaml": model("m", 9000)})
    changed = followed.git.head()
    followed.git.revert()
    (back, *_) = followed.hub.turn("commit")
    assert back.event.data["reverts"] == good
    assert followed.hub.mine.served("InferenceModel/default/m@e1").order["port"] == 8080
    followed.git.revert()
    (again, *_) = followed.hub.turn("commit")
    assert again.event.data["reverts"] == changed
    (ordinary, *_) = followed.push({"b.yaml": model("m", 9001)}, 'Revert "nothing of the kind"')
    assert "reverts" not in ordinary.event.data


def test_fault_56_a_merge_has_both_parents_and_orders_once(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m")})
    followed.git.git("checkout", "--quiet", "-b", "side")
    followed.git.commit({"c.yaml": model("p", 9000)})
    followed.git.git("checkout", "--quiet", "main")
    followed.git.commit({"b.yaml": model("m", 9001)})
    followed.git.git("merge", "--quiet", "--no-edit", "side")
    entries = followed.hub.turn("commit")
    merge = [entry.event for entry in entries if entry.event.type == ev.REF_ADVANCED][-1]
    assert len(merge.data["parents"]) == 2
    assert followed.hub.orders(entries) == {
        "InferenceModel/default/m@e1": "update 1",
        "InferenceModel/default/p@e1": "create 1",
    }
    assert len([entry for entry in entries if entry.event.type == ev.APPLY_INTENDED]) == 2


# ── after a restart ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cache", ["cache.db", "none-yet.db"])
def test_a_restart_declares_the_same_from_the_log_with_and_without_a_cache(followed: Followed, cache: str) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m"), "copy.yaml": edge("e2")})
    followed.push({"b.yaml": "kind: [unclosed", "copy.yaml": None, "moved.yaml": edge("e2")})
    before = followed.documents.declared
    after = followed.reopened(cache).declared
    assert followed.declared() == {"Edge/e1", "Edge/e2", "InferenceModel/m"}
    for kind in ("Edge", "InferenceModel"):
        assert list(after.of_kind(kind)) == list(before.of_kind(kind))
    assert followed.documents.reading()() is None


def test_what_the_log_cannot_give_back_is_not_taken_for_gone(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "b.yaml": model("m")})
    del followed.hub.log._blobs[followed.hub.state.files["b.yaml"]]
    with pytest.raises(HistoryError, match=r"b\.yaml: what was declared there last"):
        followed.reopened("none-yet.db")


@pytest.mark.parametrize("damage", [b"no database", b""])
def test_a_damaged_cache_begins_anew(followed: Followed, damage: bytes) -> None:
    followed.push({"a.yaml": edge("e1")})
    (followed.place / "bad.db").write_bytes(damage)
    followed.reopened("bad.db")
    assert followed.declared() == {"Edge/e1"}
    assert DocumentCache(followed.place / "bad.db").load([followed.hub.state.files["a.yaml"]]) != {}


# ── where a reading ends ──────────────────────────────────────────────────────────────────────────────────────────────


def limits(number: int, comment: str = "") -> str:
    return f"{HEAD}{comment}kind: Fleet\nmetadata:\n  name: fleet\nspec:\n  prune: {{maxDeletes: {number}}}\n"


def readings(followed: Followed) -> list[Reading]:
    """What is new in the branch, as it is taken up one after the other."""
    found = []
    while (reading := followed.documents.reading()()) is not None:
        found.append(reading)
        events = [followed.hub.hub.git._ref_advanced(reading, n) for n in range(len(reading.commits))]
        followed.hub.record.append(events)
        followed.documents.adopt(reading)
    return found


def test_a_reading_ends_at_a_commit_that_changes_the_policy_and_says_what_changes_again_behind_it(
    followed: Followed,
) -> None:
    followed.push({"a.yaml": edge("e1"), "fleet.yaml": limits(3)})
    first = followed.git.commit({"a.yaml": edge("e1", "x: y"), "b.yaml": edge("e2")})
    policy = followed.git.commit({"fleet.yaml": limits(4)})
    followed.git.commit({"a.yaml": edge("e1", "x: z")})
    other = followed.git.commit({"fleet.yaml": None, "c/other.yaml": limits(5)})
    last = followed.git.commit({"b.yaml": None})
    found = readings(followed)
    assert [one.commits[-1].commit for one in found] == [policy, other, last]
    assert [len(one.commits) for one in found] == [2, 2, 1]
    assert found[0].commits[0].commit == first
    # what stands in a file that changes again is left to what is read next
    assert [sorted(map(str, one.later)) if one.later is not None else None for one in found] == [
        ["Edge//e1", "Edge//e2", "Fleet//fleet"],
        ["Edge//e2"],
        None,
    ]


@pytest.mark.parametrize("word", ["# of the Fleet\n", ""])
def test_what_only_speaks_of_the_policy_ends_no_reading(followed: Followed, word: str) -> None:
    followed.push({"a.yaml": edge("e1"), "fleet.yaml": limits(3)})
    followed.git.commit({"fleet.yaml": limits(3, word), "a.yaml": "# Fleet\n" + edge("e1")})
    followed.git.commit({"a.yaml": edge("e1", "x: y")})
    assert [one.later for one in readings(followed)] == [None]


def test_a_policy_that_comes_by_a_merge_is_that_of_the_merge(followed: Followed) -> None:
    followed.push({"a.yaml": edge("e1"), "fleet.yaml": limits(3)})
    followed.git.git("checkout", "--quiet", "-b", "topic")
    followed.git.commit({"fleet.yaml": limits(4)})
    followed.git.commit({"b.yaml": edge("e2")})
    followed.git.git("checkout", "--quiet", "main")
    followed.git.git("merge", "--quiet", "--no-ff", "--no-edit", "topic")
    merge = followed.git.head()
    followed.git.commit({"a.yaml": edge("e1", "x: y")})
    assert [one.commits[-1].commit == merge for one in readings(followed)] == [True, False]


def test_a_first_commit_and_rewritten_history_are_read_whole(followed: Followed) -> None:
    for number in (1, 2, 3):
        followed.git.commit({"fleet.yaml": limits(number)})
    assert [one.later for one in readings(followed)] == [None]
