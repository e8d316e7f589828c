"""What `status` and `run --once` say of a cluster's objects."""

from typing import Any

import pytest

from reconciler.cli.run import HELD, UNANSWERED, verdict
from reconciler.cli.status import SHOWN, show
from reconciler.history.keys import DECLARE
from reconciler.history.state import Ref, Served, StageState, State
from reconciler.history.status import Status, status
from reconciler.web.page import rendered

NOW = "2027-01-15T08:05:00.000000Z"
THEN = "2027-01-15T08:00:00.000000Z"


def served(**more: Any) -> Served:
    order = {"labels": {"ai.kubeedge.io/edge": "e1"}, "spec": {"targetVersion": "2"}}
    fields: dict[str, Any] = {"order": order, "operation": "op", "phase": "Committed", "phase_time": THEN}
    return Served(**fields | more)


def seen(suspended: dict[str, dict[str, Any]] | None = None, **keys: Served) -> Status:
    ref = Ref(commit="c" * 40, accepted="c" * 40)
    named = {f"InferenceModel/default/{name}": one for name, one in keys.items()}
    return status(State(ref=ref, stages={DECLARE: StageState(keys=named)}, suspended=suspended or {}), NOW)


def test_objects_are_counted_by_kind_and_only_those_that_wait_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    show(seen(a=served(), b=served(phase="Rejected", code="RX411", message="quota"), c=served(open=True)))
    said = capsys.readouterr().out
    assert "InferenceModel  3        1" in said
    assert "InferenceModel/default/b  2       2      Rejected   5m     RX411: quota" in said
    assert "InferenceModel/default/c" in said
    assert "InferenceModel/default/a" not in said


def test_of_many_that_wait_the_first_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    many: dict[str, Any] = {f"m{n:03}": served(open=True, message=f"reason {n}") for n in range(SHOWN + 7)}
    show(seen(**many))
    assert "and 7 more" in capsys.readouterr().out


def test_many_that_wait_for_the_same_are_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    many: dict[str, Any] = {f"m{n:03}": served(open=True, message="it does not answer") for n in range(SHOWN + 7)}
    show(seen(**many))
    assert "InferenceModel/default/m000 … InferenceModel/default/m056 (57)" in capsys.readouterr().out
    show(seen(**many), each=True)
    assert capsys.readouterr().out.count("it does not answer") >= SHOWN


def test_drift_that_is_only_reported_is_shown_with_its_writer(capsys: pytest.CaptureFixture[str]) -> None:
    fields = [{"field": "spec.replicas", "manager": "kubectl-edit"}]
    drift = {"what": "changed", "writer": "kubectl-edit", "policy": "report", "fields": fields, "time": THEN}
    show(seen(a=served(drift=drift)))
    said = capsys.readouterr().out
    assert "Drifted" in said
    assert "changed by kubectl-edit: spec.replicas by kubectl-edit" in said


@pytest.mark.parametrize("scope", ["*", "e1", "InferenceModel/default/a"])
def test_what_is_suspended_says_by_whom(scope: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(seen({scope: {"actor": "ada", "reason": "moving", "time": THEN}}, a=served(), b=served()))
    assert "suspended by ada: moving" in capsys.readouterr().out


def test_once_ends_well_only_where_every_object_is_as_wanted() -> None:
    assert verdict(seen(a=served())) == 0
    assert verdict(seen(a=served(open=True))) == UNANSWERED
    assert verdict(seen(a=served(phase="Rejected"))) == HELD


def test_the_page_counts_objects_and_lists_those_that_wait() -> None:
    refused = served(phase="Rejected", code="RX411", message="quota <b>")
    page = rendered(seen(a=served(), b=refused, c=served(open=True)))
    assert "<td>InferenceModel</td><td>3</td><td>1</td>" in page
    assert "InferenceModel/default/b" in page
    assert "RX411: quota &lt;b&gt;" in page
    assert "InferenceModel/default/a" not in page
