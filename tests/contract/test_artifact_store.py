"""What every ArtifactStore promises, run on each adapter. An adapter supplies `make_store`."""

import hashlib
import io
import shutil
import tarfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.artifacts.store import Store
from reconciler.errors import ArtifactRefused, ArtifactUnavailable, DigestMismatch
from reconciler.ports import Artifact, ArtifactStore, Cancelled
from tests.artifact_server import ArtifactServer, Bend, SteppingClock
from tests.simulation.store import SimStore, Web

pytestmark = pytest.mark.enable_socket

FILES = {"model.onnx": b"weights" * 1000, "meta/labels.txt": b"angry\nhappy\n"}


def tar_gz(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


MODEL = tar_gz(FILES)
SHA256 = hashlib.sha256(MODEL).hexdigest()


class ArtifactStoreContract(ABC):
    @abstractmethod
    def make_store(self, directory: Path) -> ArtifactStore:
        """A store in this directory; called again for what a restart finds."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> ArtifactStore:
        return self.make_store(tmp_path / "store")

    @pytest.fixture
    def server(self) -> Iterator[ArtifactServer]:
        with ArtifactServer({"/model.tar.gz": MODEL}) as server:
            yield server

    @pytest.fixture
    def artifact(self, server: ArtifactServer) -> Artifact:
        return Artifact(SHA256, server.url("/model.tar.gz"), len(MODEL), allow_loopback=True)

    def stage(self, store: ArtifactStore, artifact: Artifact) -> tuple[dict[str, bytes], int]:
        staged = store.stage(artifact, lambda *_: None, lambda: False)
        files = {str(p.relative_to(staged.path)): p.read_bytes() for p in staged.path.rglob("*") if p.is_file()}
        return files, staged.fetched

    def test_what_is_staged_has_the_files_of_the_archive(self, store: ArtifactStore, artifact: Artifact) -> None:
        assert self.stage(store, artifact) == (FILES, len(MODEL))

    def test_what_is_here_is_not_fetched_again_also_from_another_url(
        self, store: ArtifactStore, artifact: Artifact, server: ArtifactServer
    ) -> None:
        self.stage(store, artifact)
        mirror = artifact._replace(url=server.url("/mirror/other-name.tar.gz"))
        assert self.stage(store, mirror) == (FILES, 0)
        assert len(server.requests) == 1

    def test_what_is_staged_is_there_after_a_restart(
        self, store: ArtifactStore, artifact: Artifact, tmp_path: Path
    ) -> None:
        staged = store.stage(artifact, lambda *_: None, lambda: False)
        again = self.make_store(tmp_path / "store")
        assert again.staged(SHA256) == staged._replace(fetched=0)
        assert again.held() == {SHA256: sum(map(len, FILES.values()))}
        assert again.check(SHA256)

    def test_a_directory_that_somebody_removed_is_made_again(
        self, store: ArtifactStore, artifact: Artifact, tmp_path: Path
    ) -> None:
        self.stage(store, artifact)
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        if isinstance(store, Store):
            assert store.held() == {}
        assert self.stage(store, artifact)[0] == FILES
        assert set(store.held()) == {SHA256}

    def test_nothing_is_staged_that_was_not(self, store: ArtifactStore) -> None:
        assert store.staged(SHA256) is None
        assert not store.check(SHA256)
        assert store.held() == {}

    def test_a_changed_file_fails_the_check(self, store: ArtifactStore, artifact: Artifact) -> None:
        path = store.stage(artifact, lambda *_: None, lambda: False).path / "model.onnx"
        path.write_bytes(b"WEIGHTS" + path.read_bytes()[7:])
        assert not store.check(SHA256)

    def test_evicting_removes_it_and_may_be_repeated(self, store: ArtifactStore, artifact: Artifact) -> None:
        path = store.stage(artifact, lambda *_: None, lambda: False).path
        store.evict(SHA256)
        store.evict(SHA256)
        assert store.staged(SHA256) is None
        assert not path.exists()

    def test_other_bytes_than_pinned_are_refused_with_both_digests(
        self, store: ArtifactStore, artifact: Artifact, server: ArtifactServer
    ) -> None:
        other = tar_gz({"model.onnx": b"others"})
        server.files["/model.tar.gz"] = other
        with pytest.raises(DigestMismatch) as caught:
            store.stage(artifact._replace(size=None), lambda *_: None, lambda: False)
        assert SHA256 in caught.value.message
        assert hashlib.sha256(other).hexdigest() in caught.value.message
        assert store.staged(SHA256) is None
        assert len(server.requests) == 1

    def test_without_a_digest_the_first_one_seen_is_the_key(self, store: ArtifactStore, artifact: Artifact) -> None:
        assert store.stage(artifact._replace(sha256=""), lambda *_: None, lambda: False).sha256 == SHA256
        assert store.staged(SHA256) is not None

    def test_a_server_that_says_no_is_told_from_one_that_is_not_there(
        self, store: ArtifactStore, artifact: Artifact, server: ArtifactServer
    ) -> None:
        with pytest.raises(ArtifactRefused, match="404"):
            store.stage(artifact._replace(url=server.url("/gone")), lambda *_: None, lambda: False)
        server.bend(*[Bend(status=503)] * 99)
        with pytest.raises(ArtifactUnavailable, match="503"):
            store.stage(artifact, lambda *_: None, lambda: False)

    def test_cancelled_work_keeps_what_it_has(
        self, store: ArtifactStore, artifact: Artifact, server: ArtifactServer
    ) -> None:
        large = hashlib.sha256(MODEL).digest() * 100_000
        server.files["/large"] = large
        wanted = Artifact(hashlib.sha256(large).hexdigest(), server.url("/large"), len(large), allow_loopback=True)
        told: list[int] = []
        server.bend(Bend(stall_at=len(large) // 2))
        with pytest.raises(Cancelled):
            store.stage(wanted, lambda stage, done, total: told.append(done), lambda: bool(told))
        staged = store.stage(wanted, lambda *_: None, lambda: False)
        assert 0 < staged.fetched < len(large)

    def test_progress_ends_with_staged(self, store: ArtifactStore, artifact: Artifact) -> None:
        stages: list[str] = []
        store.stage(artifact, lambda stage, done, total: stages.append(stage), lambda: False)
        assert stages[0] == "downloading"
        assert stages[-1] == "staged"
        assert set(stages) <= {"downloading", "resuming", "verifying", "unpacking", "staged"}

    def test_two_threads_that_want_one_digest_fetch_it_once(
        self, store: ArtifactStore, artifact: Artifact, server: ArtifactServer
    ) -> None:
        fetched: list[int] = []
        threads = [threading.Thread(target=lambda: fetched.append(self.stage(store, artifact)[1])) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(fetched) == [0, 0, 0, len(MODEL)]
        assert len(server.requests) == 1


class TestStore(ArtifactStoreContract):
    def make_store(self, directory: Path) -> ArtifactStore:
        return Store(directory, clock=SteppingClock(), reserve_bytes=0, sleep=lambda _: None)


class TestSimStore(ArtifactStoreContract):
    """Of the simulation: what it shows counts only where its parts promise the same."""

    @pytest.fixture
    def server(self) -> Web:
        self.web.files |= {"/model.tar.gz": MODEL}
        return self.web

    @pytest.fixture(autouse=True)
    def web_of_its_own(self) -> None:
        self.web = Web()

    def make_store(self, directory: Path) -> ArtifactStore:
        return SimStore(directory, self.web)
