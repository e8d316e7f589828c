"""The edge's bytes: fetch, verify and unpack; a resume after a restart; what is already here. Rows 1, 2, 5 of the edge.

The archive is made once a machine and size. The server is a process of its own that hands the file to the kernel
(sendfile) and says how many bytes it sent; the store works in a fresh process, so that its memory can be told.
"""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench import Figure

CHUNK = 1 << 18
MIB = 1 << 20
ROUNDS = 3
KEPT = Path("build")


def figures(small: bool) -> Iterator[Figure]:
    """Rows 1, 2 and 5, and memory. Small archives say little about time: starting a process outweighs them."""
    archive = make_archive(8 * MIB if small else 500 * MIB)
    size, sha256 = archive.stat().st_size, sha256_of(archive)
    with tempfile.TemporaryDirectory(dir=KEPT) as scratch, serving(archive) as server:
        directory = Path(scratch)
        rounds = [one_round(archive, sha256, server, directory) for _ in range(1 if small else ROUNDS)]
        seconds, limit = (statistics.median(column) for column in zip(*(r[:2] for r in rounds), strict=True))
        label = f"{size / 1e6:.0f} MB archive"
        yield Figure(f"{label}: fetch + verify + unpack", seconds, "s", "lower", "limit, same run", limit, 1.3)
        yield Figure(f"{label}: bytes received", rounds[-1][2], "B", "lower", "its size", size)
        yield Figure(f"{label}: memory above idle", max(r[3] for r in rounds) / MIB, "MiB", "lower", "target", 64)
        store = directory / "resumed"
        work(store, sha256, size, server, cut=size * 9 // 10)
        before = server.sent()
        again = work(store, sha256, size, server)
        assert again["fetched"] == server.sent() - before
        yield Figure(
            f"{label}: bytes again after a cut at 90 %", again["fetched"], "B", "lower", "10 %", size / 10, 1.1
        )
        before = server.sent()
        work(store, sha256, size, server)
        yield Figure(f"{label}: bytes for a digest that is here", server.sent() - before, "B", "lower", "none", 0)


def one_round(archive: Path, sha256: str, server: "Server", directory: Path) -> tuple[float, float, int, int]:
    """(seconds, limit in seconds, bytes received, bytes of memory above idle) of one fetch into an empty store."""
    limit = limits(archive, server, directory)
    store, before = directory / "store", server.sent()
    done = work(store, sha256, archive.stat().st_size, server)
    shutil.rmtree(store)
    return done["seconds"], limit, server.sent() - before, done["memory"]


def make_archive(size: int) -> Path:
    """A tar.gz of about `size` bytes: numbers with random mantissas, as weights are, and some text. Made once."""
    path = KEPT / f"bench-fetch-{size}.tar.gz"
    if path.exists():
        return path
    KEPT.mkdir(exist_ok=True)
    dice, temporary = random.Random(7), path.with_suffix(".tmp")
    with tempfile.TemporaryFile() as member, tarfile.open(temporary, "w:gz", compresslevel=1) as archive:
        while temporary.stat().st_size < size:
            member.seek(0)
            for _ in range(8):
                block = bytearray(dice.randbytes(MIB))
                block[3::4] = bytes(dice.choices((0x3D, 0xBD, 0x3C, 0xBC), k=MIB // 4))
                member.write(block)
            member.write(b"".join(b"%d,happy,0.%d\n" % (n, n % 97) for n in range(50_000)))
            info = tarfile.TarInfo(f"model/part-{len(archive.getmembers())}.bin")
            info.size = member.tell()
            member.seek(0)
            archive.addfile(info, member)
    temporary.rename(path)
    return path


# What the hardware allows, each thing alone.


def limits(archive: Path, server: "Server", directory: Path) -> float:
    """Seconds of max(copy, sha256, write) + max(decompress, write + sync, sha256 of the tree)."""
    unpacked = directory / "unpacked"
    first = (
        timed(lambda: receive(server)),
        timed(lambda: sha256_of(archive)),
        timed(lambda: copy(archive, directory / "copy", inflate=False, sync=False)),
    )
    copy(archive, unpacked, inflate=True, sync=True)
    second = (
        timed(lambda: inflate_all(archive)),
        timed(lambda: copy(unpacked, directory / "synced", inflate=False, sync=True)),
        timed(lambda: sha256_of(unpacked)),
    )
    for name in ("copy", "unpacked", "synced"):
        (directory / name).unlink()
    return max(first) + max(second)


def timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    for chunk in chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def inflate_all(path: Path) -> None:
    inflater = zlib.decompressobj(31)
    for chunk in chunks(path):
        inflater.decompress(chunk)


def copy(source: Path, target: Path, *, inflate: bool, sync: bool) -> None:
    inflater = zlib.decompressobj(31)
    with target.open("wb", buffering=0) as file:
        for chunk in chunks(source):
            file.write(inflater.decompress(chunk) if inflate else chunk)
        if sync:
            os.fsync(file.fileno())


def receive(server: "Server") -> None:
    buffer = bytearray(CHUNK)
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET /model.tar.gz HTTP/1.1\r\n\r\n")
        while sock.recv_into(buffer):
            pass


# The server, in a process of its own.


class Server:
    """The serving process: its port, and the body bytes that it sent so far."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self.port = int(self._out.readline())

    def sent(self) -> int:
        self._in.write("\n")
        self._in.flush()
        return int(self._out.readline())


@contextlib.contextmanager
def serving(archive: Path) -> Iterator[Server]:
    command = [sys.executable, "-c", f"from tests.bench.bench_fetch import serve; serve({str(archive)!r})"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Server(process)
        process.kill()


def serve(path: str) -> None:
    """Serve one file on a free port, from the byte that Range says, up to the `cut` in the query. One at a time."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    sent = [0]

    def run() -> None:
        while True:
            with listener.accept()[0] as sock, open(path, "rb") as file:  # noqa: PTH123  # sendfile wants a file
                request = sock.makefile("rb").read1(1 << 16).decode()
                size, start = os.fstat(file.fileno()).st_size, int((re.findall(r"bytes=(\d+)-", request) or [0])[0])
                end = int((re.findall(r"cut=(\d+)", request) or [size])[0])
                partly = f"206 Partial\r\nContent-Range: bytes {start}-{size - 1}/{size}" if start else "200 OK"
                head = f'HTTP/1.1 {partly}\r\nETag: "1"\r\nContent-Length: {size - start}\r\n\r\n'
                sock.sendall(head.encode())
                sent[0] += sock.sendfile(file, start, end - start)

    threading.Thread(target=run, daemon=True).start()
    for _ in sys.stdin:
        print(sent[0], flush=True)


# The store, in a process of its own.


def work(store: Path, sha256: str, size: int, server: Server, cut: int = 0) -> dict[str, Any]:
    """What a fresh process tells of staging the archive into `store`."""
    url = f"http://127.0.0.1:{server.port}/model.tar.gz" + (f"?cut={cut}" if cut else "")
    code = f"from tests.bench.bench_fetch import stage; stage({str(store)!r}, {sha256!r}, {url!r}, {size})"
    said = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True).stdout
    return dict(json.loads(said))


def stage(store: str, sha256: str, url: str, size: int) -> None:
    """Stage, and print seconds, bytes fetched and bytes of memory above idle, of this process and the unpacker."""
    from reconciler.artifacts.limits import FetchLimits
    from reconciler.artifacts.store import Store
    from reconciler.errors import ArtifactUnavailable
    from reconciler.ports import Artifact

    opened = Store(Path(store), clock=RealClock(), fetch_limits=FetchLimits(attempts=1))
    idle, fetched = status("self", "VmRSS"), 0
    with watching() as peak:
        started = time.perf_counter()
        with contextlib.suppress(ArtifactUnavailable):
            staged = opened.stage(Artifact(sha256, url, size, allow_loopback=True), lambda *_: None, lambda: False)
            fetched = staged.fetched
        seconds = time.perf_counter() - started
    memory = status("self", "VmHWM") - idle + peak[0]
    print(json.dumps({"seconds": seconds, "fetched": fetched, "memory": memory}))


class RealClock:
    """The Clock of this machine."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    gate = staticmethod(threading.Condition)


@contextlib.contextmanager
def watching() -> Iterator[list[int]]:
    """The largest memory that any child process had, sampled."""
    peak, ended = [0], threading.Event()

    def run() -> None:
        while not ended.wait(0.02):
            for children in Path("/proc/self/task").glob("*/children"):
                for pid in children.read_text().split():
                    peak[0] = max(peak[0], status(pid, "VmHWM"))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def status(pid: str, field: str) -> int:
    """Bytes, from /proc; 0 for a process that is gone."""
    with contextlib.suppress(OSError):
        found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0
