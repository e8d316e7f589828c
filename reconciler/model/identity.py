"""What names a declared object. Imports nothing of ours, and no pydantic: edges use it too."""

from hashlib import sha256
from typing import Final, NamedTuple

GROUP: Final = "ai.kubeedge.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
DEFAULT_NAMESPACE: Final = "default"
# The kinds that others are about: what an edge is, what says how all is done, what lists versions, what makes services.
EDGE: Final = "Edge"
POLICY: Final = "Fleet"
CATALOGUE: Final = "Model"
SET: Final = "InferenceModelSet"
SERVICE: Final = "InferenceModel"
HOME: Final = "Namespace"  # of the core group: what the others live in
SET_LABEL: Final = f"{GROUP}/set"  # the InferenceModelSet that makes it
# Annotations that go with each apply: which operation, of which commit, which entry of the log, by which stage of which
# install. The install stands there as a label too, by its hash, for selectors.
OPERATION: Final = f"{GROUP}/operation-id"
COMMIT: Final = f"{GROUP}/commit"
SEQ: Final = f"{GROUP}/seq"
STAGE: Final = f"{GROUP}/stage"  # which stage made it
INSTALL: Final = f"{GROUP}/install"  # whose object it is
STAMPS: Final = frozenset({OPERATION, COMMIT, SEQ, STAGE, INSTALL})
RIGHT_TO: Final = "the right to "  # how what is missing begins, where that is a right
EDGE_LABEL: Final = f"{GROUP}/edge"  # on an object of the API server: the edge that it is for


class Identity(NamedTuple):
    """One declared object. The namespace is empty for a cluster-scoped kind. Text form: `Dataset/default/faces`."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "Identity":
        """The inverse of `str`. Raises ValueError when `text` is not an identity."""
        kind, namespace, name = text.split("/")
        return cls(kind, namespace, name)


def install_label(install: str) -> str:
    """An install's name as the value of a label, which has no slash and at most 63 characters."""
    return sha256(install.encode()).hexdigest()[:16]
