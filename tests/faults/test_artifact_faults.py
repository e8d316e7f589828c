"""Faults of downloads, archives and disks, each by its number in the catalogue, against a whole store."""

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import random
import signal
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.artifacts.limits import FetchLimits, UnpackLimits
from reconciler.artifacts.receipt import read_receipt, verify_tree
from reconciler.artifacts.unpack import judge
from reconciler.artifacts.unpacker import Outcome
from reconciler.engine.failpoints import STEPS
from reconciler.errors import (
    AddressRefused,
    ArchiveRefused,
    ArtifactRefused,
    ArtifactUnavailable,
    DigestMismatch,
    StorageExhausted,
)
from reconciler.ports import Staged
from tests.artifact_server import ArtifactServer, Bend, Stager

pytestmark = pytest.mark.enable_socket

DATA = random.Random(1).randbytes(1_000_003)
SHA256 = hashlib.sha256(DATA).hexdigest()
HALF = len(DATA) // 2
CHUNK = 1 << 18


@pytest.fixture
def server() -> Iterator[ArtifactServer]:
    with ArtifactServer({"/m": DATA}) as server:
        yield server


@pytest.fixture
def stager(tmp_path: Path) -> Stager:
    return Stager(tmp_path / "store")


def stage_file(stager: Stager, packed: bytes) -> Staged:
    """Stage these bytes from a file: URL, with their own digest."""
    source = stager.directory.with_name("source")
    source.write_bytes(packed)
    return stager.stage(source.as_uri(), hashlib.sha256(packed).hexdigest(), len(packed), allow_file=True)


def assert_refused(stager: Stager, packed: bytes, why: str) -> None:
    """The archive is refused for this reason, and nothing of it is left."""
    with pytest.raises(ArchiveRefused, match=why):
        stage_file(stager, packed)
    assert stager.left == []


# Archives by hand, since no tool writes the bad ones.


def header(
    name: bytes, size: bytes = b"%011o\0" % 0, kind: bytes = b"0", mode: int = 0o644, link: bytes = b""
) -> bytes:
    """One tar header with a checksum that fits, whatever it says."""
    fields = (name, b"%07o\0" % mode, b"%07o\0" % 0, b"%07o\0" % 0, size, b"%011o\0" % 0, b" " * 8, kind, link)
    block = struct.pack("100s8s8s8s12s12s8sc100s6s2s", *fields, b"ustar\0", b"00").ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def member(name: bytes, content: bytes = b"", kind: bytes = b"0", mode: int = 0o644, link: bytes = b"") -> bytes:
    padding = b"\0" * (-len(content) % 512)
    return header(name, b"%011o\0" % len(content), kind, mode, link) + content + padding


def tar(*members: bytes) -> bytes:
    return b"".join(members) + b"\0" * 1024


def pax(**records: str) -> bytes:
    body = b""
    for key, value in records.items():
        record = f" {key}={value}\n".encode()
        length = len(record) + len(str(len(record) + 2))
        body += b"%d" % length + record
    return member(b"pax", body, b"x")


GOOD = tar(member(b"model.onnx", DATA[:5000]), member(b"labels.txt", b"a\n"))


def zipped(*entries: tuple[str, bytes], mode: int = 0o100644, method: int = zipfile.ZIP_DEFLATED) -> bytearray:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type, info.external_attr = method, mode << 16
            archive.writestr(info, content)
    return bytearray(packed.getvalue())


# Room and rot.


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOSPC, "no space or inodes"),
        (errno.EDQUOT, "quota"),
        (errno.EMFILE, "too many open files"),
        (errno.EFBIG, "that large"),
    ],
)
def test_fault_7_a_full_disk_refuses_with_its_own_reason(
    server: ArtifactServer, stager: Stager, monkeypatch: pytest.MonkeyPatch, number: int, why: str
) -> None:
    def write(fd: int, data: bytes, real: Callable[[int, bytes], int] = os.write) -> int:
        if os.fstat(fd).st_size >= HALF:
            raise OSError(number, os.strerror(number))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StorageExhausted, match=why):
        stager.stage(server.url("/m"), SHA256, len(DATA))
    assert stager.left == []
    monkeypatch.undo()
    assert stager.stage(server.url("/m"), SHA256, len(DATA)).size == len(DATA)


