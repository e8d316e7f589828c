"""The codec: events as canonical bytes, and the hash chain over them. May import: history.events, errors. Pure.

In: events from writers, stored bodies from a log.  Out: bodies to a log, entries to whoever reads.

A body is JSON with sorted keys, without floats and without integers above 2**53 (facts: RFC 8785 under these limits).
An own event is stored as itself; a copied one as {"event": <its own bytes, verbatim>, "origin": {...}}, so fields and
types of a newer writer survive every copy. Nothing is ever serialised again to be verified: the chain covers bytes.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha1, sha256
from itertools import repeat
from typing import Any, Final

import msgspec

from reconciler.errors import ChainBroken
from reconciler.history.events import Entry, Event, Origin

LARGEST: Final = 2**53
COPIED: Final = b'{"event":'  # no event has a first key like this, so the two forms cannot be mistaken


class Arrival(Origin, frozen=True, kw_only=True):
    """What stands beside a copied event: where it comes from, and its place in the log that copied it."""

    localsequence: int
    localversion: int
    recordedtime: str


class Arrived(msgspec.Struct):
    """A copied event's body, its own bytes untouched."""

    event: msgspec.Raw
    origin: Arrival


class Columns(msgspec.Struct, gc=False):
    """What a log's columns repeat of an event's bytes."""

    id: str
    partitionkey: str
    sequence: str
    source: str
    recordedtime: str = ""
    version: int = 0


class _Copied(msgspec.Struct):
    event: Event
    origin: Origin


_encode = msgspec.json.Encoder(order="sorted").encode
_decode_own = msgspec.json.Decoder(Event).decode
_decode_copied = msgspec.json.Decoder(_Copied).decode
_decode_columns = msgspec.json.Decoder(Columns).decode
_decode_arrived = msgspec.json.Decoder(Arrived).decode
_make_entry = partial(tuple.__new__, Entry)


def encode(event: Event) -> bytes:
    """The canonical bytes of `event`.

    Raises ValueError naming the place in `data` that is not text, integer within 2**53, boolean, null, list or object.
    """
    if not _is_plain(event.data):
        _refuse(event.data, "data")
    return _encode(event)


def _is_plain(value: Any) -> bool:
    """Whether `value` has a canonical form. On the hot path: the place of what has none is looked for afterwards."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-LARGEST < value < LARGEST)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                return False
            kind = type(item)
            if kind is int:
                if not -LARGEST < item < LARGEST:
                    return False
            elif not (kind is str or kind is bool or _is_plain(item)):
                return False
        return True
    if kind is list or kind is tuple:
        for item in value:
            kind = type(item)
            if not (kind is str or kind is bool or item is None or _is_plain(item)):
                return False
        return True
    return False


def _refuse(value: Any, place: str) -> None:
    """Raises ValueError naming the first place in `value` that is not plain."""
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise ValueError(f"{place}: the key {key!r} is not text")
            _refuse(item, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse(item, f"{place}[]")
    elif type(value) is int and not _is_plain(value):
        raise ValueError(f"{place}: {value} is not below 2**53: write it as text")
    elif not _is_plain(value):
        raise ValueError(f"{place}: {value!r} is a {type(value).__name__}: write numbers with a fraction as text")


def wrap(body: bytes, arrival: Arrival) -> bytes:
    """The body of a copied event: its own bytes, unchanged, beside where they come from."""
    return _encode(Arrived(msgspec.Raw(body), arrival))


def decode(body: bytes) -> tuple[Event, Origin | None]:
    """The event in a stored body, and its origin where it was copied. Unknown types decode; unknown fields stay in the
    bytes only. Raises ChainBroken when it is no event at all.
    """
    try:
        if body.startswith(COPIED):
            copied = _decode_copied(body)
            return copied.event, copied.origin
        return _decode_own(body), None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_event(error) from error


def _no_event(error: Exception) -> ChainBroken:
    return ChainBroken(f"a stored body is not an event: {error}")


def entries(rows: Sequence[tuple[int, bytes, bytes]]) -> Iterator[Entry]:
    """The entries of (seq, hash, body) rows. Raises ChainBroken at the first that is no event.

    Lazy, and for own events, nearly all there are, without a step in Python: what a fold lets go of at once is never
    seen by the garbage collector, which is a third of the time of a replay.
    """
    if not rows:
        return
    seqs, hashes, bodies = zip(*rows, strict=True)
    if any(map(bytes.startswith, bodies, repeat(COPIED))):
        yield from (Entry(seq, hash_, *decode(body)) for seq, hash_, body in rows)
        return
    try:
        yield from map(_make_entry, zip(seqs, hashes, map(_decode_own, bodies), repeat(None)))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_event(error) from error


def recorded_time(body: bytes) -> str:
    """When the log that has this stored body recorded it. Raises ChainBroken when it is no event at all."""
    try:
        return (
            _decode_arrived(body).origin.recordedtime if body.startswith(COPIED) else _decode_columns(body).recordedtime
        )
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_event(error) from error


def chain(prev: bytes, body: bytes) -> bytes:
    """The hash of an entry (32 bytes): sha256 over the hash before it and the stored bytes."""
    return sha256(prev + body).digest()


def blob_id(content: bytes, *, digits: int = 40) -> str:
    """The Git blob id of `content`: 40 digits (SHA-1) or 64 (SHA-256 repositories). Source: gitformat-pack, objects."""
    hasher = sha256 if digits == 64 else sha1
    return hasher(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def check_blob(oid: str, content: bytes) -> None:
    """Raises ValueError when `oid` is not the Git blob id of `content`."""
    if blob_id(content, digits=len(oid)) != oid:
        raise ValueError(f"{oid} is not the Git blob id of these {len(content)} bytes")
