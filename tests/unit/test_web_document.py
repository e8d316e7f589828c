"""What is answered over HTTP is the value again."""

import json
from typing import Any

import pytest

from reconciler.errors import WorldRefused
from reconciler.history.status import Held, Status
from reconciler.web.answers import QUESTIONS, PlanAnswer, Why
from reconciler.web.document import document, plain, revived
from reconciler.web.records import Record, Wanted
from reconciler.wiring.past import opened
from tests.unit.cli_world import NOW, World

SAID = {
    "status": {"asOf": NOW},
    "state": {"at": "20"},
    "why": {"edge": "berlin-08", "model": "defect"},
    "wait": {"commit": "*"},
    "plan": {},
    "problems": {},
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_answer_comes_back_from_json_as_the_same_value(story: World, name: str) -> None:
    asked = QUESTIONS[name]
    with opened(story.place.root) as past:
        value = asked.ask(past, SAID[name])
    said = json.loads(json.dumps(document(asked.kind, value)))
    again = revived(asked.type, said)
    assert type(again) is asked.type
    assert again == value
    assert document(asked.kind, again) == said


def test_a_held_plan_comes_back() -> None:
    held = Held(digest="d", reason="r", commit="c", time="t", counts={"to_delete": 3}, keys=("a", "b"))
    assert revived(PlanAnswer, json.loads(json.dumps(plain(PlanAnswer(held))))) == PlanAnswer(held)


def test_a_newer_hub_says_more_and_an_older_one_less(story: World) -> None:
    with opened(story.place.root) as past:
        said: dict[str, Any] = json.loads(json.dumps(plain(QUESTIONS["status"].ask(past, SAID["status"]))))
    newer = said | {"later": 1, "rows": [row | {"later": {}} for row in said["rows"]]}
    assert revived(Status, newer) == revived(Status, said)
    with pytest.raises(WorldRefused, match="the answer has no asOf of Status"):
        revived(Status, {name: value for name, value in said.items() if name != "asOf"})


def test_the_names_of_the_past_fit_those_of_the_table(story: World) -> None:
    assert plain(Why(())) == {"walks": []}
    assert Record.__slots__[:5] == ("seq", "id", "time", "recorded_time", "type")
    with opened(story.place.root) as past:
        assert Wanted.of({"limit": "5", "cursor": "0"}, past) == Wanted(limit=5, cursor=0)
