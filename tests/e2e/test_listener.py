"""`run` listens as a process: ready after the first commit, followed to its end, gone with it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.git_repository import Repository
from tests.unit.cli_world import FILES

pytestmark = pytest.mark.e2e


def get(place: str, path: str) -> tuple[int, bytes]:
    line = HTTPConnection(place, timeout=20)
    try:
        line.request("GET", path)
        answer = line.getresponse()
        return answer.status, answer.read()
    finally:
        line.close()


def test_a_hub_listens_until_it_ends(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "fleet")
    repository.commit(FILES)
    reconciler = [sys.executable, "-W", "error", "-m", "reconciler"]
    words = ["run", "--repo", str(repository.path), "--state", str(tmp_path / "state"), "--no-agents"]
    environment = os.environ | {"RECONCILER_LISTEN": "127.0.0.1:0"}
    with subprocess.Popen(
        [*reconciler, *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment
    ) as hub:
        try:
            assert hub.stderr is not None
            said = hub.stderr.readline() + hub.stderr.readline()
            found = re.search(rb"listening at http://(127\.0\.0\.1:\d+)", said)
            assert found, said
            place = found[1].decode()
            deadline = time.monotonic() + 30
            while get(place, "/readyz")[0] != 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert get(place, "/healthz") == (200, b"ok\n")
            assert b'reconciler_git_request_total{outcome="ok"}' in get(place, "/metrics")[1]
            assert len(json.loads(get(place, "/api/v1/status")[1])["rows"]) == 4
            follow = [*reconciler, "history", "--hub", f"http://{place}", "--follow", "-o", "json"]
            with subprocess.Popen(follow, stdout=subprocess.PIPE) as follower:
                assert follower.stdout is not None
                assert json.loads(follower.stdout.readline())["type"] == "log.genesis.v1"
                hub.send_signal(signal.SIGTERM)
                rest = follower.stdout.read()
            assert follower.returncode == 0
            assert all(json.loads(line)["kind"] == "Event" for line in rest.splitlines())
            assert hub.wait(30) == 0
            assert hub.stderr.read() == b""
        finally:
            hub.kill()
    with pytest.raises(ConnectionRefusedError):
        get(place, "/healthz")
