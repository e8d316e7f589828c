"""What the zip reader takes. Hostile archives are in tests/faults."""

import io
import os
import random
import zipfile
from pathlib import Path

import pytest

from reconciler.artifacts.budget import Budget
from reconciler.artifacts.extract_zip import extract_zip
from reconciler.artifacts.limits import UnpackLimits
from reconciler.artifacts.tree import Tree
from reconciler.errors import ArchiveRefused

FILES = {
    "a/model.onnx": b"w" * 2_000_000,
    "a/noise": random.Random(3).randbytes(700_001),
    "a/empty": b"",
    "größe.txt": b"angry\n",
}


def extract(packed: bytes, directory: Path) -> dict[str, bytes]:
    limits = UnpackLimits(reserve_bytes=0)
    (directory / "packed").write_bytes(packed)
    (directory / "out").mkdir()
    archive = os.open(directory / "packed", os.O_RDONLY)
    root = os.open(directory / "out", os.O_RDONLY)
    try:
        with Tree(root, 0) as tree:
            extract_zip(archive, tree, limits, Budget(len(packed), limits, lambda _: None))
            tree.finish()
    finally:
        os.close(root)
        os.close(archive)
    out = directory / "out"
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


class Unseekable(io.BytesIO):
    """Makes zipfile write sizes behind the data (bit 3), as it does into a pipe."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise OSError


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("target", [io.BytesIO, Unseekable])
@pytest.mark.parametrize("force_zip64", [False, True])
def test_every_form_of_zip_gives_the_same_files(
    tmp_path: Path, method: int, target: type[io.BytesIO], force_zip64: bool
) -> None:
    packed = target()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.mkdir("kept")
        for name, content in FILES.items():
            with archive.open(name, "w", force_zip64=force_zip64) as member:
                member.write(content)
    assert extract(packed.getvalue(), tmp_path) == FILES
    assert (tmp_path / "out/kept").is_dir()


def test_a_64_bit_end_record_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    assert b"PK\x06\x06" in packed.getvalue()
    assert extract(packed.getvalue(), tmp_path) == FILES


def test_a_comment_is_passed_over(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("f", b"1")
        archive.comment = b"made by hand"
    assert extract(packed.getvalue(), tmp_path) == {"f": b"1"}


def test_an_empty_zip_is_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    zipfile.ZipFile(packed, "w").close()
    with pytest.raises(ArchiveRefused, match="no members"):
        extract(packed.getvalue(), tmp_path)
