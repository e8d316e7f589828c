"""A simulated web, and `ports.ArtifactStore` over it: what is downloaded comes in pieces between which time passes."""

import hashlib
import io
import json
import shutil
import tarfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from reconciler.errors import (
    ArtifactRefused,
    ArtifactUnavailable,
    DigestMismatch,
    StorageExhausted,
)
from reconciler.ports import Artifact, Cancelled, FetchProgress, Staged
from tests.artifact_server import Bend

PIECE = 1 << 16
Sleep = Callable[[float], None]


def tar_of(files: dict[str, bytes]) -> bytes:
    """The same bytes for the same files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


class Web:
    """What can be had by URL. `bend`: as of the artifact server, of each answer its status and where it stalls."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.is_up = True
        self._bends: deque[Bend] = deque()

    def url(self, path: str) -> str:
        return f"https://models.example.com{path}"

    def bend(self, *bends: Bend) -> None:
        self._bends.extend(bends)

    def get(self, url: str, start: int) -> Iterator[bytes]:
        """The bytes from `start` on; where it stalls, empty ones for ever."""
        self.requests.append(url)
        bend, content = self._bends.popleft() if self._bends else Bend(), self.files.get(url.removeprefix(self.url("")))
        if not self.is_up or (bend.status or 200) >= 500:
            raise ArtifactUnavailable(f"{url} answered {bend.status or 'nothing'}")
        if content is None:
            raise ArtifactRefused(f"{url} answered 404")
        end = len(content) if bend.stall_at is None else bend.stall_at
        for at in range(start, end, PIECE):
            if not self.is_up:
                raise ArtifactUnavailable(f"{url} broke off")
            yield content[at : min(at + PIECE, end)]
        while bend.stall_at is not None:
            yield b""


class SimStore:
    """`ports.ArtifactStore` in a directory, without syncing. sleep: passes the time of one piece."""

    def __init__(self, directory: Path, web: Web, sleep: Sleep = lambda _: None) -> None:
        self._directory, self._web, self._sleep = directory, web, sleep
        self._lock = threading.RLock()  # in one thread who comes while another one waits fetches it himself
        self.is_full = False
        directory.mkdir(parents=True, exist_ok=True)
        for left in directory.glob("*.tmp"):
            shutil.rmtree(left)

    def stage(self, artifact: Artifact, progress: FetchProgress, cancelled: Callable[[], bool]) -> Staged:
        with self._lock:
            found, fetched = self.staged(artifact.sha256), 0
            if found is None:
                content, fetched = self._download(artifact, progress, cancelled)
                digest = hashlib.sha256(content).hexdigest()
                if artifact.sha256 not in {"", digest}:
                    raise DigestMismatch(f"{artifact.url} has {digest}, not {artifact.sha256}")
                progress("unpacking", len(content), len(content))
                found = self.staged(digest) or self._unpack(digest, content)
            progress("staged", found.size, found.size)
            return found._replace(fetched=fetched)

    def _download(
        self, artifact: Artifact, progress: FetchProgress, cancelled: Callable[[], bool]
    ) -> tuple[bytes, int]:
        partial = self._directory / f"{artifact.sha256 or hashlib.sha256(artifact.url.encode()).hexdigest()}.partial"
        self._directory.mkdir(parents=True, exist_ok=True)
        start, fetched = _size(partial), 0
        pieces = self._web.get(artifact.url, start)
        progress("resuming" if start else "downloading", start, artifact.size)
        for piece in pieces:
            self._sleep(1.0)
            if self.is_full:
                raise StorageExhausted("no space is left on the device")
            if (
                piece and (partial.stat().st_size if partial.exists() else 0) == start + fetched
            ):  # nobody else fetched on
                with partial.open("ab") as file:
                    file.write(piece)
                fetched += len(piece)
            progress("downloading", start + fetched, artifact.size)
            if cancelled():
                raise Cancelled
        content = partial.read_bytes() if partial.exists() else b""
        partial.unlink(missing_ok=True)
        return content, fetched

    def _unpack(self, digest: str, content: bytes) -> Staged:
        entry = self._directory / f"{digest}.tmp"
        (entry / "files").mkdir(parents=True)
        if tarfile.is_tarfile(io.BytesIO(content)):
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                archive.extractall(entry / "files", filter="data")
        else:
            (entry / "files" / "content").write_bytes(content)
        hashes = _hashes(entry / "files")
        size = sum(path.stat().st_size for path in (entry / "files").rglob("*") if path.is_file())
        receipt = {"size": len(content), "disk": size, "files": hashes}
        (entry / "receipt.json").write_text(json.dumps(receipt, sort_keys=True))
        entry.rename(self._directory / digest)
        found = self.staged(digest)
        assert found is not None
        return found

    def _receipt(self, sha256: str) -> dict[str, object] | None:
        try:
            found: dict[str, object] = json.loads((self._directory / sha256 / "receipt.json").read_text())
        except OSError:
            return None
        return found

    def staged(self, sha256: str) -> Staged | None:
        receipt = self._receipt(sha256) if sha256 else None
        if receipt is None:
            return None
        files = receipt["files"]
        assert isinstance(files, dict)
        tree = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        return Staged(sha256, self._directory / sha256 / "files", tree, int(str(receipt["size"])), 0, files)

    def check(self, sha256: str) -> bool:
        found = self.staged(sha256)
        return found is not None and _hashes(found.path) == found.files

    def held(self) -> dict[str, int]:
        names = sorted(path.name for path in self._directory.iterdir())
        found = {name: self._receipt(name) for name in names}
        return {name: int(str(receipt["disk"])) for name, receipt in found.items() if receipt is not None}

    def evict(self, sha256: str) -> None:
        (self._directory / f"{sha256}.partial").unlink(missing_ok=True)
        shutil.rmtree(self._directory / sha256, ignore_errors=True)


def _hashes(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
