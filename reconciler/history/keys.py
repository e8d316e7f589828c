"""What an order, its events and its status are about: an object of the API server, or one object on one edge.

Imports nothing of ours.
"""

from typing import NamedTuple


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

    @property
    def stream(self) -> str:
        """The stream of every event about it, in the hub's log and in the edge's."""
        path = f"{self.kind}/{self.namespace}/{self.name}"
        return f"deploy/{self.edge}/{path}" if self.edge else f"object/{path}"

    @classmethod
    def named(cls, text: str) -> "Key | None":
        """The key that a text is, such as the subject of an event; None where it names something else, or nothing."""
        return cls.parse(text) if text.count("/") == 2 and not text.startswith("/") else None

    @classmethod
    def parse(cls, text: str) -> "Key":
        """The inverse of `str`. Raises ValueError when `text` is not a key."""
        path, _, edge = text.partition("@")
        kind, namespace, name = path.split("/")
        return cls(kind, namespace, name, edge)
