"""What the fetcher makes of each answer of a server."""

import hashlib
import random
import subprocess
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from reconciler.artifacts.fetch import retry_after_s
from reconciler.artifacts.limits import FetchLimits
from reconciler.errors import AddressRefused, ArtifactRefused, ArtifactUnavailable, DigestMismatch, StorageExhausted
from reconciler.ports import Artifact
from tests.artifact_server import ArtifactServer, Bend, Stager

pytestmark = pytest.mark.enable_socket

DATA = random.Random(1).randbytes(1_000_003)
SHA256 = hashlib.sha256(DATA).hexdigest()
HALF = len(DATA) // 2


@pytest.fixture
def server() -> Iterator[ArtifactServer]:
    with ArtifactServer({"/model.onnx": DATA}) as server:
        yield server


@pytest.fixture
def stager(tmp_path: Path) -> Stager:
    return Stager(tmp_path / "store")


def test_a_raw_file_keeps_its_name(server: ArtifactServer, stager: Stager) -> None:
    staged = stager.stage(server.url("/model.onnx?signature=secret"), SHA256, len(DATA))
    assert [p.name for p in staged.path.iterdir()] == ["model.onnx"]
    assert (staged.path / "model.onnx").read_bytes() == DATA
    assert stager.left == [SHA256]


def test_the_request_asks_for_the_bytes_as_they_are(server: ArtifactServer, stager: Stager) -> None:
    stager.stage(server.url("/model.onnx"), SHA256)
    [request] = server.requests
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert "authorization" not in request.headers


@pytest.mark.parametrize("length", ["right", "chunked"])
def test_a_body_of_unknown_size_is_taken_whole(server: ArtifactServer, stager: Stager, length: str) -> None:
    server.bend(Bend(length=length))
    assert stager.stage(server.url("/model.onnx"), SHA256).size == len(DATA)


def test_a_cut_is_resumed_with_the_strong_etag(server: ArtifactServer, stager: Stager) -> None:
    server.bend(Bend(cut_at=HALF))
    staged = stager.stage(server.url("/model.onnx"), SHA256, len(DATA))
    assert server.requests[1].headers["if-range"] == '"v1"'
    assert server.requests[1].headers["range"] == f"bytes={HALF}-"
    assert staged.fetched == len(DATA) == server.sent


@pytest.mark.parametrize("etag", ['W/"v1"', ""])
def test_a_weak_or_missing_etag_is_never_used_to_resume(server: ArtifactServer, stager: Stager, etag: str) -> None:
    server.bend(Bend(cut_at=HALF, etag=etag))
    staged = stager.stage(server.url("/model.onnx"), SHA256, len(DATA))
    assert "range" not in server.requests[1].headers
    assert staged.fetched == HALF + len(DATA)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_passing_troubles_are_tried_again(server: ArtifactServer, stager: Stager, status: int) -> None:
    server.bend(Bend(status=status))
    assert stager.stage(server.url("/model.onnx"), SHA256).size == len(DATA)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 410])
def test_a_clear_no_is_not_asked_again(server: ArtifactServer, stager: Stager, status: int) -> None:
    server.bend(Bend(status=status))
    with pytest.raises(ArtifactRefused, match=str(status)):
        stager.stage(server.url("/model.onnx"), SHA256)
    assert len(server.requests) == 1


def test_retry_after_is_waited_for(server: ArtifactServer, stager: Stager) -> None:
    server.bend(Bend(status=503, headers=(("Retry-After", "7"),)))
    stager.stage(server.url("/model.onnx"), SHA256)
    assert sum(stager.sleeps) == 7


def test_a_long_retry_after_is_left_to_the_queue(server: ArtifactServer, stager: Stager) -> None:
    server.bend(Bend(status=429, headers=(("Retry-After", "3600"),)))
    with pytest.raises(ArtifactUnavailable, match="429"):
        stager.stage(server.url("/model.onnx"), SHA256)
    assert (len(server.requests), stager.sleeps) == (1, [])


