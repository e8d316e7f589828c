"""Archives as people's tools write them: what file managers leave in them, and every form that is nobody's harm."""

import bz2
import gzip
import hashlib
import io
import lzma
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.artifacts.names import is_left_behind
from reconciler.errors import ArchiveRefused
from tests.artifact_server import Stager

APPLE_DOUBLE = struct.pack(">LL16sH", 0x00051607, 0x00020000, b"Mac OS X        ", 2).ljust(144, b"\0")
MODEL = b"weights" * 300
Files = dict[str, bytes | None]  # None: a directory


def tar(files: Files, form: int = tarfile.USTAR_FORMAT, **headers: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form, pax_headers=headers) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    return packed.getvalue()


def zipped(files: Files, system: int = 3, *, mac: bool = False) -> bytes:
    """As Info-ZIP writes it; system 0: as Windows does, without modes. mac: with the extra field of Archive Utility."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo("?" * len(name) if "\\" in name else name)
            entry.orig_filename = entry.filename = name
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, system
            mode = stat.S_IFDIR | 0o755 if content is None else stat.S_IFREG | 0o644
            entry.external_attr = mode << 16 if system == 3 else 0x20
            if mac:
                entry.extra = struct.pack("<2HLL", 0x5855, 8, 0, 0)
            archive.writestr(entry, content or b"")
    return packed.getvalue()


def unpacked(directory: Path, packed: bytes) -> dict[str, bytes]:
    """What a store has of an archive: path -> content."""
    source = directory / "source"
    source.write_bytes(packed)
    stager = Stager(directory / "store")
    path = stager.stage(source.as_uri(), hashlib.sha256(packed).hexdigest(), len(packed), allow_file=True).path
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}


MAC: Files = {
    "._.": APPLE_DOUBLE,
    "./": None,
    "./._model": APPLE_DOUBLE,
    "./model/": None,
    "./model/._model.onnx": APPLE_DOUBLE,
    "./model/model.onnx": MODEL,
    "./model/.DS_Store": b"Bud1",
    "./model/Icon\r": b"",
}
FOLDERS: list[Files] = [
    {"model/model.onnx": MODEL, "__MACOSX/": None, "__MACOSX/._model": APPLE_DOUBLE, "__MACOSX/model/._x.onnx": b"\0"},
    {"model/": None, "model/model.onnx": MODEL, "model/Thumbs.db": b"\xd0\xcf", "Desktop.ini": b"[.ShellClassInfo]"},
    {".Trashes/": None, ".fseventsd/": None, ".fseventsd/uuid": b"u", "$RECYCLE.BIN/x": b"", "m/model.onnx": MODEL},
    {"System Volume Information/": None, ".localized": b"", "model.onnx": MODEL},
]
PACKERS: dict[str, Callable[[Files], bytes]] = {
    "tar": tar,
    "tar.gz": lambda files: gzip.compress(tar(files)),
    "pax.xz": lambda files: lzma.compress(tar(files, tarfile.PAX_FORMAT, comment="c" * 90_000)),
    "gnu.bz2": lambda files: bz2.compress(tar(files, tarfile.GNU_FORMAT)),
    "zip": zipped,
    "zip of a Mac": lambda files: zipped(files, mac=True),
    "zip of Windows": lambda files: zipped(files, 0),
}


@pytest.mark.parametrize(
    ("pack", "files"),
    [*((pack, MAC) for pack in PACKERS), *((pack, files) for pack in ("tar.gz", "zip") for files in FOLDERS)],
)
def test_what_a_file_manager_leaves_is_left_out_and_counts_for_nothing(tmp_path: Path, pack: str, files: Files) -> None:
    assert unpacked(tmp_path, PACKERS[pack](files)) == {"model.onnx": MODEL}


@pytest.mark.parametrize(
    ("name", "left"),
    [
        (b"a/._b", True),
        (b"__macosx/a", True),
        (b"THUMBS.DB", True),
        (b"._d/", False),  # a directory's sidecar is a file
        (b".hidden/model.onnx", False),
        (b"DS_Store", False),
        (b"a._b", False),
        (b"my__MACOSX/a", False),
        (b"../._x", True),  # it is not created, wherever it leads
    ],
)
def test_it_is_known_by_its_name(name: bytes, left: bool) -> None:
    assert is_left_behind(name) is left


def test_what_is_left_out_counts_for_the_limits_of_a_bomb_and_an_archive_of_nothing_else_is_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(ArchiveRefused, match="200 times its size"):
        unpacked(tmp_path, gzip.compress(tar({"._bomb": bytes(80 << 20), "model.onnx": MODEL})))
    with pytest.raises(ArchiveRefused, match="holds no file"):
        unpacked(tmp_path, tar({"._model.onnx": APPLE_DOUBLE, "__MACOSX/": None}))
    cut = tar({"a": MODEL, "._b": bytes(3000)})
    with pytest.raises(ArchiveRefused, match="ends inside"):
        unpacked(tmp_path, cut[: cut.index(b"._b") + 1024])


def test_a_link_is_refused_also_where_it_is_called_a_sidecar_and_the_way_out_is_named(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        link = tarfile.TarInfo("._link")
        link.type, link.linkname = tarfile.LNKTYPE, "model.onnx"
        archive.addfile(link)
    with pytest.raises(ArchiveRefused, match="hard link") as refusal:
        unpacked(tmp_path, packed.getvalue())
    assert "--hard-dereference" in refusal.value.advice


@pytest.mark.parametrize("pack", [tar, zipped], ids=["tar", "zip"])
def test_names_as_tools_write_them(tmp_path: Path, pack: Callable[[Files], bytes]) -> None:
    files: Files = {"./a//model.onnx": MODEL, "./": None, "b/": None, "empty": b"", "größe": b"1"}
    assert unpacked(tmp_path, pack(files)) == {"a/model.onnx": MODEL, "empty": b"", "größe": b"1"}


def test_backslashes_of_windows_divide_names_and_are_judged_so(tmp_path: Path) -> None:
    files: Files = {"model\\sub\\model.onnx": MODEL, "model\\sub\\": b"", "model\\labels.txt": b"a"}
    assert unpacked(tmp_path, zipped(files, 0)) == {"sub/model.onnx": MODEL, "labels.txt": b"a"}
    for name in ("..\\x", "a\\..\\..\\x", "\\x", "C:\\x"):
        with pytest.raises(ArchiveRefused, match=r"'\.\.'|absolute"):
            unpacked(tmp_path, zipped({name: b""}, 0))


@pytest.mark.parametrize("raw", ["größe".encode("cp437"), "größe".encode()], ids=["cp437", "UTF-8"])
def test_a_zip_name_without_the_flag_for_utf_8_is_read_as_its_bytes_are(tmp_path: Path, raw: bytes) -> None:
    packed = zipped({"N" * len(raw): b"1"}).replace(b"N" * len(raw), raw)
    assert unpacked(tmp_path, packed) == {"größe": b"1"}


def test_a_contiguous_file_of_a_tar_is_a_file(tmp_path: Path) -> None:
    block = bytearray(tar({"a": b"1"}))
    block[156:157] = b"7"
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:512]))
    assert unpacked(tmp_path, bytes(block)) == {"a": b"1"}


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress], ids=["gz", "xz", "bz2"])
def test_data_that_is_compressed_and_no_archive_stays_as_it_is(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"a,b\n1,2\n")
    assert unpacked(tmp_path, packed) == {"source": packed}


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress], ids=["gz", "xz", "bz2"])
def test_an_archive_in_pieces_is_read_whole(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    whole = tar({"a": bytes(range(256)) * 5000, "b": b"1"})
    pieces = b"".join(pack(whole[at : at + 300_000]) for at in range(0, len(whole), 300_000))
    assert unpacked(tmp_path, pieces) == {"a": bytes(range(256)) * 5000, "b": b"1"}
