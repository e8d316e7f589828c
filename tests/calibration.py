"""A kind of its own: what can be declared of it, what an edge is told of it, and its row. A plugin of pytest.

`pytest -p tests.calibration` runs with it in the table of kinds, before anything is made of that table.
"""
# ruff: noqa: N815  # field names are the schema's own

from typing import Any, Final

from reconciler.history.keys import Key
from reconciler.history.object_status import Around, Facts, Seen
from reconciler.history.state import State
from reconciler.history.summed import dataset_counts, members_told
from reconciler.model.dataset import DatasetVersion, Reach, ReachCounts
from reconciler.model.fields import Number
from reconciler.model.kind import AGE, READY, Column, Kind
from reconciler.model.shape import Shape, VersionText
from reconciler.model.status import Status
from reconciler.planning.declared import Object
from reconciler.planning.kinds import KINDS, KindRow, by_reach


class CalibrationSpec(Shape):
    """The constants of a camera, by version."""

    versions: tuple[DatasetVersion, ...]
    defaultVersion: VersionText = ""
    edges: Reach = Reach()
    gain: Number = 1.0


class CalibrationStatus(Status):
    """How far it is spread."""

    edges: ReachCounts | None = None


KIND: Final = Kind(
    "Calibration",
    CalibrationSpec,
    "Namespaced",
    "calibrations",
    ("cal",),
    (READY, Column("Default", ".spec.defaultVersion"), AGE),
    CalibrationStatus,
)


def _order(obj: Object, edge: Object) -> dict[str, Any]:
    return {"dataset": obj.name, "format": "calibration", "bytes": True, "camera": edge.name}


def _facts(key: Key, state: State, seen: Seen, around: Around) -> Facts:  # all take the same
    counts, _, failures = dataset_counts(state, around.members)
    return {"edges": counts}, members_told(counts["bytes"], counts["ready"], len(failures), failures, "edges")


KINDS["Calibration"] = KindRow(
    name="Calibration",
    model=__name__,
    selectors=by_reach,
    holding="bytes",
    order=_order,
    rank=0,
    pin=lambda obj: ("dataset", obj.name),
    unset={"defaultVersion": ""},
    numbers=("gain",),
    facts=_facts,
)
