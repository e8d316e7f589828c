"""`plan --check` looks at new URLs and ports before the push: off unless asked, bounded, by the downloader's rules."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from reconciler.cli import plan_check
from reconciler.cli.followed import settings_of
from reconciler.wiring.preview import preview
from tests.artifact_server import ArtifactServer, Bend
from tests.unit.cli_world import EDGE, MODEL, SET, SHA, World
from tests.unit.conftest import Call, Said

pytestmark = pytest.mark.enable_socket

FLEET = """\
apiVersion: ai.kubeedge.io/v1alpha1
kind: Fleet
metadata: {name: fleet}
spec: {artifacts: {allowLoopback: %s}}
"""
Check = Callable[..., Said]


@pytest.fixture
def server() -> Iterator[ArtifactServer]:
    with ArtifactServer({"/3.tar.gz": b"x" * 1234}) as made:
        yield made


@pytest.fixture
def check(call: Call, settled: World, server: ArtifactServer) -> Check:
    """The plan of a commit that brings version 3 at a URL of the server."""
    with settled.hub("berlin-07", "berlin-08"):
        settled.commit({"fleet.yaml": FLEET % "true"}, "Allow loopback")

    def checked(path: str, size: str = "1234", words: tuple[str, ...] = ("--check",)) -> Said:
        entry = f"    - {{version: '3', downloadURL: '{server.url(path)}', sha256sum: {SHA['3']}, size: {size}}}\n"
        settled.repository.commit({"models/defect.yaml": MODEL + entry, "deployments/defect.yaml": SET % "3"})
        return call("plan", "--repo", settled.repository.path, "--state", settled.place.root, *words)

    return checked


def test_nothing_is_asked_unless_it_is_asked_for(check: Check, server: ArtifactServer) -> None:
    assert check("/3.tar.gz", words=()).code == 1
    assert server.requests == []


def test_what_is_there_in_its_size_is_in_order_and_one_byte_is_asked_for(check: Check, server: ArtifactServer) -> None:
    said = check("/3.tar.gz")
    lines = [line for line in said.out.splitlines() if line.startswith("check:")]
    assert (said.code, lines) == (1, ["check: looked at 1 new URL and 0 new ports: nothing is wrong there"])
    (request,) = server.requests  # for two edges
    assert request.headers["range"] == "bytes=0-0"
    assert not {"authorization", "cookie"} & request.headers.keys()


@pytest.mark.parametrize(
    ("asked", "bend", "says"),
    [
        (("/gone.tar.gz", "1234"), None, "RX410: URL answered 404 Bent (deployments/defect.yaml:6)"),
        (("/3.tar.gz", "1235"), None, "RX410: URL has 1234 bytes; 1235 are declared"),
        (("/3.tar.gz", "1235"), Bend(ignore_range=True), "RX410: URL has 1234 bytes; 1235 are declared"),
        (("/3.tar.gz", "1"), Bend(status=403), "RX410: URL answered 403 Bent"),
        (("/3.tar.gz", "1"), Bend(status=302, headers=(("Location", "file:///etc/passwd"),)), "RX403: scheme 'file'"),
        (("/3.tar.gz", "1"), Bend(status=302, headers=(("Location", "http://169.254.169.254/"),)), "RX403: "),
    ],
)
def test_what_is_not_as_declared_is_refused(
    check: Check, server: ArtifactServer, asked: tuple[str, str], bend: Bend | None, says: str
) -> None:
    if bend is not None:
        server.bend(bend)
    said = check(*asked)
    assert said.code == 3
    assert f"check: {says}".replace("URL", server.url(asked[0])) in said.out


@pytest.mark.parametrize("bend", [Bend(status=503), Bend(stall_at=0, length=5)])
def test_what_cannot_be_told_is_said_and_refuses_nothing(
    check: Check, server: ArtifactServer, bend: Bend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_check, "EACH_S", 0.5)
    if bend.status is None:
        monkeypatch.setattr(plan_check, "look", _unheard)
    server.bend(bend)
    said = check("/3.tar.gz")
    assert said.code == 1
    assert "check: it cannot be told: RX302: " in said.out


def _unheard(url: str, *_: object, **__: object) -> None:
    from reconciler.errors import ArtifactUnavailable

    raise ArtifactUnavailable(f"{url}: not done within 0.5 s")


@pytest.mark.parametrize(
    ("allows", "size", "name", "says"),
    [
        ("true", "1234", "3.tar.gz", "looked at 1 new URL and 0 new ports: nothing is wrong there"),
        ("true", "1235", "3.tar.gz", "RX410: URL has 1234 bytes; 1235 are declared"),
        ("true", "1234", "gone.tar.gz", "RX410: URL cannot be read"),
        ("true", "1234", "", "RX410: URL is not a regular file"),
        ("false", "1234", "3.tar.gz", "RX403: the file URL URL is not allowed"),
    ],
)
def test_a_file_of_this_machine_is_looked_at(  # noqa: PLR0917  # fixtures and one case
    call: Call, settled: World, allows: str, size: str, name: str, says: str
) -> None:
    with settled.hub("berlin-07", "berlin-08"):
        settled.commit({"fleet.yaml": FLEET.replace("allowLoopback: %s", f"allowFile: {allows}")}, "Allow files")
    (settled.root / "files").mkdir()
    (settled.root / "files" / "3.tar.gz").write_bytes(b"x" * 1234)
    file = f"{settled.root}/files/{name}"
    entry = f"    - {{version: '3', downloadURL: 'file://{file}', sha256sum: {SHA['3']}, size: {size}}}\n"
    settled.repository.commit({"models/defect.yaml": MODEL + entry, "deployments/defect.yaml": SET % "3"})
    said = call("plan", "--repo", settled.repository.path, "--state", settled.place.root, "--check")
    assert said.code == (1 if "nothing" in says else 3)
    assert f"check: {says}".replace("URL URL", f"URL file://{file}").replace(": URL", f": file://{file}") in said.out


def test_what_is_not_looked_at_is_counted(call: Call, settled: World) -> None:
    moved = MODEL.replace("models.example.com", "mirror.example.com")
    settled.repository.commit({"models/defect.yaml": moved})
    said = call("plan", "--repo", settled.repository.path, "--state", settled.place.root, "--check")
    assert said.code == 1
    assert (
        "check: looked at 0 new URLs and 0 new ports; not looked at: 1 URL whose content an edge has already"
        in said.out
    )


def test_files_and_ports_of_other_machines_are_not_judged_by_this_one(settled: World) -> None:
    with settled.hub("berlin-07", "berlin-08"):
        settled.commit({"fleet.yaml": FLEET % "true"}, "Allow loopback")
    entry = f"    - {{version: '3', downloadURL: 'file:///not/here', sha256sum: {SHA['3']}}}\n"
    settled.repository.commit({"models/defect.yaml": MODEL + entry, "deployments/defect.yaml": SET % "3"})
    options = {"repo": str(settled.repository.path), "state_dir": settled.place.root}
    with preview(settings_of(options), uncommitted=True) as ahead:
        found = plan_check.checked(ahead.plan().steps, ahead.state, here=False)
    assert found.found == []
    assert found.looked.endswith("not looked at: 1 file URL of other machines, ports of other machines")


def test_redirects_without_end_are_bounded(check: Check, server: ArtifactServer) -> None:
    server.bend(*[Bend(status=302, headers=(("Location", "/3.tar.gz"),))] * 9)
    said = check("/3.tar.gz")
    assert "redirects more than 5 times" in said.out
    assert len(server.requests) == 6


def test_a_loopback_address_is_for_who_allows_it(call: Call, settled: World, server: ArtifactServer) -> None:
    entry = f"    - {{version: '3', downloadURL: '{server.url('/3.tar.gz')}', sha256sum: {SHA['3']}}}\n"
    settled.repository.commit({"models/defect.yaml": MODEL + entry, "deployments/defect.yaml": SET % "3"})
    said = call("plan", "--repo", settled.repository.path, "--state", settled.place.root, "--check")
    assert (said.code, server.requests) == (3, [])
    assert "a loopback address" in said.out


def test_no_more_than_a_number_is_asked(check: Check, server: ArtifactServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_check, "MOST", 0)
    said = check("/3.tar.gz")
    assert (said.code, server.requests) == (1, [])
    assert "1 of 1 new URLs were not looked at" in said.out


def test_a_port_of_somebody_else_is_named_and_our_own_is_not(call: Call, settled: World) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        settled.repository.commit(
            {
                "edges/berlin-07.yaml": EDGE % ("berlin-07", "127.0.0.1"),
                "deployments/defect.yaml": (SET % "1").replace("8080", str(port)),
            }
        )
        said = call("plan", "--repo", settled.repository.path, "--state", settled.place.root, "--check")
    assert said.code == 3
    assert f"check: RX406: 127.0.0.1 port {port}: " in said.out
    assert "127.0.0.3 port" not in said.out  # nobody has it there
