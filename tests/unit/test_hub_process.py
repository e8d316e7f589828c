"""The hub as a process: who may ring it."""

from contextlib import closing
from pathlib import Path

import pytest

from reconciler import control_socket
from reconciler.engine.queue import Cause, Trigger
from reconciler.history.keys import DELIVER
from reconciler.settings import Settings
from reconciler.wiring.hub import HubProcess
from tests.git_repository import Repository

pytestmark = pytest.mark.enable_socket


def test_only_a_name_rings_a_path_never(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "fleet")
    repository.commit({"README": "x"})
    hub = HubProcess(Settings(repo=str(repository.path), state_dir=tmp_path / "state"), supervise=False)
    with closing(hub.log), closing(hub._control):
        for caller in ("../hub", "", "/etc", "edge-1"):
            control_socket.call(tmp_path / "state" / "hub" / "control.sock", {"verb": "ring", "caller": caller})
        assert hub.queue.take() == Trigger(Cause.EDGE, "edge-1", stage=DELIVER)
        assert hub.queue.is_quiet
