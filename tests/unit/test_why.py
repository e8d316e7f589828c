"""`why` walks from what serves to the line in Git, over a real log."""

from collections.abc import Callable, Iterable

import pytest

from reconciler.errors import NameUnknown
from reconciler.history import events as ev
from reconciler.history.events import Entry
from reconciler.history.keys import DELIVER, Key
from reconciler.history.state import Served, State
from reconciler.history.why import Asked, WhyLink, why
from reconciler.planning.names import Names, known
from reconciler.web.answers import walked
from reconciler.web.chosen import Chosen
from reconciler.wiring.past import opened
from tests.unit.cli_world import FILES, SET, SHA, World, key

Walk = Callable[..., list[WhyLink]]


def walk(world: World, about: Key, asked: Asked | None = None) -> list[WhyLink]:
    with opened(world.place.root) as past:
        return why(DELIVER, about, past.replay.at(), past.log.find, past.stream, asked)


def whats(links: Iterable[WhyLink]) -> list[str]:
    return [link.what for link in links]


def test_a_running_model_leads_to_its_commit_author_and_line(world: World) -> None:
    with world.hub("berlin-07"):
        commit = world.commit(FILES, "Begin")
        world.serves("berlin-07", "1")
    links = walk(world, key("berlin-07"))
    assert whats(links) == ["serving", "activation", "order", "plan", "line"]
    last = links[-1]
    assert (last.place, last.commit, last.author) == ("deployments/defect.yaml:6", commit, "Ada <ada@example.com>")
    seqs = [link.seq for link in links[1:]]
    assert seqs == sorted(seqs, reverse=True)


def test_the_line_is_credited_to_the_commit_that_wrote_it_not_to_the_newest_read(world: World) -> None:
    with world.hub("berlin-07"):
        world.commit(FILES, "Begin")
        world.serves("berlin-07", "1")
        wrote = world.repository.commit({"deployments/defect.yaml": SET % "2"}, "Wanted")
        read = world.commit(
            {"datasets/parts.yaml": FILES["datasets/parts.yaml"] + "# seen\n"}, "Unrelated"
        )  # both are read at once
        world.serves("berlin-07", "2", previous="1")
    links = walk(world, key("berlin-07"))
    assert whats(links) == ["serving", "activation", "order", "plan", "commit", "line"]
    assert (links[-2].commit, links[-1].commit) == (read, wrote)


def test_a_version_that_was_rolled_back_shows_what_serves_and_what_became_of_the_order(story: World) -> None:
    links = walk(story, key("berlin-08"))
    assert whats(links) == [
        *("serving", "activation", "order", "plan", "line"),
        *("wanted", "outcome", "order", "plan", "line", "held"),
    ]
    assert links[0].text.startswith("answered version 1")
    assert links[6].text == "rolled back: RX404: answered 7 instead of 3; back to version 1"
    assert links[-1].text.startswith(f"version 2 ({SHA['2'][:12]}) is not given to berlin-08 again: RX404")


def test_an_order_under_way_says_how_far_it_is(story: World) -> None:
    links = walk(story, key("berlin-07"))
    wanted = next(link for link in links if link.what == "wanted")
    assert wanted.text == "version 1 is to serve: Downloading"
    assert links[-1].place == "edges/berlin-07.yaml:7"


def test_an_event_of_the_old_order_does_not_stand_for_the_same_version_served_again(world: World) -> None:
    with world.hub("berlin-07"):
        world.commit(FILES, "Begin")
        world.serves("berlin-07", "1")
        world.commit({"deployments/defect.yaml": SET % "2"}, "Up")
        world.serves("berlin-07", "2", previous="1")
        back = world.commit({"deployments/defect.yaml": SET % "1"}, "Down")
        world.serves("berlin-07", "1", previous="2")
    assert walk(world, key("berlin-07"))[-1].commit == back


def test_a_pin_on_what_serves_already_is_shown_as_what_asks_today(world: World) -> None:
    with world.hub("berlin-07"):
        world.commit(FILES, "Begin")
        world.serves("berlin-07", "1")
        pins = "  pins: [{model: defect, version: '1'}]\n"
        pinned = world.commit({"edges/berlin-07.yaml": FILES["edges/berlin-07.yaml"] + pins}, "Pin")
    asked = Asked("1", "pinned on berlin-07", "edges/berlin-07.yaml:6")
    last = walk(world, key("berlin-07"), asked)[-1]
    assert (last.what, last.commit, last.place) == ("today", pinned, "edges/berlin-07.yaml:6")
    same = Asked("1", "the default version of defect", "deployments/defect.yaml:7")  # a line above was added
    assert "today" not in whats(walk(world, key("berlin-07"), same))