def test_tries_are_few_and_back_off(server: ArtifactServer, stager: Stager) -> None:
    server.bend(*[Bend(status=500)] * 9)
    with pytest.raises(ArtifactUnavailable, match="500"):
        stager.stage(server.url("/model.onnx"), SHA256)
    assert len(server.requests) == 4
    assert sum(stager.sleeps) == 0.5 + 1 + 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (formatdate(1060, usegmt=True), 60.0),
        (formatdate(5, usegmt=True), 0.0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_s(value, 1000.0) == seconds


def test_a_redirect_to_the_same_bytes_is_followed(server: ArtifactServer, stager: Stager) -> None:
    server.files["/real"] = DATA
    server.bend(Bend(status=302, headers=(("Location", "/real"),)))
    assert stager.stage(server.url("/model.onnx"), SHA256).size == len(DATA)
    assert [request.path for request in server.requests] == ["/model.onnx", "/real"]


def test_messages_show_neither_query_nor_user(server: ArtifactServer, stager: Stager) -> None:
    server.bend(Bend(status=403))
    with pytest.raises(ArtifactRefused) as caught:
        stager.stage(server.url("/model.onnx?X-Signature=hush"), SHA256)
    assert "hush" not in caught.value.message
    with pytest.raises(AddressRefused) as refused:
        stager.stage("http://user:hush@127.0.0.1/model.onnx", SHA256)
    assert "hush" not in refused.value.message


def test_a_sidecar_holds_no_query(server: ArtifactServer, stager: Stager) -> None:
    stager.limits = FetchLimits(attempts=1)
    server.bend(Bend(cut_at=HALF))
    with pytest.raises(ArtifactUnavailable):
        stager.stage(server.url("/model.onnx?X-Signature=hush"), SHA256, len(DATA))
    [sidecar] = stager.directory.glob("*.partial.json")
    assert "hush" not in sidecar.read_text()


def test_a_signed_url_may_change_its_signature_between_tries(server: ArtifactServer, stager: Stager) -> None:
    stager.limits = FetchLimits(attempts=1)
    server.bend(Bend(cut_at=HALF))
    with pytest.raises(ArtifactUnavailable):
        stager.stage(server.url("/model.onnx?signature=1"), SHA256, len(DATA))
    assert stager.stage(server.url("/model.onnx?signature=2"), SHA256, len(DATA)).fetched == len(DATA) - HALF


def test_another_path_begins_from_nothing(server: ArtifactServer, stager: Stager) -> None:
    stager.limits = FetchLimits(attempts=1)
    server.files["/mirror"] = DATA
    server.bend(Bend(cut_at=HALF))
    with pytest.raises(ArtifactUnavailable):
        stager.stage(server.url("/model.onnx"), SHA256, len(DATA))
    assert stager.stage(server.url("/mirror"), SHA256, len(DATA)).fetched == len(DATA)


def test_a_partial_that_is_complete_is_not_asked_for(server: ArtifactServer, stager: Stager) -> None:
    stager.store()
    (stager.directory / f"{SHA256}.partial").write_bytes(DATA)
    origin = f'{{"url": "{server.url("/model.onnx")}", "etag": "", "total": {len(DATA)}}}'
    (stager.directory / f"{SHA256}.partial.json").write_text(origin)
    assert stager.stage(server.url("/model.onnx"), SHA256, len(DATA)).fetched == 0
    assert server.requests == []


def test_a_rotten_partial_costs_one_more_download_not_the_version(server: ArtifactServer, stager: Stager) -> None:
    stager.limits = FetchLimits(attempts=1)
    server.bend(Bend(cut_at=HALF))
    with pytest.raises(ArtifactUnavailable):
        stager.stage(server.url("/model.onnx"), SHA256, len(DATA))
    with (stager.directory / f"{SHA256}.partial").open("r+b") as partial:
        partial.write(b"rotten")
    assert stager.stage(server.url("/model.onnx"), SHA256, len(DATA)).fetched == (len(DATA) - HALF) + len(DATA)


def test_without_digest_and_length_nothing_proves_the_end(server: ArtifactServer, stager: Stager) -> None:
    server.bend(Bend(length="absent"))
    with pytest.raises(ArtifactRefused, match="no length"):
        stager.stage(server.url("/model.onnx"), "")


def test_no_room_is_said_before_the_first_byte(server: ArtifactServer, stager: Stager) -> None:
    stager.options["reserve_bytes"] = 1 << 60
    with pytest.raises(StorageExhausted, match=f"{2 * len(DATA) + (1 << 60)} bytes needed"):
        stager.stage(server.url("/model.onnx"), SHA256, len(DATA))
    assert server.requests == []


def test_no_room_for_an_announced_length_is_said_before_its_body(server: ArtifactServer, stager: Stager) -> None:
    server.bend(Bend(length=1 << 50, cut_at=0))
    with pytest.raises(StorageExhausted, match="bytes needed"):
        stager.stage(server.url("/model.onnx"), SHA256)


def test_upper_case_digests_are_the_same(server: ArtifactServer, stager: Stager) -> None:
    assert stager.stage(server.url("/model.onnx"), SHA256.upper()).sha256 == SHA256


def test_a_digest_that_is_a_path_is_refused(server: ArtifactServer, stager: Stager) -> None:
    with pytest.raises(ArtifactRefused, match="not a sha256"):
        stager.stage(server.url("/model.onnx"), "../../etc/passwd")
    with pytest.raises(ArtifactRefused, match="not a sha256"):
        stager.store().evict("../..")


def test_a_file_url_is_copied(stager: Stager, tmp_path: Path) -> None:
    (tmp_path / "my model.onnx").write_bytes(DATA)
    url = (tmp_path / "my model.onnx").as_uri()
    staged = stager.stage(url, SHA256, len(DATA), allow_file=True)
    assert (staged.path / "my model.onnx").read_bytes() == DATA
    assert staged.fetched == 0


def test_a_file_url_needs_leave_and_a_regular_file(stager: Stager, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(DATA)
    with pytest.raises(AddressRefused, match="not allowed"):
        stager.stage((tmp_path / "model").as_uri(), SHA256)
    with pytest.raises(AddressRefused, match="has a host"):
        stager.stage(f"file://host{tmp_path}/model", SHA256, allow_file=True)
    for path in (tmp_path, Path("/dev/zero"), tmp_path / "absent"):
        with pytest.raises(ArtifactRefused):
            stager.stage(path.as_uri(), SHA256, allow_file=True)


def test_progress_is_told_at_most_ten_times_a_second(server: ArtifactServer, stager: Stager) -> None:
    stager.clock.step = 0.001
    stager.stage(server.url("/model.onnx"), SHA256, len(DATA))
    looked, stages = stager.clock.monotonic(), {stage for stage, _, _ in stager.told}
    assert len(stager.told) <= len(stages) + looked / 0.1


def test_https_is_verified_against_the_name(tmp_path: Path, stager: Stager, monkeypatch: pytest.MonkeyPatch) -> None:
    import ssl

    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout {key} -out {cert}"
    )
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    stager.limits = FetchLimits(attempts=1)
    with ArtifactServer({"/model.onnx": DATA}, tls=context) as server:
        url = server.url("/model.onnx", host="localhost", scheme="https")
        with pytest.raises(ArtifactUnavailable, match="certificate"):
            stager.stage(url, SHA256)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        with pytest.raises(ArtifactUnavailable, match="certificate"):
            stager.stage(server.url("/model.onnx", scheme="https"), SHA256)
        assert stager.stage(url, SHA256).size == len(DATA)


def test_a_mismatch_removes_the_partial(server: ArtifactServer, stager: Stager) -> None:
    with pytest.raises(DigestMismatch):
        stager.stage(server.url("/model.onnx"), "0" * 64)
    assert stager.left == [f"{'0' * 64}.refused.json"]


@pytest.mark.parametrize("how", ["etag", "date", "length", "etag of a server that ignores it"])
def test_bytes_that_were_refused_are_not_fetched_again_while_they_are_the_same(
    server: ArtifactServer, stager: Stager, how: str
) -> None:
    dated = (("Last-Modified", "Sun, 22 Nov 2026 10:00:00 GMT"),)
    first = Bend(etag="", headers=dated if how == "date" else ()) if how in {"date", "length"} else Bend()
    server.bend(first, first if how != "etag" else Bend(status=304))
    messages = []
    for _ in range(2):  # the second store is that of a new process
        stager.told.clear()
        with pytest.raises(DigestMismatch) as told:
            stager.stage(server.url("/model.onnx"), "0" * 64)
        messages.append(str(told.value))
    assert messages[0] == messages[1]
    asked = server.requests[1].headers
    wanted = {"date": ("if-modified-since", dated[0][1]), "length": ("if-none-match", None)}
    name, value = wanted.get(how, ("if-none-match", '"v1"'))
    assert asked.get(name) == value
    assert stager.told == []  # no byte of a body was taken


def test_what_has_changed_since_it_was_refused_is_fetched(server: ArtifactServer, stager: Stager) -> None:
    server.bend(Bend(body=b"wrong" * 10, etag='"v0"'))
    with pytest.raises(DigestMismatch):
        stager.stage(server.url("/model.onnx"), SHA256)
    assert stager.stage(server.url("/model.onnx"), SHA256).fetched == len(DATA)
    assert server.requests[1].headers["if-none-match"] == '"v0"'
    assert stager.left == [SHA256]


def test_a_person_has_refused_bytes_fetched_anew(server: ArtifactServer, stager: Stager) -> None:
    server.bend(Bend(body=bytes(len(DATA))))  # the same length, and the same tag as the right ones
    with pytest.raises(DigestMismatch):
        stager.stage(server.url("/model.onnx"), SHA256)
    with pytest.raises(DigestMismatch):
        stager.stage(server.url("/model.onnx"), SHA256)
    artifact = Artifact(SHA256, server.url("/model.onnx"), allow_loopback=True, anew=True)
    assert stager.store().stage(artifact, lambda *_: None, lambda: False).fetched == len(DATA)


def test_another_pin_is_not_what_was_refused(server: ArtifactServer, stager: Stager) -> None:
    with pytest.raises(DigestMismatch, match="has 1000003 bytes, and 2000000 are declared: correct its `size`"):
        stager.stage(server.url("/model.onnx"), SHA256, 2_000_000)
    assert stager.told == []  # no byte of a body was taken
    assert stager.stage(server.url("/model.onnx"), SHA256, len(DATA)).fetched == len(DATA)
    with pytest.raises(DigestMismatch, match="correct its `size`"):  # also of what is here by now
        stager.stage(server.url("/model.onnx"), SHA256, 2_000_000)


def test_the_same_url_without_digest_is_kept_once(server: ArtifactServer, stager: Stager) -> None:
    first = stager.stage(server.url("/model.onnx"), "")
    again = stager.store().stage(
        Artifact("", server.url("/model.onnx"), allow_loopback=True), lambda *_: None, lambda: False
    )
    assert (first.path, first.sha256) == (again.path, again.sha256)
    assert stager.left == [SHA256]
