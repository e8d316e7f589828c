"""What follows from an object that carries the mark of an install."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from reconciler.history.keys import Key
from reconciler.history.state import Served
from reconciler.model.identity import INSTALL
from reconciler.planning.declare import OWN_LABELS
from reconciler.planning.desired import Desired, Gone
from reconciler.planning.diff import diff
from reconciler.planning.look import PRUNE, Look, Rules

KEY = Key("InferenceModel", "default", "m", "")
SPACE = Key("Namespace", "", "m", "")
MINE, THEIRS = "a/reconciler", "b/reconciler"
SPEC: dict[str, Any] = {"labels": dict(OWN_LABELS), "spec": {"replicas": 1}}
KNOWN = Served(order=SPEC, operation="one", phase="Committed", live={"uid": "u"})


@dataclass(frozen=True)
class Object:
    """An object that the field manager of every install owns."""

    annotations: dict[str, str]
    labels: dict[str, str] = field(default_factory=lambda: dict(OWN_LABELS))
    uid: str = "u"
    version: str = "7"
    ours: bool = True
    writer: str = ""
    deleting: bool = False
    foreign: dict[str, str] = field(default_factory=dict)

    @property
    def found(self) -> dict[str, str]:
        return {"uid": self.uid, "resourceVersion": self.version}

    @property
    def told(self) -> dict[str, Any]:
        return {**self.found}


def look(mark: str, served: Served | None = None, *, adopt: bool = False, said: str = "correct", **spec: Any) -> Look:
    live = Object({INSTALL: mark} if mark else {})
    tree = {**SPEC, "spec": {**SPEC["spec"], **spec}}
    tree |= {"annotations": {INSTALL: mark}} if mark not in {"", MINE} else {}
    return Look(KEY, served or Served(), live, tree, Rules(lambda *_: said, adopt), {}, install=MINE)


def actions(seen: Look, wanted: dict[str, Any] | None = SPEC) -> list[tuple[str, str]]:
    """What would be done, and what keeps it from being done."""
    there = seen.observed()
    expansion = Gone(KEY) if wanted is None else Desired(KEY, wanted)
    found = diff([expansion], {KEY: there} if there is not None else {})
    waits = there.waits if there is not None else {}
    return [(one.action, waits.get(one.action) or waits.get("", "")) for one in found]


@pytest.mark.parametrize("mark", ["", MINE])
def test_what_is_ours_or_unmarked_is_kept_as_ever(mark: str) -> None:
    assert look(mark).is_marked
    assert not look(mark).is_theirs
    assert actions(look(mark, KNOWN)) == []
    assert actions(look(mark, KNOWN, replicas=3)) == [("update", "")]
    assert actions(look(mark, KNOWN), None) == [("delete", "")]


@pytest.mark.parametrize("served", [Served(), KNOWN])
@pytest.mark.parametrize("replicas", [1, 3])
def test_what_another_install_has_is_neither_corrected_nor_pruned(served: Served, replicas: int) -> None:
    seen = look(THEIRS, served, replicas=replicas)
    assert not seen.is_marked
    assert (seen.is_theirs, seen.is_lacking) == (True, True)
    assert actions(seen, None) == []
    assert {why for _, why in actions(seen, {**SPEC, "spec": {"replicas": 2}})} == {
        f"the install {THEIRS} has it; `adopt: true` in the Fleet takes it over"
    }


def test_what_another_install_has_as_git_says_is_still_said_to_be_its() -> None:
    ((action, why),) = actions(look(THEIRS))
    assert (action, THEIRS in why) == ("update", True)


def test_what_another_install_took_is_told_once_and_left() -> None:
    drift = look(THEIRS, KNOWN).drift()
    assert drift is not None
    assert (drift.what, drift.writer, drift.policy) == ("taken over", f"the install {THEIRS}", "report")
    assert actions(look(THEIRS, KNOWN)) == []
    assert look(MINE, KNOWN).drift() is None


def test_adopting_takes_it_where_the_rules_correct_and_deletes_nothing() -> None:
    taking = look(THEIRS, KNOWN, adopt=True)
    drift = taking.drift()
    assert drift is not None
    assert drift.policy == "correct"  # so that two that take from each other are a fight
    assert actions(taking) == [("update", "")]
    assert actions(look(THEIRS, adopt=True)) == [("update", "")]
    assert actions(look(THEIRS, adopt=True), None) == []
    assert look(THEIRS, KNOWN, adopt=True, said="report").drift() == look(THEIRS, KNOWN).drift()


@pytest.mark.parametrize(("asked", "goes"), [("", False), ("disabled", False), ("enabled", True), ("Enabled", False)])
def test_a_namespace_goes_only_where_it_says_so(asked: str, goes: bool) -> None:
    live = Object({PRUNE: asked} if asked else {})
    tree = {"labels": dict(OWN_LABELS)} | ({"annotations": {PRUNE: asked}} if asked else {})
    seen = Look(SPACE, Served(), live, tree, Rules(lambda *_: "correct"), {}, install=MINE)
    there = seen.observed()
    assert there is not None
    assert [one.action for one in diff([Gone(SPACE)], {SPACE: there})] == ["delete"] * goes
    assert seen.is_lacking is not goes