def test_a_dataset_is_walked_too(story: World) -> None:
    links = walk(story, key("berlin-07", "Dataset"))
    assert whats(links) == ["serving", "outcome", "order", "plan", "line"]
    assert links[-1].place == "datasets/parts.yaml:8"


def test_a_suspension_explains_what_waits(world: World) -> None:
    with world.hub("berlin-07"):
        world.commit(FILES, "Begin")
        state = world.record.state
        state.suspended["*"] = {"actor": "ada", "reason": "night", "time": "t"}
        links = why(
            DELIVER, key("berlin-07"), state, world.record.log.find, lambda name: world.record.log.read(stream=name)
        )
    assert links[-1].what == "suspended"


def test_a_held_plan_explains_its_keys(world: World) -> None:
    with world.hub("berlin-07"):
        world.commit(FILES, "Begin")
        world.serves("berlin-07", "1")
        world.commit({"edges/berlin-07.yaml": None, "edges/berlin-08.yaml": None}, "Too much")
    links = walk(world, key("berlin-07"))
    assert links[-1].what == "held"
    assert "waits for a person" in links[-1].text


def test_a_key_that_cannot_be_expanded_shows_its_problem(world: World) -> None:
    with world.hub("berlin-07"):
        world.commit(dict(FILES) | {"deployments/defect.yaml": SET % "9"}, "Begin")
    links = walk(world, key("berlin-07"))
    assert whats(links) == ["problem"]
    assert links[0].place == "deployments/defect.yaml:6"


def test_nothing_is_known_of_a_stranger() -> None:
    def find(_: str) -> Entry | None:
        pytest.fail("there is nothing to look up")

    assert why(DELIVER, key("elsewhere"), State(), find, lambda _: ()) == []


def test_an_event_that_names_itself_as_cause_ends_the_walk(world: World) -> None:
    with world.hub("berlin-07"):
        world.commit(FILES, "Begin")
        order = next(
            e for e in world.record.log.read() if e.event.type == ev.APPLY_INTENDED and "defect" in e.event.subject
        )
        links = why(
            DELIVER,
            key("berlin-07"),
            world.record.state,
            lambda _: order,
            lambda name: world.record.log.read(stream=name),
        )
    assert whats(links) == ["wanted", "order"]


def meant(now: State, **said: str) -> list[Key]:
    sought = Names.of(now).sought(said)
    return walked(DELIVER, Chosen(sought, known(now, sought)), now)


def test_a_name_of_both_means_the_model_before_the_dataset() -> None:
    model, dataset = Key("InferenceModel", "default", "digits-a", "a"), Key("Dataset", "default", "digits", "a")
    now = State()
    now.stage(DELIVER).keys |= {
        str(dataset): Served(order={"dataset": "digits"}),
        str(model): Served(order={"model": "digits"}),
    }
    assert meant(now, edge="a", model="digits") == [model, dataset]


def test_without_an_edge_all_that_go_by_a_name_are_meant() -> None:
    on_a, on_b = (Key("InferenceModel", "default", f"digits-{edge}", edge) for edge in "ab")
    now = State()
    now.stage(DELIVER).keys |= {str(one): Served(order={"model": "digits"}) for one in (on_b, on_a)}
    assert meant(now, name="digits") == [on_a, on_b]
    for name in ("digits-b", "InferenceModel/digits-b", "InferenceModel/default/digits-b", str(on_b)):
        assert meant(now, name=name) == meant(now, model=name) == [on_b]
    with pytest.raises(NameUnknown, match="nothing is called digit"):
        meant(now, name="digit")


def test_an_edge_that_is_not_heard_is_quoted_and_not_said_to_answer(story: World) -> None:
    (serving, *_) = walk(story, key("berlin-08"))  # its agent is gone
    assert serving.text.startswith("answered version 1")
    assert serving.text.endswith("when it was heard last")