def test_fault_7_no_room_to_unpack_leaves_nothing(stager: Stager) -> None:
    stager.options["unpack_limits"] = UnpackLimits(reserve_bytes=1 << 62)
    with pytest.raises(StorageExhausted, match="bytes needed to unpack"):
        stage_file(stager, GOOD)
    assert stager.left == []


def test_fault_9_admission_names_needed_and_free(server: ArtifactServer, stager: Stager) -> None:
    def small(path: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 1000, 100, 100, 9999, 9999, 9999, 0, 255))

    def no_inodes(path: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 10**6, 10**6, 10**6, 9999, 3, 3, 0, 255))

    stager.options["statvfs"] = small
    with pytest.raises(StorageExhausted, match=f"^{2 * len(DATA)} bytes needed .* 409600 free"):
        stager.stage(server.url("/m"), SHA256, len(DATA))
    stager.options["statvfs"] = no_inodes
    with pytest.raises(StorageExhausted, match="inodes needed, 3 free"):
        stager.stage(server.url("/m"), SHA256, len(DATA))
    assert server.requests == []


def test_fault_11_rot_is_found_by_the_check_and_fetched_again(server: ArtifactServer, stager: Stager) -> None:
    path = stager.stage(server.url("/m"), SHA256).path / "m"
    with path.open("r+b") as file:
        file.seek(HALF)
        file.write(bytes([DATA[HALF] ^ 1]))
    store = stager.store()
    assert not store.check(SHA256)
    store.evict(SHA256)
    assert stager.stage(server.url("/m"), SHA256).fetched == len(DATA)
    assert stager.store().check(SHA256)


# Transfers.


def test_fault_94_cut_twice_and_restarted_it_fetches_each_byte_once(server: ArtifactServer, stager: Stager) -> None:
    stager.limits = FetchLimits(attempts=1)
    server.bend(Bend(cut_at=HALF), Bend(cut_at=1000))
    for _ in range(2):
        with pytest.raises(ArtifactUnavailable):
            stager.stage(server.url("/m"), SHA256, len(DATA))
    staged = stager.stage(server.url("/m"), SHA256, len(DATA))
    assert (staged.path / "m").read_bytes() == DATA
    assert staged.fetched == len(DATA) - HALF - 1000
    assert server.sent == len(DATA)


STAGE = """
import sys
from pathlib import Path
from reconciler.artifacts.store import Store
from reconciler.ports import Artifact
from tests.artifact_server import SteppingClock
directory, url, sha256, size = sys.argv[1:]
store = Store(Path(directory), clock=SteppingClock(), reserve_bytes=0)
store.stage(Artifact(sha256, url, int(size), allow_loopback=True), lambda *_: None, lambda: False)
store.evict(sha256)
"""


def run_until(failpoint: str, stager: Stager, url: str, packed: bytes) -> int:
    """The return code of a process that stages and evicts, and is to die at this step."""
    arguments = [str(stager.directory), url, hashlib.sha256(packed).hexdigest(), str(len(packed))]
    environment = os.environ | {"RECONCILER_FAILPOINT": f"{failpoint}:kill"}
    return subprocess.run([sys.executable, "-c", STAGE, *arguments], env=environment, check=False).returncode


@pytest.mark.slow
@pytest.mark.parametrize("step", [name for name in STEPS if name.startswith("store.")])
def test_fault_2_killed_at_any_step_it_goes_on_and_fetches_nothing_twice(
    server: ArtifactServer, stager: Stager, step: str
) -> None:
    packed = gzip.compress(GOOD)
    server.files["/m.tar.gz"] = packed
    url = server.url("/m.tar.gz")
    assert run_until(step, stager, url, packed) == -9
    sha256 = hashlib.sha256(packed).hexdigest()
    staged = stager.stage(url, sha256, len(packed))
    assert sorted(p.name for p in staged.path.iterdir()) == ["labels.txt", "model.onnx"]
    assert stager.store().check(sha256)
    assert [name for name in stager.left if name.endswith(".tmp")] == []
    assert len(server.requests) == (2 if step == "store.hidden" else 1)


