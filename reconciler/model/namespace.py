"""Kind Namespace of the core group: what our objects live in. May import: model.kind, model.shape.

In: a document, where it carries an annotation of our group.  Out: its labels and annotations, to planning. Every other
Namespace in a repository is somebody else's, as all kinds of other groups are.
"""

from typing import Final

from reconciler.model.kind import Kind
from reconciler.model.shape import Shape


class NamespaceSpec(Shape):
    """What objects live in; kept only where it has an annotation of ai.kubeedge.io/. It has metadata alone."""


KIND: Final = Kind("Namespace", NamespaceSpec, "Cluster", "namespaces", ("ns",), (), group="", version="v1")
