"""Bodies of requests and answers: bounded, and compressed where the other side says so. Imports nothing of ours.

In: a request.  Out: its body inflated, within one cap whatever was sent; answers compressed where it pays and is asked.
Source: RFC 9110 sections 8.4 and 12.5.3; RFC 1952 section 2.2.
"""

import gzip
import re
import zlib
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

CAP: Final = 64 << 20  # bytes of one request, as sent and inflated
DRAIN_CAP: Final = 4 * CAP  # a longer body is read so far, and dropped, so that its sender hears why
WORTH: Final = 16 << 10  # bytes of an answer that are compressed: less costs more than it saves
PIECE: Final = 4 << 10  # bytes that are inflated at a time
MEMBERS: Final = 1 << 14  # of a gzip body: an empty one costs as much as one that holds something
MAGIC: Final = b"\x1f\x8b"  # how each of them begins
CODINGS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # as zlib calls them


async def read(request: Request) -> bytes:
    """The body, inflated. Raises HTTPException: 413 above the cap, 415 for another coding, 400 for a damaged body."""
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding not in {"", "identity", *CODINGS}:
        raise HTTPException(415, f"a body of Content-Encoding {coding!r} is not read; send gzip, deflate or none")
    body = bytearray()
    length = 0
    async for chunk in request.stream():
        length += len(chunk)
        if length <= CAP:
            body += chunk
        elif length > DRAIN_CAP:
            break
    if length > CAP:
        raise HTTPException(413, f"a request holds at most {CAP} bytes")
    return await run_in_threadpool(inflated, bytes(body), coding) if coding in CODINGS else bytes(body)


def inflated(body: bytes, coding: str) -> bytes:
    """The body without its coding. Raises HTTPException; never makes more than the cap."""
    wrapped = CODINGS[coding]
    if coding == "deflate" and not _is_zlib(body):
        wrapped = -15  # some send it without zlib's wrapping
    whole, plain = memoryview(body), bytearray()
    end, members = _inflate(whole, 0, plain, wrapped, coding), 1
    while wrapped == CODINGS["gzip"] and body.startswith(MAGIC, end):
        if members == MEMBERS:
            raise HTTPException(413, f"a {coding} body has at most {MEMBERS} members")
        end, members = _inflate(whole, end, plain, wrapped, coding), members + 1
    if end != len(body):
        raise HTTPException(400, f"the {coding} body ends, and something follows it: send one, whole")
    return bytes(plain)


def _inflate(whole: memoryview, begin: int, plain: bytearray, wrapped: int, coding: str) -> int:
    """Where the stream that begins at `begin` ends, its bytes appended to `plain`. Raises HTTPException."""
    inflater, end = zlib.decompressobj(wrapped), begin
    while not inflater.eof:
        piece = whole[end : end + PIECE]  # what zlib does not use of it is copied, for every member
        if not piece:
            raise HTTPException(400, f"the {coding} body is cut off: send it whole")
        end += len(piece)
        try:
            plain += inflater.decompress(piece, CAP + 1 - len(plain))
        except zlib.error as error:
            raise HTTPException(400, f"the body is not {coding}, as its Content-Encoding says: {error}") from error
        if len(plain) > CAP:
            raise HTTPException(413, f"a request holds at most {CAP} bytes, inflated too")
    return end - len(inflater.unused_data)


def deflated(body: bytes, accepts: str) -> tuple[bytes, str]:
    """(body, coding) of an answer to a request with this Accept-Encoding; the coding is "" where it goes as it is."""
    if len(body) < WORTH:
        return body, ""
    wanted = {name.lower(): quality for name, quality in re.findall(r"([\w*-]+)\s*(?:;\s*q=([\d.]+))?", accepts)}
    for coding in ("gzip", "deflate"):
        if coding in wanted and wanted[coding] not in {"0", "0.0", "0.00", "0.000"}:
            return (gzip.compress(body, 1, mtime=0) if coding == "gzip" else zlib.compress(body, 1)), coding
    return body, ""


def _is_zlib(body: bytes) -> bool:
    """Whether it begins as RFC 1950 says."""
    return len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
