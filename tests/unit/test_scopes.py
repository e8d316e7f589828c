"""What belongs to a scope, and what names mean to a verb."""

import pytest

from reconciler.errors import NameAmbiguous, NameUnknown, UsageError
from reconciler.history.keys import DECLARE, DELIVER, Key
from reconciler.history.state import Served, StageState, State
from reconciler.model.identity import EDGE_LABEL, SET_LABEL
from reconciler.planning.declared import Declared, Object
from reconciler.planning.names import Names, Sought, Word, known
from reconciler.stages.scopes import known_edges, known_things, within
from reconciler.web.answers import walked
from reconciler.web.chosen import Chosen

MADE = ("InferenceModel/default/faces-berlin", "InferenceModel/default/faces-paris", "InferenceModel/lab/digits")


def objects(*texts: str) -> Declared:
    parts = (text.split("/") for text in texts)
    return Declared(Object(kind=kind, namespace=namespace, name=name) for kind, namespace, name in parts)


def state(*keys: str) -> State:
    return State(stages={DECLARE: StageState(keys={text: Served(operation="o") for text in keys})})


def meant(name: str, declared: Declared, now: State, model: str = "") -> Sought:
    said = {"edge": name, "model": model} if model else {"name": name}
    return Names(known_things(declared, now), known_edges(declared, now)).sought(said)


def advice(name: str, declared: Declared, now: State, model: str = "") -> str:
    with pytest.raises(NameUnknown) as raised:
        meant(name, declared, now, model)
    return raised.value.advice


def test_one_name_is_whichever_is_there() -> None:
    declared = objects("Edge//berlin", "InferenceModelSet/default/faces")
    assert meant("berlin", declared, state(*MADE)) == Sought("berlin")
    assert meant("Edge/berlin", declared, state(*MADE)) == meant("edge/berlin", declared, state()) == Sought("berlin")
    assert meant("faces", declared, state(*MADE)) == Sought("", Word("", "faces"))
    exact = Word("object", "InferenceModel/default/faces-berlin")
    for text in ("im/faces-berlin", "InferenceModel/faces-berlin", exact.text):
        assert meant(text, declared, state(*MADE)) == Sought("", exact)


def test_a_name_of_an_edge_and_of_something_else_is_refused_with_both_spellings() -> None:
    declared = objects("Edge//faces", "InferenceModelSet/default/faces", "Edge//parts", "Dataset/default/parts")
    with pytest.raises(NameAmbiguous) as raised:
        meant("faces", declared, State())
    assert (raised.value.exit_code, raised.value.advice) == (2, "write edge/faces, or model/faces")
    with pytest.raises(NameAmbiguous) as raised:
        meant("parts", declared, State())
    assert raised.value.advice == "write edge/parts, or dataset/parts"
    assert meant("edge/faces", declared, State()) == Sought("faces")
    assert meant("model/faces", declared, State()).what == Word("model", "faces")
    with pytest.raises(NameUnknown, match="there is no model parts"):
        meant("model/parts", declared, State())


def test_an_edge_comes_first() -> None:
    now = State(stages={DELIVER: StageState(keys={"InferenceModel/default/faces-e1@e1": Served(operation="o")})})
    assert meant("e1", objects(), now, "faces") == Sought("e1", Word("", "faces"))
    assert advice("faces", objects(), now, "e1") == "the edge comes first: e1 faces"
    assert advice("e1", objects(), now, "digits") == "it has faces"
    with pytest.raises(UsageError, match="model/faces is no edge"):
        meant("model/faces", objects(), now, "faces")


def test_names_that_are_nearly_the_same_are_asked_for() -> None:
    sets = objects("InferenceModelSet/default/faces", "Edge//edge-1", "Edge//edge-2")
    said = advice("InferenceModel/default/faces-berln", sets, state(*MADE, "InferenceModel/default/faces-rome"))
    assert said.startswith("is InferenceModel/default/faces-berlin or ")
    said = advice("im/digits", sets, state(*MADE, "InferenceModel/default/faces-rome"))
    assert said.startswith("is InferenceModel/lab/digits meant?")
    assert advice("edge-11", sets, state(*MADE)).startswith("is edge-1 or edge-2 meant?")
    assert advice("nokind/x", sets, State()).startswith("there are InferenceModel, InferenceModelSet, ")


def test_of_many_the_first_are_listed_in_the_order_of_people() -> None:
    many = objects(*(f"Edge//m{number}" for number in range(1, 15)))
    assert advice("zzz", many, State()) == "there are m1, m2, m3, m4, m5, m6, m7, m8, m9, m10 and 4 more"
    assert advice("zzz", objects(), State()) == "the log knows none yet"
    assert advice("Model/default/zzz", objects("Edge//e"), State()) == "the log knows none yet"


def test_a_key_is_within_its_edge_its_object_and_itself() -> None:
    key = Key("Dataset", "default", "parts", "e1")
    declared, now = objects("Dataset/default/parts"), State()
    scopes = ("*", "e1", str(key), "Dataset/default/parts")
    assert all(within(scope, key, declared, now) for scope in scopes)
    assert not any(within(scope, key._replace(edge="e2"), declared, now) for scope in scopes[1:3])


def test_what_a_set_makes_belongs_to_the_set_and_goes_by_its_model() -> None:
    labels = {SET_LABEL: "faces", EDGE_LABEL: "berlin"}
    made = Served(operation="o", order={"labels": labels, "spec": {"modelName": "vision"}})
    keys = {MADE[0]: made, "InferenceModelSet/default/faces": Served(operation="o"), "Edge//berlin": Served()}
    now = State(stages={DECLARE: StageState(keys=keys)})

    def named(**said: str) -> list[str]:
        sought = Names.of(now).sought(said)
        return sorted(known(now, sought))

    assert named(name="ims/faces") == [MADE[0], "InferenceModelSet/default/faces"]
    assert named(name="vision") == named(name="model/vision") == named(edge="berlin", model="vision") == [MADE[0]]
    assert named(name="berlin") == ["Edge//berlin", MADE[0]]
    assert named(name="faces") == ["InferenceModelSet/default/faces"]


def test_of_a_cluster_the_walk_is_of_what_bears_the_name_where_something_does() -> None:
    order = {"labels": {SET_LABEL: "faces", EDGE_LABEL: "berlin"}, "spec": {"modelName": "faces"}}
    keys = {MADE[0]: Served(operation="o", order=order), "Model/default/faces": Served(operation="o")}
    now = State(stages={DECLARE: StageState(keys=keys)})

    def walks(**said: str) -> list[str]:
        sought = Names.of(now).sought(said)
        return [str(key) for key in walked(DECLARE, Chosen(sought, known(now, sought)), now)]

    assert walks(name="faces") == ["Model/default/faces"]
    assert walks(edge="berlin", model="faces") == walks(name="faces-berlin") == walks(name="berlin") == [MADE[0]]
