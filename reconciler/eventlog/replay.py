"""The state of a log at any point, folded from the nearest snapshot. Imports snapshots; history, ports.

In: a log that can be read, and its snapshots.  Out: State. Snapshots are made on the way, so that a later question is
answered sooner; without them the answer is the same.
"""

import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from reconciler.errors import PointUnknown, StorageExhausted
from reconciler.eventlog.snapshots import Readable, Snapshot, Snapshots
from reconciler.history.fold import CODE_VERSION, fold
from reconciler.history.state import State

EVERY: Final = 10_000  # entries between two snapshots: about a tenth of a second of reading and folding

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(State)


class Replay:
    """Answers `state at` for one log file."""

    def __init__(self, log: Readable, path: Path) -> None:
        self._log, self._snapshots = log, Snapshots(path, CODE_VERSION)

    def at(self, seq: int | None = None) -> State:
        """The state at `seq`; at the end of the log without it. Raises PointUnknown when the log does not reach it."""
        head = self._log.head().seq
        if seq is not None and not 0 <= seq <= head:
            raise PointUnknown(f"there is no entry {seq}: the log ends at {head}")
        goal = head if seq is None else seq
        state = self._nearest(goal)
        for upto in range(state.seq + EVERY, goal + 1, EVERY):
            self.save(taken(fold(state, self._log.read(state.seq, upto))))
        return fold(state, self._log.read(state.seq, goal))

    def _nearest(self, seq: int) -> State:
        found = self._snapshots.nearest(seq, self._log)
        if found is None:
            return State()
        try:
            return _DECODER.decode(zlib.decompress(found.content))
        except (msgspec.DecodeError, zlib.error):  # made by other code under the same version: the log itself answers
            return State()

    def save(self, taken: Snapshot) -> None:
        """Keep a snapshot, on any thread. No room is no failure: it is derived."""
        content = zlib.compress(taken.content, level=1)  # to a tenth: 10,000 objects are 5 MB
        with suppress(StorageExhausted):
            self._snapshots.save(taken._replace(content=content))


def taken(state: State) -> Snapshot:
    """A snapshot of a state as it is now, to be saved."""
    return Snapshot(state.seq, state.hash, _ENCODER.encode(state))
