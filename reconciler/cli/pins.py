"""What a pin on an edge can be about. May import: planning, model, errors.

In: what the branch declares.  Out: subjects, to `pin` and `rollback --edge`. A pin acts where sets and datasets are
expanded; a plain InferenceModel says its own targetVersion.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.errors import NameUnknown, UsageError
from reconciler.history.keys import Key
from reconciler.model.identity import EDGE
from reconciler.natural import in_order, listed
from reconciler.planning.declared import Declared, Object
from reconciler.planning.kinds import KINDS
from reconciler.planning.names import word
from reconciler.planning.reach import keys_on
from reconciler.planning.versions import entries_of, holder_of

if TYPE_CHECKING:
    from reconciler.sources.mirror import Mirror


@dataclass(frozen=True)
class Pinnable:
    """What a pin names: `model` or `dataset`, its name, and which versions there are. key: what it changes."""

    field: str
    name: str
    versions: tuple[str, ...]
    key: Key

    @property
    def called(self) -> str:
        """As messages call it: a model by its name, a dataset as one."""
        return self.name if self.field == "model" else f"dataset {self.name}"

    def words(self) -> dict[str, str]:
        """As sources.edit takes it."""
        return {self.field: self.name}


def edge_of(declared: Declared, name: str) -> Object:
    """The Edge of this name. Raises NameUnknown with the names there are."""
    said = word(name)
    edge = declared.edge(said.text) if said.role in {"", "edge"} else None
    if edge is None:
        there = in_order(edge.name for edge in declared.of_kind(EDGE))
        raise NameUnknown(f"the repository declares no edge {name}", hint=_instead(said.text, there, "it declares"))
    return edge


def _instead(name: str, there: Sequence[str], begins: str) -> str:
    near = difflib.get_close_matches(name, there, 1)
    has = f"{begins} {listed(there) or 'nothing'}"
    return f"is {near[0]} meant? {has}" if near else has


def subjects(declared: Declared, edge: Object) -> Iterator[Pinnable]:
    """Everything on this edge that a pin can act on."""
    for key, source in keys_on(declared, edge):
        field, name = KINDS[source.kind].pin(source)
        if field:
            versions = (str(entry["version"]) for entry in entries_of(holder_of(declared, source)))
            yield Pinnable(field, name, tuple(versions), key)


def subject_of(declared: Declared, edge: Object, name: str, version: str) -> Pinnable:
    """What `name` means on this edge: a model before a dataset, unless only the dataset has the version.

    Raises NameUnknown for a name or version that there is not, UsageError for what says its own version.
    """
    there, said = list(subjects(declared, edge)), word(name)
    named = [one for one in there if one.name == said.text and (not said.role or one.field == said.role)]
    named.sort(key=lambda one: one.field != "model")
    if not named:
        for key, source in keys_on(declared, edge):
            if not KINDS[source.kind].pin(source)[0] and said.text in {key.name, source.spec.get("modelName")}:
                place = source.place("targetVersion")
                raise UsageError(f"{name} is an InferenceModel of its own", hint=f"change targetVersion at {place}")
        hint = _instead(said.text, in_order(one.name for one in there), "it gets")
        raise NameUnknown(f"{edge.name} gets no {name}", hint=hint)
    if not version:
        return named[0]
    for one in named:
        if version in one.versions:
            return one
    has = "; ".join(f"{one.called} has {', '.join(one.versions) or 'none'}" for one in named)
    raise NameUnknown(f"{named[0].called} has no version {version}", hint=has)


def pinned_until(edge: Object, subject: Pinnable) -> str:
    """The expiry, as it is written, of the pin that the edge has for this subject; "" without one."""
    pins = edge.spec.get("pins") or ()
    return next((str(pin.get("expires") or "") for pin in pins if pin.get(subject.field) == subject.name), "")


def text_at(mirror: "Mirror", head: str, path: str) -> str:
    """A manifest as `head` has it. Raises NameUnknown when it is not there."""
    oid = next((change.new_oid for change in mirror.changes(None, head) if change.path == path), None)
    content = mirror.blobs([oid]).get(oid) if oid else None
    if content is None:
        raise NameUnknown(f"there is no file {path} in commit {head[:7]}")
    return content.decode()
