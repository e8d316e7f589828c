"""Keys (an object of the API server, or one on an edge), the streams of their events, and their scopes.

May import: model.identity.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from reconciler.model.identity import EDGE_LABEL, SET_LABEL

SETS: Final = "InferenceModelSet/"  # how the key of every set begins
DECLARE, DELIVER = "declare", "deliver"  # stages: what the API server should hold, what each edge should

_SPACES: Final = {DECLARE: "object", DELIVER: "deploy"}  # how their streams begin; those of other stages by their name
_STAGES: Final = {space: stage for stage, space in _SPACES.items()}


class Key(NamedTuple):
    """One declared object, as one edge should hold it; with edge "" as the API server should.

    Text form: `InferenceModel/default/digits-edge-1@edge-1`, and `InferenceModel/default/digits-edge-1`.
    """

    kind: str
    namespace: str
    name: str
    edge: str

    def __str__(self) -> str:
        path = f"{self.kind}/{self.namespace}/{self.name}"
        return f"{path}@{self.edge}" if self.edge else path

    @classmethod
    def named(cls, text: str) -> "Key | None":
        """The key that a text is, such as the subject of an event; None where it names something else, or nothing."""
        path, _, _ = text.partition("@")
        return cls.parse(text) if path.count("/") == 2 and not path.startswith("/") else None

    @classmethod
    def parse(cls, text: str) -> "Key":
        """The inverse of `str`. Raises ValueError when `text` is not a key."""
        path, _, edge = text.partition("@")
        kind, namespace, name = path.split("/")
        return cls(kind, namespace, name, edge)


def stream_of(stage: str, key: Key) -> str:
    """The stream of every event about a key of a stage; of `deliver` the same in the hub's log and in the edge's."""
    path = f"{key.kind}/{key.namespace}/{key.name}"
    return f"{_SPACES.get(stage, stage)}/{key.edge}/{path}" if key.edge else f"{_SPACES.get(stage, stage)}/{path}"


def stage_of(stream: str) -> str:
    """The stage that a stream is of: of its keys, or of its `plan/`, `waits/` or `problems/`; "" where of none."""
    first, _, rest = stream.partition("/")
    if first in {"plan", "waits", "problems"}:
        return rest
    return _STAGES.get(first, first) if rest.count("/") >= 2 else ""  # kind, namespace and name


def spoken(key: Key | str) -> str:
    """A key as sentences have it: `Edge/berlin` for what is in no namespace."""
    return str(key).replace("//", "/", 1)


def scopes_of(key: Key, labels: Mapping[str, str], edge: str = "") -> tuple[str, ...]:
    """By which names what belongs to a key is suspended: everything, its edge, itself, its object, the object's set.

    labels: of the object, where the key is one.  edge: on which it runs, where that is known otherwise.
    """
    edge = key.edge or edge or labels.get(EDGE_LABEL, "") or (key.name if key.kind == "Edge" else "")
    scopes = ("*", edge, str(key), str(key._replace(edge="")), set_scope(key.namespace, labels))
    return tuple(filter(None, dict.fromkeys(scopes)))


def set_scope(namespace: str, labels: Mapping[str, str]) -> str:
    """The key of the set that makes an object with these labels; "" where none does."""
    name = labels.get(SET_LABEL, "")
    return f"{SETS}{namespace}/{name}" if name else ""
