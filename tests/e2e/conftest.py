from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.artifact_server import ArtifactServer
from tests.e2e.fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose artifacts come from a counting HTTP server; nothing runs yet."""
    with ArtifactServer() as server:
        made = Fleet(tmp_path, server)
        try:
            yield made
        finally:
            made.close()