def test_fault_94_killed_in_the_middle_at_most_a_chunk_is_fetched_twice(server: ArtifactServer, stager: Stager) -> None:
    server.bend(Bend(stall_at=HALF))
    partial = stager.directory / f"{SHA256}.partial"
    command = [sys.executable, "-c", STAGE, str(stager.directory), server.url("/m"), SHA256, str(len(DATA))]
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 30
        while not (partial.exists() and partial.stat().st_size > HALF - CHUNK):
            assert process.poll() is None
            assert time.monotonic() < deadline
        process.kill()
    assert stager.stage(server.url("/m"), SHA256, len(DATA)).fetched <= len(DATA) - HALF + CHUNK


@pytest.mark.parametrize(
    ("bend", "fetched"),
    [
        (Bend(ignore_range=True), len(DATA)),
        (Bend(status=416), len(DATA)),
        (Bend(content_range=f"bytes 0-{len(DATA) - 1}/{len(DATA)}"), len(DATA)),
        (Bend(content_range=f"bytes {HALF}-{len(DATA)}/{len(DATA) + 1}"), len(DATA)),
        (Bend(content_range="bytes */7"), len(DATA)),
        (Bend(etag='"v2"'), len(DATA)),
        (Bend(etag='"v2"', ignore_if_range=True), len(DATA)),
        (Bend(gzip=True), len(DATA)),
    ],
)
def test_fault_95_an_answer_that_does_not_continue_starts_over(
    server: ArtifactServer, stager: Stager, bend: Bend, fetched: int
) -> None:
    server.bend(Bend(cut_at=HALF), bend)
    staged = stager.stage(server.url("/m"), SHA256, len(DATA))
    assert (staged.path / "m").read_bytes() == DATA
    assert staged.fetched == HALF + fetched


@pytest.mark.parametrize("length", [len(DATA) + 9, "absent", -5])
def test_fault_96_whatever_the_length_says_size_and_digest_decide(
    server: ArtifactServer, stager: Stager, length: int | str
) -> None:
    server.bend(Bend(length=length))
    assert stager.stage(server.url("/m"), SHA256, len(DATA)).fetched == len(DATA)
    assert len(server.requests) == 1


@pytest.mark.parametrize("length", ["absent", "chunked", "right", -5])
def test_fault_96_a_cut_body_is_never_taken_for_the_whole(
    server: ArtifactServer, stager: Stager, length: int | str
) -> None:
    server.bend(Bend(length=length, cut_at=HALF))
    assert stager.stage(server.url("/m"), SHA256, len(DATA)).fetched == len(DATA)
    assert len(server.requests) == 2


def test_fault_96_a_length_too_short_is_refused(server: ArtifactServer, stager: Stager) -> None:
    server.bend(*[Bend(length=HALF)] * 9)
    with pytest.raises(DigestMismatch, match=f"has {HALF} bytes, and {len(DATA)} are declared"):
        stager.stage(server.url("/m"), SHA256, len(DATA))


@pytest.mark.parametrize("length", ["absent", "chunked", 1 << 50])
def test_fault_97_endless_data_ends_at_the_pinned_size(
    server: ArtifactServer, stager: Stager, length: int | str
) -> None:
    server.bend(Bend(length=length, endless=True, body=b"\x55" * 100))
    with pytest.raises(DigestMismatch):
        stager.stage(server.url("/m"), "0" * 64, 100_000)
    server.bend(Bend(length="absent", endless=True))
    stager.limits = FetchLimits(max_bytes=3 << 20)
    with pytest.raises(ArtifactRefused, match="more than"):
        stager.stage(server.url("/m"), "0" * 64)


@pytest.mark.parametrize("stall_at", [0, HALF])
def test_fault_97_a_stall_is_broken_off(server: ArtifactServer, stager: Stager, stall_at: int) -> None:
    stager.clock.step = 20.0
    stager.limits = FetchLimits(attempts=1, window_s=30.0, min_rate_bytes_s=1e6)
    server.bend(Bend(stall_at=stall_at))
    with pytest.raises(ArtifactUnavailable, match="bytes in 30 s"):
        stager.stage(server.url("/m"), SHA256, len(DATA))


