"""What the tar reader takes, and its small readers of fields and records. Hostile archives are in tests/faults."""

import gzip
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from reconciler.artifacts.budget import Budget
from reconciler.artifacts.extract_tar import TarExtractor, is_header, number, pax_records, read_header
from reconciler.artifacts.limits import UnpackLimits
from reconciler.artifacts.receipt import File
from reconciler.artifacts.stream import Inflated, Stream
from reconciler.artifacts.tree import Tree
from reconciler.errors import ArchiveRefused

FILES = {"a/model.onnx": b"w" * 100_000, "a/empty": b"", "b/label s.txt": b"angry\n", "exact": b"x" * 512}


def extract(packed: bytes, directory: Path, limits: UnpackLimits | None = None) -> list[File]:
    """The files of a tar or tar.gz, unpacked into `directory` in this process."""
    limits = limits or UnpackLimits(reserve_bytes=0)
    (directory / "packed").write_bytes(packed)
    (directory / "out").mkdir()
    archive = os.open(directory / "packed", os.O_RDONLY)
    root = os.open(directory / "out", os.O_RDONLY)
    try:
        stream = Inflated(archive) if packed[:2] == b"\x1f\x8b" else Stream(archive)
        with Tree(root, limits.reserve_bytes) as tree:
            TarExtractor(stream, tree, limits, Budget(len(packed), limits, lambda _: None)).run()
            return tree.finish()
    finally:
        os.close(root)
        os.close(archive)


def tar(files: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o600
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def contents(directory: Path) -> dict[str, bytes]:
    out = directory / "out"
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("packed", [False, True])
def test_every_form_of_tar_gives_the_same_files(tmp_path: Path, form: int, packed: bool) -> None:
    data = tar(FILES, form)
    found = extract(gzip.compress(data) if packed else data, tmp_path)
    assert contents(tmp_path) == FILES
    assert sorted((file.path, file.size) for file in found) == sorted((k, len(v)) for k, v in FILES.items())


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_are_read(tmp_path: Path, form: int) -> None:
    files = {f"{'deep/' * 30}{'n' * 200}": b"1", "größe/模型.onnx": b"2"}
    extract(tar(files, form), tmp_path)
    assert contents(tmp_path) == files


def test_the_ustar_prefix_is_a_part_of_the_name(tmp_path: Path) -> None:
    files = {f"{'p' * 120}/{'n' * 90}": b"1"}
    extract(tar(files, tarfile.USTAR_FORMAT), tmp_path)
    assert contents(tmp_path) == files


def test_modes_are_fixed(tmp_path: Path) -> None:
    extract(tar({"d/f": b"1"}), tmp_path)
    assert ((tmp_path / "out/d").stat().st_mode & 0o777, (tmp_path / "out/d/f").stat().st_mode & 0o777) == (
        0o755,
        0o644,
    )


def test_a_directory_may_come_before_or_after_its_files_and_be_empty(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("./", "a/f", "a/", "empty/"):
            info = tarfile.TarInfo(name.rstrip("/") or ".")
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(info)
    extract(packed.getvalue(), tmp_path)
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")) == ["a", "a/f", "empty"]


@pytest.mark.parametrize(
    ("field", "value"),
    [(b"0000644\0", 0o644), (b"     12 ", 0o12), (b"\0" * 8, 0), (b"\x80" + b"\0" * 6 + b"\x05", 5)],
)
def test_numbers_are_octal_or_base_256(field: bytes, value: int) -> None:
    assert number(field) == value


@pytest.mark.parametrize(
    "field", [b"\xff" * 12, b"\xc0" + b"\0" * 11, b"-0000001\0", b"99999999", b"\x80" + b"\xff" * 11]
)
def test_negative_and_absurd_numbers_are_refused(field: bytes) -> None:
    with pytest.raises(ArchiveRefused):
        number(field)


def test_pax_records_are_read_by_their_length() -> None:
    assert pax_records(b"12 path=a=b\n13 comment=\n\n"[:12]) == [(b"path", b"a=b")]
    assert pax_records(b"11 path=ab\n13 comment=x\n") == [(b"path", b"ab"), (b"comment", b"x")]


@pytest.mark.parametrize(
    "data",
    [b"99 path=a\n", b"0 path=a\n", b"-1 path=a\n", b"10 path=ab\n", b"x path=a\n", b"5 =a\n", b"3 \n", b"9 patha\n"],
)
def test_damaged_pax_records_are_refused(data: bytes) -> None:
    with pytest.raises(ArchiveRefused):
        pax_records(data)


def test_a_header_is_known_by_its_checksum() -> None:
    block = tar(FILES)[:512]
    assert is_header(block)
    assert read_header(block).name == b"a/model.onnx"
    assert not is_header(block[:100] + b"!" + block[101:])
    assert not is_header(b"\0" * 512)


def test_memory_stays_small_whatever_comes_out(tmp_path: Path) -> None:
    packed = gzip.compress(tar({"zeros": bytes(40 << 20)}), 1)
    tracemalloc.start()
    try:
        extract(packed, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_pieced_gzip_is_read_whole(tmp_path: Path) -> None:
    data = tar(FILES)
    pieces = b"".join(gzip.compress(data[at : at + 700]) for at in range(0, len(data), 700))
    extract(pieces + b"\0" * 1000, tmp_path)  # tapes and some tools pad with zeros
    assert contents(tmp_path) == FILES
