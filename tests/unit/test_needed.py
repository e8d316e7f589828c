"""What an edge must keep on disk: what its slots stand on, and what is ordered."""

from pathlib import Path

from reconciler.edge.slots import Slots
from reconciler.history.keys import DELIVER, Key
from reconciler.history.state import Served, State
from reconciler.wiring.agent import needed

MODEL, DATA = Key("InferenceModel", "default", "digits", "e1"), Key("Dataset", "default", "faces", "e1")


def test_fault_110_the_serving_the_previous_and_the_ordered_artifact_are_needed(tmp_path: Path) -> None:
    def slots(key: Key) -> Slots:
        return Slots(tmp_path / "services", tmp_path / "store", key)

    for version in ("a", "b", "c"):  # a was left two flips ago
        slots(MODEL).flip({"version": version, "sha256": version * 64})
    slots(DATA).flip({"version": "1", "sha256": "d" * 64})
    state = State()
    state.stage(DELIVER).keys |= {str(MODEL): Served(order={"sha256": "e" * 64}), str(DATA): Served()}
    assert needed(state, slots) - {""} == {letter * 64 for letter in "bcde"}
