"""What is followed is part of the state: another source is read as a whole, one that goes away deletes nothing."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import GitUnavailable, SourceMissing
from reconciler.history import events as ev
from reconciler.history.keys import Key
from reconciler.history.state import HeldPlan, Ref
from reconciler.sources.cache import DocumentCache
from reconciler.sources.git_safety import Remote
from reconciler.sources.mirror import Mirror
from reconciler.sources.repository import DocumentRepository
from reconciler.stages.git import Reading
from tests.git_repository import Repository
from tests.stations import HubStation, types
from tests.unit.test_repository import HEAD, edge, model


def fleet(share: str = "10%") -> str:
    return f"{HEAD}kind: Fleet\nmetadata: {{name: fleet}}\nspec: {{prune: {{maxDeletes: 50, maxShare: '{share}'}}}}\n"


def place(folder: str, *names: str, share: str = "10%", port: int = 9000) -> dict[str, str]:
    """A folder with an edge, a policy and models by these names."""
    models = {f"{folder}/{name}.yaml": model(name, port + n) for n, name in enumerate(names)}
    return {f"{folder}/edge.yaml": edge("e1"), f"{folder}/fleet.yaml": fleet(share), **models}


class Followed:
    """A hub of one log, which a test restarts at whatever source it names."""

    def __init__(self, home: Path) -> None:
        self.home, self.hub = home, HubStation()
        self.git = Repository(home / "git")
        self.seen: list[Reading | None] = []

    def follow(self, path: str = "", branch: str = "main", repo: Path | None = None) -> list[Any]:
        """What a hub that starts with these settings appends, until it is at rest."""
        self.hub = self.hub.again()
        mirror = Mirror(self.home / "mirror", Remote.parse(str(repo or self.git.path)), branch)
        cache = DocumentCache(self.home / "cache.db")
        self.documents = DocumentRepository(mirror, self.hub.state, self.hub.log.blob, cache, path)
        self.hub.follow(self.documents)
        return self.hub.turn("start")

    def look(self, files: Mapping[str, str | None] | None = None) -> list[Any]:
        """What the hub appends as it looks at the branch, after a commit of these files."""
        if files is not None:
            self.git.commit(files)
        return self.hub.turn("commit")

    @property
    def ref(self) -> Ref:
        return self.hub.state.ref

    @property
    def held(self) -> HeldPlan:
        assert self.hub.mine.held_plan is not None
        return self.hub.mine.held_plan

    @property
    def ordered(self) -> set[str]:
        """Names of what is ordered and not ordered to go."""
        return {Key.parse(key).name for key, one in self.hub.mine.keys.items() if one.action != "delete"}

    def approve(self) -> None:
        self.hub.verb("approve", digest=self.held.digest)


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


# ── a switch ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_another_folder_of_the_same_commit_is_read_as_a_whole(followed: Followed) -> None:
    followed.git.commit({**place("a", "m", "p"), **place("b", "m", "o", port=9100)})
    followed.follow("a")
    assert followed.ordered == {"m", "p"}
    entries = followed.follow("b")
    assert types(entries)[:2] == [ev.REF_ADVANCED, ev.CHANGE_PLANNED]
    assert followed.hub.state.problems == {}
    assert sorted(followed.hub.orders(entries).values()) == ["create 1", "delete", "update 1"]
    assert followed.ref.source["path"] == "b"
    assert set(followed.hub.state.files) == set(followed.hub.state.documents)
    assert {path.split("/")[0] for path in followed.hub.state.files} == {"b"}
    assert followed.ref.is_accepted
    assert followed.hub.again().turn("start") == []


def test_what_another_folder_lacks_is_held_beyond_the_limits_and_the_switch_is_named(followed: Followed) -> None:
    followed.git.commit({**place("a", *"abcde"), **place("b", "a", share="100%")})
    followed.follow("a")
    followed.follow("b")
    assert followed.held.counts == {"delete": 4}
    assert followed.held.reason.startswith("it deletes 4 of 5")
    assert followed.held.reason.endswith("; the source was switched from folder a to folder b")
    assert followed.ordered == set("abcde")
    assert followed.hub.state.fleet["prune"]["maxShare"] == "10%"
    followed.follow("a")  # taken back
    assert followed.hub.mine.held_plan is None
    assert followed.ref.is_accepted
    followed.follow("b")
    followed.approve()
    assert (followed.ordered, followed.hub.state.fleet["prune"]["maxShare"]) == ({"a"}, "100%")


def test_a_switch_that_was_read_and_not_planned_is_planned_at_the_next_start(followed: Followed) -> None:
    followed.git.commit({**place("a", "m"), **place("b", "m", port=9100, share="20%")})
    followed.follow("a")
    before = followed.hub.log.head().seq
    followed.follow("b")
    read = next(one for one in followed.hub.log.read(before) if one.event.type == ev.REF_ADVANCED)
    cut = Followed(followed.home / "cut")
    cut.git = followed.git
    cut.follow("a")
    blobs = {oid: followed.hub.log.blob(oid) or b"" for oid in read.event.data["files"].values() if oid}
    cut.hub.log.put_blobs(blobs)
    cut.hub.record.append([read.event])  # and here it is killed
    entries = cut.follow("b")
    assert list(cut.hub.orders(entries).values()) == ["update 1"]
    assert cut.ref.is_accepted
    assert cut.hub.state.fleet["prune"]["maxShare"] == "20%"


def test_a_folder_that_is_renamed_with_its_setting_orders_nothing(followed: Followed) -> None:
    followed.look(place("a", "m", "p"))
    followed.follow("a")
    followed.git.git("mv", "a", "fleets")
    followed.git.commit(
        {"fleets/p.yaml": "apiVersion: ai.kubeedge.io/v1alpha1\nkind: [\n", "between.yaml": edge("e9")},
        "Renamed, one broken",
    )
    followed.git.commit({"between.yaml": None})
    entries = followed.follow("fleets")
    assert followed.hub.orders(entries) == {}
    assert followed.ordered == {"m", "p"}  # what was good last stands, wherever it stood
    assert not any(one["code"] == "RX214" for one in followed.hub.state.all_problems)
    assert [one.event.gitcommit for one in entries if one.event.type == ev.REF_ADVANCED] == [
        followed.git.git("rev-parse", "HEAD~1"),
        followed.git.head(),
    ]
    followed.look({"fleets/p.yaml": model("p", 9001)})
    assert followed.hub.state.problems == {}
    assert set(followed.hub.state.files) == set(place("fleets", "m", "p"))


def test_another_branch_is_in_force_and_no_rewritten_history(followed: Followed) -> None:
    followed.git.commit(place("a", "m"))
    followed.git.git("switch", "--quiet", "-c", "prod")
    followed.git.commit({"a/m.yaml": model("m", 9200)})
    followed.git.git("switch", "--quiet", "main")
    followed.git.commit({"a/m.yaml": model("m", 9300)})
    followed.follow()
    entries = followed.follow(branch="prod")
    assert list(followed.hub.orders(entries).values()) == ["update 1"]
    assert ev.REF_REWRITTEN not in types(entries)
    entries = followed.follow(branch="main")
    assert list(followed.hub.orders(entries).values()) == ["update 1"]
    followed.git.git("commit", "--quiet", "--amend", "-m", "Forced")
    followed.look({"a/p.yaml": model("p", 9005)})
    assert "history was rewritten" in followed.held.reason


def test_a_repository_that_moved_with_its_history_is_the_same(followed: Followed) -> None:
    followed.git.commit(place("a", "m"))
    followed.follow()
    moved = Path(shutil.move(followed.git.path, followed.home / "elsewhere"))
    entries = followed.follow(repo=moved)
    assert types(entries) == [ev.REF_ADVANCED, ev.CHANGE_PLANNED]
    assert followed.ref.source["repo"] == str(moved)
    assert followed.follow(repo=moved) == []


def test_a_repository_that_lags_behind_what_was_applied_is_held(followed: Followed) -> None:
    followed.git.commit(place("a", "m"))
    followed.git.git("clone", "--quiet", "--bare", ".", str(followed.home / "lagging"))
    followed.git.commit({"a/m.yaml": model("m", 9400)})
    followed.follow()
    entries = followed.follow(repo=followed.home / "lagging")
    assert followed.hub.orders(entries) == {}
    assert followed.held.reason.startswith("the source was switched from ")
    assert followed.held.reason.endswith(", which was accepted last, is not in it")


def test_an_unrelated_repository_is_held_until_approved_and_costs_one_commit(followed: Followed) -> None:
    followed.git.commit(place("a", "m"))
    followed.follow()
    other = Repository(followed.home / "other")
    for n in range(5):
        other.commit({"a/note": str(n), **place("a", "m", "x", port=9100 + n)})
    entries = followed.follow(repo=other.path)
    assert followed.hub.orders(entries) == {}
    assert types(entries)[:2] == [ev.REF_REWRITTEN, ev.REF_ADVANCED]
    assert types(entries).count(ev.REF_ADVANCED) == 1
    assert "history was rewritten" not in followed.held.reason
    assert f"{other.path} (a second fleet needs a state directory of its own: --state DIR" in followed.held.reason
    followed.approve()
    assert followed.ordered == {"m", "x"}
    assert followed.ref.is_accepted


def test_a_log_of_before_sources_were_kept_is_compared_once(followed: Followed) -> None:
    followed.git.commit(place("a", "m"))
    followed.follow("a")
    followed.ref.source = {}
    mirror = Mirror(followed.home / "mirror", Remote.parse(str(followed.git.path)))
    cache = DocumentCache(followed.home / "cache.db")
    documents = DocumentRepository(mirror, followed.hub.state, followed.hub.log.blob, cache, "a")
    reading = documents.reading()()
    assert reading is not None
    assert (reading.parsed, dict(reading.files), reading.rewritten_from) == (0, {}, "")
    followed.hub.follow(documents)
    assert followed.hub.orders(followed.look()) == {}
    assert followed.ref.source["path"] == "a"
    assert followed.look() == []


def test_another_source_that_declares_nothing_is_held_whatever_the_limits(followed: Followed) -> None:
    followed.git.commit({**place("a", "m", share="100%"), "docs/README.md": "no manifest"})
    followed.follow("a")
    followed.follow("docs")
    assert followed.held.reason == "nothing is declared in docs; the source was switched from folder a to folder docs"
    assert followed.ordered == {"m"}


# ── what is not there ─────────────────────────────────────────────────────────────────────────────────────────────────


def missing(followed: Followed, **source: Any) -> SourceMissing:
    before = followed.hub.log.head().seq
    followed.follow(**source)
    with pytest.raises(SourceMissing) as failure:
        followed.hub.queue.take()
    assert followed.hub.log.head().seq == before  # nothing that was followed is lost
    return failure.value


@pytest.mark.parametrize("is_followed", [False, True], ids=["first", "switch"])
def test_what_is_not_there_ends_with_what_there_is(followed: Followed, is_followed: bool) -> None:
    followed.git.commit({**place("clusters/prod", "m"), **place("models", "m"), "notes.txt": "a file"})
    followed.git.git("branch", "staging")
    if is_followed:
        followed.follow("models")
    head = followed.git.head()[:12]
    folder = missing(followed, path="modles")
    assert folder.message == f"there is no folder modles in commit {head} of main"
    assert folder.advice == "did you mean models? folders at its top: clusters, models"
    assert "did you mean clusters/prod?" in missing(followed, path="cluster/prod").advice
    assert missing(followed, path="notes.txt").message.startswith("notes.txt is a file, and no folder,")
    branch = missing(followed, path="models", branch="stagin")
    assert branch.message.endswith("has no branch stagin")
    assert branch.advice == "did you mean staging? its branches: main, staging"
    assert (branch.code, branch.exit_code) == ("RX105", 2)
    assert followed.ordered == ({"m"} if is_followed else set())


def test_a_folder_that_vanishes_is_a_held_plan_whatever_the_limits_and_may_come_back(followed: Followed) -> None:
    followed.git.commit({**place("a", "m", "p", share="100%"), "b.yaml": edge("e9")})
    followed.follow("a")
    followed.git.git("rm", "--quiet", "-r", "a")
    gone = followed.git.commit()
    followed.look()
    assert followed.held.reason == f"there is no folder a in commit {gone[:12]} any more"
    assert (followed.held.counts, followed.ordered) == ({"delete": 2}, {"m", "p"})
    assert followed.follow("a") == []  # it is no typo by now
    followed.look({"b.yaml": edge("e8")})
    assert followed.held.reason.startswith("there is no folder a in commit")
    followed.look(place("a", "m", "p", share="100%"))
    assert followed.hub.mine.held_plan is None
    assert followed.ref.is_accepted
    followed.git.git("rm", "--quiet", "-r", "a")
    followed.git.commit()
    followed.look()
    followed.approve()
    assert followed.ordered == set()
    assert followed.ref.is_accepted


def test_a_branch_that_vanishes_is_lost_and_is_followed_again_when_it_is_back(followed: Followed) -> None:
    followed.git.commit(place("a", "m"))
    followed.follow("a")
    followed.git.git("branch", "-m", "main", "trunk")
    (lost,) = followed.look()
    assert (lost.event.type, lost.event.data["code"]) == (ev.REF_LOST, "RX301")
    assert "has no branch main" in followed.ref.lost
    followed.git.git("branch", "other")
    assert followed.look() == []  # told once, whatever other branches there are
    assert types(followed.follow("a")) == []
    assert followed.ordered == {"m"}
    followed.git.git("branch", "-m", "trunk", "main")
    entries = followed.look({"a/p.yaml": model("p", 9001)})
    assert types(entries)[:2] == [ev.REF_FOUND, ev.REF_ADVANCED]
    assert (followed.ref.lost, followed.ordered) == ("", {"m", "p"})
    followed.git.git("branch", "-m", "main", "trunk")
    followed.look()
    followed.git.git("branch", "-m", "trunk", "main")
    followed.git.git("reset", "--quiet", "--hard", "HEAD~1")
    followed.look({"a/o.yaml": model("o", 9002)})
    assert "history was rewritten" in followed.held.reason


def test_a_repository_without_a_commit_is_waited_for(followed: Followed) -> None:
    (lost,) = followed.follow()
    assert lost.event.type == ev.REF_LOST
    assert followed.ref.lost.endswith("is empty: no branch has a commit yet")
    followed.look(place("a", "m"))
    assert (followed.ref.lost, followed.ordered) == ("", {"m"})


def test_a_repository_that_cannot_be_read_is_waited_for(followed: Followed) -> None:
    with pytest.raises(GitUnavailable) as failure:
        Mirror(followed.home / "none", Remote.parse(str(followed.home / "nowhere"))).fetch()
    assert not isinstance(failure.value, SourceMissing)


# ── a log that is older than what it keeps ────────────────────────────────────────────────────────────────────────────


def ahead(followed: Followed, *commits: str) -> None:
    """What a hub finds whose cluster has objects of commits that its log never read."""
    record = followed.hub.record.stage("deliver")
    followed.hub.record.append(
        [
            record.event(ev.OBJECT_ADOPTED, Key("InferenceModel", "default", f"x{n}", "e1"), {"ahead": commit})
            for n, commit in enumerate(commits)
        ]
    )


def test_nothing_is_changed_before_git_was_asked_of_a_commit_that_the_log_does_not_know(followed: Followed) -> None:
    followed.git.commit(place("a", "m"))
    followed.follow("a")
    newer = followed.git.commit({"a/m.yaml": model("m", 9400)})
    away = followed.git.path.rename(followed.home / "away")
    ahead(followed, newer)
    assert newer[:12] in followed.hub.state.suspensions()["*"]["reason"]
    assert followed.hub.orders(followed.look()) == {}
    assert followed.hub.state.suspensions()
    away.rename(followed.git.path)
    assert list(followed.hub.orders(followed.look()).values()) == ["update 1"]
    assert (followed.ref.ahead, followed.hub.state.suspensions()) == ([], {})


@pytest.mark.parametrize("is_moved", [False, True], ids=["as before", "moved"])
def test_a_branch_without_what_was_applied_is_held_as_rewritten_history(followed: Followed, is_moved: bool) -> None:
    """Git went back, or the hub follows another branch: of several commits one that is not there is enough."""
    known = followed.git.commit(place("a", "m"))
    followed.follow("a")
    lost = followed.git.commit({"a/m.yaml": model("m", 9400)})
    followed.git.reset(known)
    if is_moved:
        followed.git.commit({"a/m.yaml": model("m", 9500)})
    record = followed.hub.record
    served = followed.hub.mine.served(Key("InferenceModel", "default", "m", "e1"))
    served.order = served.order | {"port": 9400}  # as it is found in the cluster
    ahead(followed, known, lost, "written-by-hand")
    assert record.state.ref.ahead == [known, lost, "written-by-hand"]
    entries = followed.look()
    assert followed.hub.orders(entries) == {}
    assert followed.held.reason == f"history was rewritten: commit {lost[:12]} is no longer in the branch"
    assert followed.follow("a") == []
    followed.approve()
    assert followed.hub.mine.held_plan is None
    assert followed.ref.is_accepted
