"""What fails waits, longer each time in a row, and never with everybody else."""

import random
from functools import partial

import pytest

from reconciler.engine.retry import RETRY_CAP_S, Backoff, jittered, retry_delay_s


def test_a_delay_grows_to_its_cap_and_never_over() -> None:
    assert [retry_delay_s(attempt, 0.5) for attempt in (0, 1, 2, 8, 9, 10**6)] == [0.5, 1.0, 2.0, 128.0, 150.0, 150.0]
    assert retry_delay_s(50, 0.999999) < RETRY_CAP_S


def test_each_name_counts_for_itself_and_begins_anew_after_a_success() -> None:
    backoff = Backoff(2.0, 5.0, sample=lambda: 0.5)
    assert [backoff.failed("a") for _ in range(4)] == [1.0, 2.0, 2.5, 2.5]
    assert (backoff.failed("b"), backoff.attempts("a"), backoff.attempts("b")) == (1.0, 4, 1)
    backoff.succeeded("a")
    assert (backoff.attempts("a"), backoff.failed("a"), backoff.failed("b")) == (0, 1.0, 2.0)
    backoff.succeeded("never failed")


def test_nobody_is_asked_before_the_time_that_it_named() -> None:
    backoff = Backoff(sample=lambda: 0.5)
    assert [backoff.failed(asked_s=asked_s) for asked_s in (7.0, 0.0, None, 1.0)] == [7.0, 1.0, 2.0, 4.0]


def test_the_first_failures_may_be_made_good_at_once() -> None:
    backoff = Backoff(sample=lambda: 1.0)
    assert [backoff.failed(free=2) for _ in range(5)] == [0.0, 0.0, 1.0, 2.0, 4.0]


def test_chance_is_the_caller_s() -> None:
    def delays(seed: int) -> list[float]:
        backoff = Backoff(sample=random.Random(seed).random)
        return [backoff.failed() for _ in range(5)]

    assert delays(1) == delays(1) != delays(2)


def test_what_comes_regularly_comes_a_fifth_sooner_or_later() -> None:
    assert [jittered(30.0, partial(float, sample)) for sample in (0.0, 0.5, 1.0)] == pytest.approx([24, 30, 36])
