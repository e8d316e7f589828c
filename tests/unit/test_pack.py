"""The same files are the same bytes, whoever packs them and when; and a store takes them as they were."""

import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.artifacts import pack
from reconciler.artifacts.store import Store
from reconciler.errors import ArchiveRefused, UsageError
from reconciler.ports import Artifact
from reconciler.wiring.process import SystemClock

FILES = {
    "model.onnx": b"weights" * 1000,
    "meta/labels.txt": b"angry\n",
    "a" * 60 + "/" + "b" * 90 + "/größe.bin": b"x",
    "empty": b"",
}


def quiet(_stage: str, _done: int, _total: int | None) -> None:
    """Nobody listens."""


def made(directory: Path, files: dict[str, bytes], *, mode: int = 0o644, at: int = 0) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        os.utime(path, (at, at))
    return directory


def test_other_times_modes_and_orders_make_the_same_bytes_which_a_store_takes(tmp_path: Path) -> None:
    one = made(tmp_path / "one", FILES)
    other = made(tmp_path / "other", dict(reversed(FILES.items())), mode=0o600, at=1_700_000_000)
    packed = [pack.pack(pack.select(place).members, tmp_path / f"{place.name}.tar.gz", quiet) for place in (one, other)]
    assert packed[0] == packed[1]
    archive = tmp_path / "one.tar.gz"
    assert archive.read_bytes() == (tmp_path / "other.tar.gz").read_bytes()
    assert (pack.sha256_of(archive), archive.stat().st_size) == packed[0]

    store = Store(tmp_path / "store", clock=SystemClock())
    staged = store.stage(
        Artifact(packed[0].sha256, archive.as_uri(), packed[0].size, allow_file=True), quiet, lambda: False
    )
    assert {path.relative_to(staged.path).as_posix(): path.read_bytes() for path in staged.path.rglob("*")
            if path.is_file()} == FILES  # fmt: skip


def test_nothing_of_this_machine_stands_in_the_archive(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    pack.pack(pack.select(made(tmp_path / "m", FILES, at=1_700_000_000)).members, archive, quiet)
    assert archive.read_bytes()[:10] == bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == sorted(FILES)
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime, m.mode) for m in members} == {(0, 0, "", "", 0, 0o644)}


names = st.text(st.sampled_from("abcä. _-0"), min_size=1, max_size=12).filter(
    lambda name: not name.startswith(".") and name == name.strip() and not name.endswith(".")
)


@settings(max_examples=25, deadline=None)
@given(files=st.dictionaries(names, st.binary(max_size=2000), min_size=1, max_size=5))
def test_progress_ends_at_the_whole_and_members_are_the_files(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    place = tmp_path_factory.mktemp("p")
    told: list[tuple[str, int, int | None]] = []
    members = pack.select(made(place / "m", files)).members
    assert members.keys() == files.keys()
    pack.pack(members, place / "a", lambda *each: told.append(each))
    total = sum(map(len, files.values()))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert {each[2] for each in told} <= {total}
    assert not told or told[-1][1] == total


def test_what_links_lead_to_is_packed_and_what_nobody_packed_on_purpose_is_not(tmp_path: Path) -> None:
    place = made(
        tmp_path / "m",
        {
            "model.onnx": b"m",
            ".git/config": b"",
            "__pycache__/a.pyc": b"",
            "._model.onnx": b"",
            ".blobs/weights.bin": b"w",
            ".blobs/more/x": b"x",
        },
    )
    (place / "weights.bin").symlink_to(".blobs/weights.bin")
    (place / "more").symlink_to(place / ".blobs" / "more")
    (place / ".DS_Store").write_bytes(b"")
    found = pack.select(place)
    assert sorted(found.members) == ["model.onnx", "more/x", "weights.bin"]
    assert found.left_out == [".DS_Store", "._model.onnx", ".blobs", ".git", "__pycache__"]
    (place / "gone").symlink_to("nowhere")
    with pytest.raises(UsageError, match="gone is no file, or a link that leads to none"):
        pack.select(place)
    (place / "gone").unlink()
    (place / "again").symlink_to(".")
    with pytest.raises(UsageError, match="again is a link to a directory that it is in"):
        pack.select(place)
    (place / "again").unlink()
    os.mkfifo(place / "pipe")
    with pytest.raises(UsageError, match="pipe is no file"):
        pack.select(place)


def test_copies_are_whole_and_told(tmp_path: Path) -> None:
    told: list[int] = []
    place = made(tmp_path / "m", FILES)
    copied = pack.copy(pack.select(place).members, tmp_path / "copy", lambda _, done, __: told.append(done))
    assert copied == sum(map(len, FILES.values())) == told[-1]
    assert all((tmp_path / "copy" / name).read_bytes() == content for name, content in FILES.items())


@pytest.mark.parametrize("linked", ["secret", "folder"])
def test_a_link_that_leads_out_of_the_directory_is_refused_with_what_copies_it(tmp_path: Path, linked: str) -> None:
    place, out = made(tmp_path / "m", {"model.onnx": b"m"}), made(tmp_path / "out", {"secret": b"s", "folder/x": b"x"})
    (place / "link").symlink_to(out / linked)
    with pytest.raises(UsageError, match=rf"m/link is a link that leads out, to {out / linked}") as refusal:
        pack.select(place)
    with pytest.raises(UsageError, match=rf"m/link is a link that leads out, to {out / linked}"):
        pack.require_within(place / "link" / "x", place)  # what is to be removed is the link
    copies = refusal.value.advice.partition(": ")[2]
    assert copies == f"rm {place / 'link'} && cp -r {out / linked} {place / 'link'}"


@pytest.mark.parametrize("name", ["a:b", "a\\b", "a\nb"])
def test_a_name_that_no_edge_takes_is_refused_with_the_way_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveRefused) as refusal:
        pack.select(made(tmp_path / "m", {name: b"m"}))
    assert "rename the file" in refusal.value.advice
    assert "absolute" not in refusal.value.message or "drive of Windows" in refusal.value.message
