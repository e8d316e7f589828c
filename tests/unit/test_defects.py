"""A bug of ours that meets one key: that key's problem, wherever it is met; the others go on and nothing ends."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler.engine.queue import Cause, Trigger
from reconciler.engine.recorder import Recorder
from reconciler.engine.stage import Change
from reconciler.errors import HistoryError
from reconciler.eventlog.memory import MemoryLog
from reconciler.history import events as ev
from reconciler.history.events import Event
from reconciler.history.keys import DELIVER, Key
from reconciler.history.state import State
from reconciler.kube.watch.cache import Cache
from reconciler.kube.watch.object import Live
from reconciler.kube.write.annotations import Annotations
from reconciler.kube.write.status_queue import StatusQueue
from reconciler.planning.declared import Declared
from reconciler.planning.desired import Expansion, Frozen
from reconciler.planning.diff import Difference, Observed, diff
from reconciler.planning.gate import Judgement
from reconciler.planning.plan import Plan, make_plan
from reconciler.stages.git import noticed
from tests.log_events import StillClock
from tests.scripted_stage import ScriptStation, key, keys
from tests.stations import drain

BAD = key("m0002")
Break = Callable[[ScriptStation, pytest.MonkeyPatch], None]


def expand(station: ScriptStation, patch: pytest.MonkeyPatch) -> None:
    whole = station.script.expand

    def broken(asked: Iterable[Key]) -> list[Expansion]:
        return whole([_sound(one) for one in asked])

    patch.setattr(station.script, "expand", broken)


def observe(station: ScriptStation, patch: pytest.MonkeyPatch) -> None:
    whole = station.script.observe

    def broken(asked: Iterable[Key]) -> dict[Key, Observed]:
        return whole([_sound(one) for one in asked])

    patch.setattr(station.script, "observe", broken)


def compare(station: ScriptStation, patch: pytest.MonkeyPatch) -> None:  # of every stage
    whole = diff

    def broken(expansions: Sequence[Expansion], *more: Any) -> Iterable[Difference]:
        return whole([one for one in expansions if isinstance(one, Frozen) or _sound(one.key).name], *more)

    patch.setattr("reconciler.engine.loop.diff", broken)


def plan(station: ScriptStation, patch: pytest.MonkeyPatch) -> None:  # of every stage
    whole = make_plan

    def broken(differences: Iterable[Difference], judged: Judgement) -> Plan:
        return whole([one for one in differences if _sound(one.key).name], judged)

    patch.setattr("reconciler.engine.loop.make_plan", broken)


def notice(station: ScriptStation, patch: pytest.MonkeyPatch) -> None:
    whole = station.script.notice

    def broken(expansions: Sequence[Expansion], planned: Plan) -> Sequence[Event]:
        assert all(_sound(step.key) for step in planned.steps)
        return whole(expansions, planned)

    patch.setattr(station.script, "notice", broken)


def _sound(one: Key) -> Key:
    if one == BAD:
        raise KeyError("spec")
    return one


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> ScriptStation:
    """A stage that tells the problems of its keys."""
    station = ScriptStation()

    def told(expansions: Sequence[Expansion], _: Plan) -> Sequence[Event]:
        return list(noticed(station.script.record, expansions))

    monkeypatch.setattr(station.script, "notice", told)
    return station


@pytest.mark.parametrize("broken", [expand, observe, compare, plan, notice])
def test_a_bug_at_one_key_is_that_key_s_problem_and_the_others_go_on(
    telling: ScriptStation, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], broken: Break
) -> None:
    wanted = keys(9)
    telling.script.wanted = dict.fromkeys(wanted, "1")
    with monkeypatch.context() as patch:
        broken(telling, patch)
        telling.reconcile(Change(frozenset(wanted), commit="c1"))
        assert telling.script.there.keys() == set(wanted) - {BAD}
        (problem,) = telling.script.record.mine.problems[str(BAD)]
        assert (problem["code"], "KeyError: 'spec'" in problem["message"]) == ("RX600", True)
        assert "Traceback" in capfd.readouterr().err
    telling.loop.turn(Trigger(Cause.AUDIT))
    drain(telling.loop)
    assert telling.script.there.keys() == set(wanted)
    assert telling.script.record.mine.problems == {}


def test_a_bug_in_what_a_trigger_means_is_the_problem_of_its_key_and_loses_nothing(
    telling: ScriptStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = telling.script.record.event(ev.MODEL_DEGRADED, BAD, {"error": "it ended", "live": {}})

    def broken(_: Trigger) -> Change:
        raise KeyError("spec")

    telling.script.there = {BAD: "1"}
    with monkeypatch.context() as patch:
        patch.setattr(telling.script, "take", broken)
        telling.loop.turn(Trigger(Cause.HAPPENED, str(BAD), (seen,)))
    assert ev.MODEL_DEGRADED in telling.seen()
    assert telling.script.record.mine.problems[str(BAD)][0]["code"] == "RX600"
    assert telling.script.there == {BAD: "1"}


def test_a_bug_of_no_key_ends_nothing_and_its_trigger_is_taken_again(
    telling: ScriptStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Mapping[str, Any]) -> Change:
        raise RecursionError("too deep")

    with monkeypatch.context() as patch:
        patch.setattr(telling.script, "take", broken)
        telling.loop.turn(Trigger(Cause.COMMIT))
    assert [cause for cause, _ in telling.due()] == ["commit"]
    assert telling.loop.failure is not None
    assert telling.loop.failure.code == "RX600"


def test_a_log_that_cannot_be_folded_is_no_base_for_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("spec")

    record = Recorder(MemoryLog("/hub", StillClock(), log_id="1"), StillClock(), State(), "ada")
    monkeypatch.setattr("reconciler.engine.recorder.fold", broken)
    with pytest.raises(HistoryError, match="cannot be folded at entry 2"):
        record.append([record.event(ev.REF_FOUND, "git", {}, stage=DELIVER)])


def test_a_bug_in_the_status_of_an_object_is_told_there_and_leaves_the_rest_of_it() -> None:
    class Broken:
        handled: Mapping[Key, str] = {}

        def suspension(self, *_: object) -> Mapping[str, str]:
            raise KeyError("spec")

    record = Recorder(MemoryLog("/hub", StillClock(), log_id="1"), StillClock(), State(), "ada")
    queue = StatusQueue(
        cast("Cache", None), record, cast("Annotations", Broken()), declared=Declared, fleet=dict, branch="main"
    )
    live = SimpleNamespace(status={"servingVersion": "3", "conditions": []}, generation=7, annotations={}, labels={})
    told = queue.status(Key("InferenceModel", "default", "m", ""), cast("Live", live))
    assert told is not None
    (ready,) = told["conditions"]
    assert (told["servingVersion"], ready["type"], ready["status"]) == ("3", "Ready", "Unknown")
    assert "this is a bug: KeyError: 'spec'" in ready["message"]
