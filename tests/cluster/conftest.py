"""Tests here talk to a real API server."""

from tests.control_plane.fixtures import (
    cluster,
    control_plane,
    our_objects,
    pytest_collection_finish,
    pytest_collection_modifyitems,
)

__all__ = ["cluster", "control_plane", "our_objects", "pytest_collection_finish", "pytest_collection_modifyitems"]
