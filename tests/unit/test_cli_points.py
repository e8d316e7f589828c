"""A point is a sequence number, a time, or a commit."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from reconciler.errors import PointUnknown, UsageError
from reconciler.history.events import REF_ADVANCED
from reconciler.web.moments import moment, point, work_tree
from reconciler.wiring.past import opened
from tests.unit.cli_world import World
from tests.unit.conftest import Call


@pytest.fixture
def read(story: World) -> dict[str, int]:
    """Commit -> the entry with which it was read."""
    with opened(story.place.root) as past:
        return {e.event.gitcommit: e.seq for e in past.log.read(stream="git") if e.event.type == REF_ADVANCED}


def head(story: World) -> int:
    with opened(story.place.root) as past:
        return past.log.head().seq


def at(story: World, text: str) -> int:
    with opened(story.place.root) as past:
        return point(text, past.log)


def test_a_number_is_that_entry(story: World) -> None:
    assert at(story, "12") == 12
    with pytest.raises(PointUnknown, match=f"the log ends at {head(story)}"):
        at(story, str(head(story) + 1))


def test_a_time_is_the_last_entry_until_then(story: World) -> None:
    with opened(story.place.root) as past:
        planned = next(past.log.read(stream="plan/deliver"))  # appended alone
    time = planned.event.recordedtime
    assert at(story, time) == at(story, time.replace("Z", "+00:00")) == planned.seq
    with pytest.raises(PointUnknown, match="begins after"):
        at(story, "2020-01-01")


def test_a_commit_is_all_of_its_reign(story: World, read: dict[str, int]) -> None:
    commits, begins = list(read), list(read.values())
    assert len(commits) == 4
    ends = [at(story, commit[:9]) for commit in commits]
    assert ends == [*(seq - 1 for seq in begins[1:]), head(story)]
    assert at(story, commits[1]) == ends[1]


def test_a_commit_that_was_never_read_is_unknown(story: World) -> None:
    with pytest.raises(PointUnknown, match="never read"):
        at(story, "deadbeef")


def test_what_is_nothing_of_these_is_a_mistake(story: World) -> None:
    with pytest.raises(UsageError, match="neither an entry's number, a time nor a commit's id") as caught:
        at(story, "the other day")
    assert all(form in caught.value.advice for form in ("SEQ", "TIME", "COMMIT"))


def test_a_time_that_is_still_to_come_is_refused(story: World) -> None:
    with pytest.raises(
        PointUnknown, match=f"2090-01-01 is still to come: the log ends at {head(story)}, 2026-11-30T14"
    ):
        at(story, "2090-01-01")


@pytest.fixture
def named(story: World) -> Callable[[str], int]:
    """A point, where the work tree of the repository is at hand."""

    def found(text: str) -> int:
        with opened(story.place.root) as past:
            return point(text, past.log, work_tree(story.repository.path))

    return found


def test_in_a_work_tree_a_commit_has_gits_own_names(named: Callable[[str], int], read: dict[str, int]) -> None:
    begins = list(read.values())
    assert (named("HEAD~1"), named("main~3")) == (begins[3] - 1, begins[1] - 1)


@pytest.mark.parametrize("text", ["nonsense", "--all", "-h", "HEAD~99", "HEAD:models", "--output=/tmp/x"])
def test_what_git_does_not_know_or_must_not_be_given_is_a_mistake(named: Callable[[str], int], text: str) -> None:
    with pytest.raises(UsageError, match="nor a commit of"):
        named(text)


def test_a_commit_of_the_work_tree_that_was_never_read_is_unknown(settled: World) -> None:
    settled.repository.commit({"README.md": "words\n"})
    with opened(settled.place.root) as past, pytest.raises(PointUnknown, match=r"which HEAD names in .* never read"):
        point("HEAD", past.log, work_tree(settled.repository.path))


def test_state_history_and_rollback_look_names_up(call: Call, settled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    at = ("--state", settled.place.root)
    monkeypatch.chdir(settled.repository.path)
    assert call("state", "--at", "HEAD", *at).code == 0
    for name, commit in (("HEAD", "HEAD"), ("main~0", "main")):
        brought = json.loads(call("history", "--commit", name, "--limit", "1", "-o", "json", *at).out)
        assert brought["commit"] == settled.repository.git("rev-parse", commit).strip()
    refused = call("history", "--commit", "nonsense", *at)
    assert (refused.code, "commit nonsense was never read here" in refused.err) == (2, True)
    assert "nothing differs" in call("rollback", "--to", "HEAD", "--repo", settled.repository.path, *at).out
    assert call("rollback", "--to", "nonsense", "--repo", settled.repository.path, *at).code == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-11-30", "2026-11-30T00:00:00.000000Z"),
        ("2026-11-30T14:00:00.5Z", "2026-11-30T14:00:00.500000Z"),
        ("2026-11-30T14:00:00+02:00", "2026-11-30T12:00:00.000000Z"),
    ],
)
def test_a_moment_is_written_as_the_log_writes_it(text: str, said: str) -> None:
    assert moment(text) == said


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1969-12-31", "0001-01-01"])
def test_a_time_that_no_log_has_is_a_mistake(text: str) -> None:
    with pytest.raises(UsageError, match="in no year from 1970 to 9998"):
        moment(text)


@pytest.mark.parametrize("option", ["--since", "--until", "--as-of"])
def test_a_time_that_no_log_has_is_told_wherever_one_is_taken(call: Call, settled: World, option: str) -> None:
    verbs = {"--since": ("history",), "--until": ("suspend", "--reason", "x"), "--as-of": ("status",)}
    for text in ("0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"):
        done = call(*verbs[option], option, text, "--state", settled.place.root)
        assert (done.code, "no year" in done.err) == (2, True), done.err


NOW = datetime(2026, 11, 30, 14, 2, 34, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "past", "future"),
    [
        ("90m", "2026-11-30T12:32:34", "2026-11-30T15:32:34"),
        ("-1h", "2026-11-30T13:02:34", "2026-11-30T15:02:34"),
        ("2d ago", "2026-11-28T14:02:34", "2026-12-02T14:02:34"),
        ("30 s", "2026-11-30T14:02:04", "2026-11-30T14:03:04"),
        ("1w", "2026-11-23T14:02:34", "2026-12-07T14:02:34"),
        ("now", "2026-11-30T14:02:34", "2026-11-30T14:02:34"),
        ("today", "2026-11-30T00:00:00", "2026-11-30T00:00:00"),
        ("Yesterday", "2026-11-29T00:00:00", "2026-11-29T00:00:00"),
        ("tomorrow", "2026-12-01T00:00:00", "2026-12-01T00:00:00"),
        ("2026-03-01", "2026-03-01T00:00:00", "2026-03-01T00:00:00"),
        ("2026-03-01T10:00:00+02:00", "2026-03-01T08:00:00", "2026-03-01T08:00:00"),
    ],
)
def test_a_time_is_written_as_people_write_it(
    text: str, past: str, future: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.web.moments.time_now", lambda: NOW)
    assert moment(text) == f"{past}.000000Z"
    assert moment(text, ahead=True) == f"{future}.000000Z"


@pytest.mark.parametrize("text", ["1y", "d", "1.5h", "", "-", "٣h", "9999999w", "tomorrow morning", "12:00", "1h30m"])
def test_what_is_no_time_says_how_one_is_written(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        moment(text)
    assert "is not a time" in caught.value.message or "in no year" in caught.value.message


def test_a_time_before_the_log_says_when_it_began(call: Call, story: World) -> None:
    said = call("state", "--at", "2020-01-01", "--state", story.place.root)
    assert (said.code, "it began 2026-11-30T14:00:0" in said.err) == (2, True)