def test_fault_97_the_whole_call_has_an_end(server: ArtifactServer, stager: Stager) -> None:
    stager.clock.step = 20.0
    stager.limits = FetchLimits(attempts=1, min_rate_bytes_s=0, wall_s=100.0)
    server.bend(Bend(stall_at=HALF))
    with pytest.raises(ArtifactUnavailable, match="not done within 100 s"):
        stager.stage(server.url("/m"), SHA256, len(DATA))


def test_fault_98_other_bytes_or_another_size_are_refused_once(server: ArtifactServer, stager: Stager) -> None:
    server.files["/page"] = b"<html>Please log in</html>"
    server.files["/other"] = bytes(len(DATA))
    for path, size in (("/page", len(DATA)), ("/other", len(DATA)), ("/m", len(DATA) - 1), ("/m", len(DATA) + 1)):
        before = len(server.requests)
        there = len(server.files[path])
        wrong = f"pinned is {SHA256}" if there == size else f"has {there} bytes, and {size} are declared"
        with pytest.raises(DigestMismatch, match=wrong):
            stager.stage(server.url(path), SHA256, size)
        assert len(server.requests) == before + 1
        assert stager.left == [f"{SHA256}.refused.json"]


def test_fault_99_a_compressed_body_is_judged_by_the_files_own_bytes(server: ArtifactServer, stager: Stager) -> None:
    server.bend(Bend(gzip=True))
    staged = stager.stage(server.url("/m"), SHA256, len(DATA))
    assert (staged.path / "m").read_bytes() == DATA


def test_fault_99_a_compressed_body_is_never_resumed(server: ArtifactServer, stager: Stager) -> None:
    server.bend(Bend(gzip=True, cut_at=HALF), Bend(gzip=True))
    assert (stager.stage(server.url("/m"), SHA256, len(DATA)).path / "m").read_bytes() == DATA
    assert "range" not in server.requests[1].headers


def test_fault_99_an_archive_that_is_called_an_encoding_is_taken_as_it_is(
    server: ArtifactServer, stager: Stager
) -> None:
    packed = server.files["/m.tar.gz"] = gzip.compress(GOOD)
    server.bend(Bend(headers=(("Content-Encoding", "x-gzip"),)))
    staged = stager.stage(server.url("/m.tar.gz"), hashlib.sha256(packed).hexdigest(), len(packed))
    assert (staged.path / "labels.txt").read_bytes() == b"a\n"


def test_fault_99_an_encoding_bomb_stops_at_the_pinned_size(server: ArtifactServer, stager: Stager) -> None:
    server.bend(Bend(gzip=True, body=bytes(50 << 20)))
    with pytest.raises(ArtifactRefused, match="more than"):
        stager.stage(server.url("/m"), SHA256, len(DATA))


def test_fault_102_redirects_end_and_stay_within_the_rules(server: ArtifactServer, stager: Stager) -> None:
    loop = Bend(status=302, headers=(("Location", "/m"),))
    server.bend(*[loop] * 6)
    with pytest.raises(ArtifactRefused, match="redirects more than 5 times"):
        stager.stage(server.url("/m"), SHA256)
    assert len(server.requests) == 6
    for location in ("file:///etc/passwd", "ftp://host/m", "http://169.254.169.254/latest", "http://[fe80::1]/"):
        server.bend(Bend(status=302, headers=(("Location", location),)))
        with pytest.raises(AddressRefused):
            stager.stage(server.url("/m"), SHA256)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/m", "http://2852039166/m", "http://0xa9.254.0251.254/m", "http://[::ffff:a9fe:a9fe]/m",
        "http://[fd00:ec2::254]/m", "http://0/m", "http://[::]/m",
    ],
)  # fmt: skip
def test_fault_150_metadata_addresses_are_refused_in_every_spelling(stager: Stager, url: str) -> None:
    with pytest.raises(AddressRefused):
        stager.stage(url, SHA256)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
def test_fault_150_loopback_is_refused_unless_allowed(server: ArtifactServer, stager: Stager, host: str) -> None:
    with pytest.raises(AddressRefused, match="loopback"):
        stager.stage(server.url("/m", host=host), SHA256, allow_loopback=False)
    assert server.requests == []


