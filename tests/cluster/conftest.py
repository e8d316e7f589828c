"""Tests here talk to a real API server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster_hub import World
from tests.control_plane.fixtures import (
    cluster,
    control_plane,
    our_objects,
    pytest_collection_finish,
    pytest_collection_modifyitems,
)
from tests.control_plane.plane import ControlPlane

__all__ = ["cluster", "control_plane", "our_objects", "pytest_collection_finish", "pytest_collection_modifyitems"]


@pytest.fixture
def world(cluster: ControlPlane, tmp_path: Path) -> Iterator[World]:
    """A hub's world; nothing runs yet."""
    made = World(cluster, tmp_path)
    try:
        yield made
    finally:
        made.close()
