"""What an order, its events and its status are about: one object on one edge. Imports nothing of ours."""

from typing import NamedTuple


class Key(NamedTuple):
    """One declared object, as one edge should hold it. Text form: `InferenceModel/default/digits-edge-1@edge-1`."""

    kind: str
    namespace: str
    name: str
    edge: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}@{self.edge}"

    @property
    def stream(self) -> str:
        """The stream of every event about it, in the hub's log and in the edge's."""
        return f"deploy/{self.edge}/{self.kind}/{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "Key":
        """The inverse of `str`. Raises ValueError when `text` is not a key."""
        path, _, edge = text.rpartition("@")
        kind, namespace, name = path.split("/")
        return cls(kind, namespace, name, edge)