def test_fault_150_a_name_is_resolved_once_a_connection(
    server: ArtifactServer, stager: Stager, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    asked: list[str] = []

    def rebinding(host: str, port: int, *_: object, **__: object) -> list[object]:
        asked.append(host)
        good = "127.0.0.1" if len([name for name in asked if name == "models.test"]) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (good if host == "models.test" else host, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert stager.stage(server.url("/m", host="models.test"), SHA256).size == len(DATA)
    assert asked.count("models.test") == 1


# Archives.


@pytest.mark.parametrize("cut", [512, 700, 5000, 5700, len(GOOD) - 1024])
def test_fault_103_half_a_tar_is_refused(stager: Stager, cut: int) -> None:
    assert_refused(stager, GOOD[:cut], "ends inside|no end")


@pytest.mark.parametrize("cut", [1500, 3000, -4])
def test_fault_103_half_a_gzip_is_refused(stager: Stager, cut: int) -> None:
    assert_refused(stager, gzip.compress(GOOD)[:cut], "ends in the middle")


def test_fault_103_damage_and_tails_are_refused(stager: Stager) -> None:
    packed = bytearray(gzip.compress(GOOD))
    packed[-6] ^= 1
    assert_refused(stager, bytes(packed), "damaged")
    assert_refused(stager, gzip.compress(GOOD) + b"tail", "follows the gzip stream")
    assert_refused(stager, gzip.compress(GOOD + b"tail"), "follows the end of the tar")
    assert_refused(stager, bytes(zipped(("f", b"1"))) + b"tail", "follows the end of the zip")
    assert_refused(stager, GOOD[:512].ljust(5632, b"\0") + member(b"f").replace(b"f", b"g", 1), "checksum")


@pytest.mark.parametrize("magic", [b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"])
def test_fault_103_an_unknown_compression_is_refused(stager: Stager, magic: bytes) -> None:
    assert_refused(stager, magic + bytes(1000), "tar, tar.gz, tar.xz, tar.bz2 and zip are read")


@pytest.mark.parametrize(("pack", "coding"), [(lzma.compress, "xz"), (bz2.compress, "bzip2")], ids=["xz", "bzip2"])
def test_fault_103_half_and_damaged_archives_of_every_coding_are_refused(
    stager: Stager, pack: Callable[[bytes], bytes], coding: str
) -> None:
    long = pack(tar(member(b"model.onnx", DATA)))
    assert_refused(stager, long[:-100], f"the {coding} stream ends in the middle")
    assert_refused(stager, long[:950_000] + bytes(100) + long[950_100:], f"the {coding} stream is damaged")
    assert_refused(stager, long + b"tail", f"other than {coding} follows")
    assert_refused(stager, pack(GOOD[:5000]), "ends inside")


def test_fault_103_a_gzip_of_many_members_is_read_whole(stager: Stager) -> None:
    staged = stage_file(stager, b"".join(gzip.compress(GOOD[at : at + 400]) for at in range(0, len(GOOD), 400)))
    assert (staged.path / "model.onnx").read_bytes() == DATA[:5000]


def test_fault_103_a_gzip_of_something_else_is_one_file(stager: Stager) -> None:
    packed = gzip.compress(b"a,b\n1,2\n")
    assert (stage_file(stager, packed).path / "source").read_bytes() == packed


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (member(b"/etc/passwd"), "absolute"),
        (member(b"../x"), r"'\.\.'"),
        (member(b"a/../../x"), r"'\.\.'"),
        (member(b"l", kind=b"2", link=b"/etc"), "symbolic link"),
        (member(b"l", kind=b"1", link=b"model.onnx"), "hard link"),
        (member(b"s", kind=b"2", link=b"../..") + member(b"h", kind=b"1", link=b"s"), "link"),
        (member(b"d", kind=b"3"), "character device"),
        (member(b"d", kind=b"4"), "block device"),
        (member(b"p", kind=b"6"), "fifo"),
        (member(b"s", kind=b"S"), "sparse"),
        (pax(**{"GNU.sparse.major": "1"}) + member(b"s"), "sparse"),
        (member(b"v", kind=b"V"), "unknown type"),
        (member(b"s", mode=0o4755), "setuid"),
    ],
)
def test_fault_104_a_harmful_member_refuses_the_whole_archive(stager: Stager, bad: bytes, why: str) -> None:
    assert_refused(stager, gzip.compress(tar(member(b"model.onnx", b"good"), bad, member(b"z", b"good"))), why)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (member(b"deep", ("d/" * 2500 + "f").encode(), b"L") + member(b"x"), "longer than"),
        (pax(path="d/" * 2500 + "f") + member(b"x"), "longer than"),
        (pax(path="d/" * 400 + "f") + member(b"x"), "deeper"),
        (header(b"n", b"\xff" * 11 + b"\x00"), "negative"),
        (header(b"n", b"-0000000512\0"), "not octal"),
        (pax(size="-512") + member(b"n"), "no number"),
        (header(b"pax", b"\x80" + b"\0" * 4 + b"\x7f" * 7, b"x"), "more than"),
        (pax(path="../x") + member(b"innocent"), r"'\.\."),
        (pax(path="a\0b") + member(b"innocent"), "control"),
        (member(b"@", b"../x\0", b"L") + member(b"innocent"), r"'\.\."),
        (pax(path="a") + pax(path="b") + member(b"x"), "twice"),
        (pax(path="a") + member(b"@", b"b\0", b"L") + member(b"x"), "twice"),
        (member(b"g", b"9 path=x\n", b"g") + member(b"x"), "global"),
        (pax(linkpath="/etc") + member(b"x"), "linkpath"),
        (member(b"pax", b"9999999 path=a\n", b"x") + member(b"x"), "damaged"),
        (pax(path="a"), "no member"),
    ],
)
def test_fault_105_tricks_with_lengths_and_names_are_refused(stager: Stager, bad: bytes, why: str) -> None:
    assert_refused(stager, tar(member(b"model.onnx", b"good"), bad), why)


