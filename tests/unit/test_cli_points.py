"""A point is a sequence number, a time, or a commit."""

import pytest

from reconciler.cli.points import moment, point
from reconciler.errors import PointUnknown, UsageError
from reconciler.history.events import REF_ADVANCED
from reconciler.wiring.past import opened
from tests.unit.cli_world import World


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
        planned = next(past.log.read(stream="plan"))  # appended alone
    time = planned.event.recordedtime
    assert at(story, time) == at(story, time.replace("Z", "+00:00")) == planned.seq
    assert at(story, "2030-01-01") == head(story)
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
    with pytest.raises(UsageError, match="not a time"):
        at(story, "yesterday")


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
