"""What a scope names, and what is said of one that names nothing."""

import pytest

from reconciler.errors import NameUnknown
from reconciler.history.keys import DECLARE
from reconciler.history.state import Served, StageState, State
from reconciler.planning.declared import Declared, Object
from reconciler.stages.scopes import FEW, known

MADE = ("InferenceModel/default/faces-berlin", "InferenceModel/default/faces-paris", "InferenceModel/lab/digits")


def objects(*texts: str) -> Declared:
    parts = (text.split("/") for text in texts)
    return Declared(Object(kind=kind, namespace=namespace, name=name) for kind, namespace, name in parts)


def state(*keys: str) -> State:
    return State(stages={DECLARE: StageState(keys={text: Served(operation="o") for text in keys})})


def advice(scope: str, declared: Declared, now: State) -> str:
    with pytest.raises(NameUnknown, match=f"there is no .*{scope}") as raised:
        known(scope, declared, now)
    return raised.value.advice


def test_what_sets_have_made_is_there_too() -> None:
    said = advice("InferenceModel/default/nosuch", objects("InferenceModelSet/default/faces"), state(*MADE))
    assert said == f"declared just now: {', '.join((*MADE, 'InferenceModelSet/default/faces'))}"


def test_names_that_are_nearly_the_same_are_asked_for() -> None:
    sets = objects("InferenceModelSet/default/faces")
    said = advice("InferenceModel/default/faces-berln", sets, state(*MADE))
    assert said.startswith("is InferenceModel/default/faces-berlin or InferenceModel/default/faces-paris or ")
    assert advice("InferenceModel/default/digits", sets, state(*MADE)).startswith("is InferenceModel/lab/digits meant?")
    assert "InferenceModelSet/default/faces" in advice("InferenceModel/default/faces", sets, State())
    assert advice("edge-7", objects("Edge//edge-1"), State()).startswith("is Edge//edge-1 meant?") is False
    assert advice("edge-7", objects("Edge//edge-1"), State()).startswith("is edge-1 meant?")


def test_of_many_or_none_it_says_how_to_list_them() -> None:
    many = objects(*(f"Model/default/m{number:03}" for number in range(FEW + 1)))
    said = advice("Model/default/zzz", many, State())
    assert said == "there are 11, such as Model/default/m000; `reconciler status --output json` lists what there is"
    said = advice("Model/default/zzz", objects("Edge//e"), State())
    assert said == "there is no Model just now; `reconciler status --output json` lists what there is"