def test_fault_105_the_deadline_ends_an_archive_that_takes_too_long(stager: Stager) -> None:
    stager.options["unpack_limits"] = UnpackLimits(reserve_bytes=0, seconds=-1.0)
    assert_refused(stager, GOOD, "longer than")


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ((b"a", b"a"), "twice"),
        ((b"a", b"./a"), "twice"),
        ((b"a", b"a/b"), "twice"),
        ((b"Model", b"model"), "one name"),
        ((b"D/a", b"d/b"), "one name"),
        (("gr\u00fc\u00df".encode(), "GRU\u0308SS".encode()), "one name"),
        (("\u00e9".encode(), "e\u0301".encode()), "one name"),
        ((b"a\\b",), "backslash"),
        ((b"a\nb",), "control"),
        ((b"C:x",), "absolute"),
        ((b"a/", b"a"), "file's and ends"),
        ((b"\xff",), "UTF-8"),
        ((b"",), "empty"),
    ],
)
def test_fault_106_names_that_clash_or_mislead_are_refused(stager: Stager, names: tuple[bytes, ...], why: str) -> None:
    assert_refused(stager, tar(member(b"0"), *(member(name) for name in names)), why)


def test_fault_106_a_directory_named_twice_is_one_directory_and_a_file_beside_it_is_none(stager: Stager) -> None:
    twice = member(b"d/", kind=b"5"), member(b"d/f"), member(b"d", kind=b"5")
    assert_refused(stager, tar(*twice, member(b"d")), "twice")
    assert [file.name for file in stage_file(stager, tar(*twice)).path.iterdir()] == ["f"]


def test_fault_106_a_name_of_300_bytes_is_refused(stager: Stager) -> None:
    assert_refused(stager, tar(pax(path="n" * 300), member(b"n")), "255 bytes")


def test_fault_107_bombs_stop_at_the_ratio(stager: Stager) -> None:
    stager.options["unpack_limits"] = UnpackLimits(reserve_bytes=0, ratio_free_bytes=1 << 20)
    zeros = bytes(20 << 20)
    assert_refused(stager, gzip.compress(tar(member(b"zeros", zeros)), 1), "200 times its size")
    assert_refused(stager, bytes(zipped(("zeros", zeros))), "200 times its size")


def test_fault_107_too_many_members_are_refused(stager: Stager) -> None:
    stager.options["unpack_limits"] = UnpackLimits(reserve_bytes=0, max_members=50)
    assert_refused(stager, tar(*(member(b"%d" % n, kind=b"5") for n in range(51))), "more than 50 members")
    assert_refused(stager, tar(*[member(b"g", b"13 comment=x\n", b"g")] * 51), "more than 50 members")
    assert_refused(stager, bytes(zipped(*((str(n), b"") for n in range(51)))), "more than 50 members")


@pytest.mark.parametrize(
    ("outcome", "code", "error"),
    [
        (None, -signal.SIGXCPU, ArchiveRefused),
        (None, -signal.SIGKILL, ArtifactUnavailable),  # the kernel's, for want of memory
        (Outcome("refused", "unpacking needs more memory"), 0, ArchiveRefused),
        (Outcome("disk", "no space left", number=errno.ENOSPC), 0, OSError),
        (Outcome("bug", "Traceback"), 0, RuntimeError),
    ],
)
def test_fault_107_every_end_of_the_unpacking_process_has_its_error(
    outcome: Outcome | None, code: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        judge(outcome, code)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "C:x", "a\\b"])
def test_fault_108_zip_names_that_lead_outside_are_refused(stager: Stager, name: str) -> None:
    placed = zipped(("x" * len(name), b"1")).replace(b"x" * len(name), name.encode())
    assert_refused(stager, bytes(placed), r"absolute|'\.\.'|backslash")


def test_fault_108_a_link_hidden_in_the_attributes_is_refused(stager: Stager) -> None:
    assert_refused(stager, bytes(zipped(("link", b"/etc/passwd"), mode=0o120777)), "no file")
    assert_refused(stager, bytes(zipped(("node", b""), mode=0o020644)), "no file")
    assert_refused(stager, bytes(zipped(("tool", b""), mode=0o104755)), "setuid")


def test_fault_108_zip_headers_that_disagree_are_refused(stager: Stager) -> None:
    encrypted = zipped(("f", b"1"))
    for at in (6, encrypted.index(b"PK\x01\x02") + 8):
        encrypted[at] |= 1
    assert_refused(stager, bytes(encrypted), "encrypted")

    renamed = zipped(("innocent", b"1"))
    renamed[30:38] = b"guilty!!"
    assert_refused(stager, bytes(renamed), "differ")

    twice = zipped(("a", b"1"), ("b", b"2"))
    second = twice.rindex(b"PK\x01\x02")
    struct.pack_into("<L", twice, second + 42, 0)
    assert_refused(stager, bytes(twice), "differ|overlaps")

    longer = zipped(("f", bytes(1000)))
    for at in (22, longer.index(b"PK\x01\x02") + 24):
        struct.pack_into("<L", longer, at, 10)
    assert_refused(stager, bytes(longer), "damaged")  # what is beyond the size it says is not read, so its sum is wrong

    damaged = zipped(("f", b"abc"), method=zipfile.ZIP_STORED)
    damaged[31] ^= 1
    assert_refused(stager, bytes(damaged), "CRC")


def test_fault_108_overlapping_entries_are_refused(stager: Stager) -> None:
    inner = zipped(("b", b"2"), method=zipfile.ZIP_STORED)
    local = bytes(inner[: inner.index(b"PK\x01\x02")])
    outer = zipped(("a", local), ("b", b"2"), method=zipfile.ZIP_STORED)
    second = outer.rindex(b"PK\x01\x02")
    struct.pack_into("<L", outer, second + 42, 31)  # the entry inside the first one's bytes
    assert_refused(stager, bytes(outer), "overlaps")


def test_pickles_are_refused_and_safetensors_are_not(stager: Stager) -> None:
    import pickle

    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert_refused(stager, pickle.dumps({"w": [1.0] * 9}, protocol), "pickle")
    assert_refused(stager, bytes(zipped(("archive/data.pkl", b"\x80\x02."), ("archive/version", b"3"))), "pickle")
    safetensors = struct.pack("<Q", 0x0280) + b"{}".ljust(0x0280) + b"weights"
    assert (stage_file(stager, safetensors).path / "source").read_bytes() == safetensors


def test_one_top_directory_is_taken_off_only_when_it_is_alone(stager: Stager) -> None:
    inside = tar(member(b"top/", kind=b"5"), member(b"top/m.onnx", b"1"), member(b"top/top/f", b"2"))
    beside = tar(member(b"top/m.onnx", b"1"), member(b"README", b"2"))
    flat = ["labels.txt", "model.onnx"]
    for packed, names in ((inside, ["m.onnx", "top/f"]), (beside, ["README", "top/m.onnx"]), (GOOD, flat)):
        path = stage_file(stager, packed).path
        found = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
        assert found == names


def test_a_real_tar_of_a_directory_is_read(stager: Stager, tmp_path: Path) -> None:
    (tmp_path / "model/variables").mkdir(parents=True)
    (tmp_path / "model/variables/data").write_bytes(DATA)
    (tmp_path / "model/größe.txt").write_bytes(b"1")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(tmp_path / "model", ".")
    path = stage_file(stager, packed.getvalue()).path
    assert sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()) == ["größe.txt", "variables/data"]
    assert (path / "variables/data").read_bytes() == DATA


# The tree after it was verified.


def test_fault_109_a_tree_swapped_after_opening_is_judged_by_the_descriptor(stager: Stager) -> None:
    path = stage_file(stager, GOOD).path
    receipt = read_receipt(path.parent)
    assert receipt is not None
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        path.rename(path.with_name("moved"))
        path.mkdir()
        (path / "model.onnx").write_bytes(b"other")
        assert verify_tree(directory, receipt)
        (path.with_name("moved") / "model.onnx").write_bytes(b"changed")
        assert not verify_tree(directory, receipt)
    finally:
        os.close(directory)


def test_fault_109_more_less_or_a_link_is_not_the_tree(stager: Stager, tmp_path: Path) -> None:
    staged = stage_file(stager, GOOD)
    store, labels = stager.store(), staged.path / "labels.txt"
    assert store.check(staged.sha256)
    (staged.path / "extra").write_bytes(b"")
    assert not store.check(staged.sha256)
    (staged.path / "extra").unlink()
    (tmp_path / "elsewhere").write_bytes(labels.read_bytes())
    labels.unlink()
    assert not store.check(staged.sha256)
    labels.symlink_to(tmp_path / "elsewhere")
    assert not store.check(staged.sha256)


@pytest.mark.parametrize("damage", ["empty", "other digest", "other file", "gone"])
def test_fault_111_an_entry_without_a_receipt_that_fits_is_fetched_again(
    server: ArtifactServer, stager: Stager, damage: str
) -> None:
    receipt = stager.stage(server.url("/m"), SHA256).path.parent / "receipt.json"
    text = receipt.read_text()
    damaged = {
        "empty": "",
        "other digest": text.replace(SHA256, "0" * 64, 1),
        "other file": text.replace('["m"', '["n"'),
        "gone": None,
    }[damage]
    receipt.unlink() if damaged is None else receipt.write_text(damaged)
    store = stager.store()
    assert (store.staged(SHA256), store.check(SHA256), store.held()) == (None, False, {})
    assert stager.stage(server.url("/m"), SHA256).fetched == len(DATA)
    assert stager.store().check(SHA256)


def test_fault_111_an_entry_is_made_durable_after_it_has_its_name(
    server: ArtifactServer, stager: Stager, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []

    def fsync(fd: int, real: Callable[[int], None] = os.fsync) -> None:
        synced.append((str(Path(f"/proc/self/fd/{fd}").readlink()), (stager.directory / SHA256).exists()))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    stager.stage(server.url("/m"), SHA256)
    assert synced == [(str(stager.directory.resolve()), True)]


def test_fault_111_what_a_crash_left_is_swept(stager: Stager) -> None:
    (stager.directory / f"{SHA256}.tmp" / "files").mkdir(parents=True)
    (stager.directory / f"{SHA256}.old.tmp").mkdir()
    (stager.directory / f"{SHA256}.partial.json.tmp").write_text("{")
    stager.store()
    assert stager.left == []
