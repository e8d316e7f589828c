"""What is stored, as the one writer sees it: the files of the log and a memory of the newest. Imports volume.

In: look-ups from a batch, rows that are durable now.  Out: entries, versions, heads. Called under the writer's lock.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from reconciler.eventlog.batch import NO_TIP, EntryRow, Tail, Tip
from reconciler.eventlog.chains import hash_at
from reconciler.eventlog.columns import Numbers
from reconciler.eventlog.volume import Volume
from reconciler.history.events import Entry

_REMEMBERED: Final = 65_536  # streams whose version is known without asking


class Stored:
    """`batch.Lookup` over sealed files, oldest first, and the live one, read by the writer's own connection."""

    def __init__(self, sealed: Sequence[Volume], live: Volume) -> None:
        self.live = live
        self.numbers = Numbers()
        self._newest_first = [live, *reversed(sealed)]
        self._versions: dict[str, int] = {}
        self.tips = live.tips()  # where every chain ends

    def tail(self) -> Tail:
        """Where the log ends."""
        head = self.live.head()
        return Tail(head, self.live.own_count(), self.live.recorded(head.seq))

    def remember(self, rows: Sequence[EntryRow]) -> None:
        """Take note of rows that are durable now."""
        if len(self._versions) > _REMEMBERED:
            self._versions.clear()
        for row in rows:
            self._versions[row.stream] = row.version
        self.tips |= {row.chain: row.tip for row in rows if row.chain}

    def stored(self, source: str, ids: Sequence[str]) -> dict[str, Entry]:
        """See `batch.Lookup`."""
        found: dict[str, Entry] = {}
        for volume in self._newest_first:
            found |= volume.stored(source, [id_ for id_ in ids if id_ not in found] if found else ids)
        return found

    def versions_of(self, streams: Collection[str]) -> dict[str, int]:
        """See `batch.Lookup`."""
        known = {stream: self._versions[stream] for stream in streams if stream in self._versions}
        missing = [stream for stream in streams if stream not in known]
        for volume in self._newest_first:
            known |= volume.versions_of(missing)
            missing = [stream for stream in missing if stream not in known]
        return known | dict.fromkeys(missing, 0)

    def tip(self, chain: str) -> Tip:
        """See `batch.Lookup`."""
        return self.tips.get(chain, NO_TIP)

    def hash_at(self, chain: str, position: int) -> bytes | None:
        """See `batch.Lookup`."""
        return hash_at(self._newest_first, chain, position)

    def unknown_blobs(self, oids: Iterable[str]) -> list[str]:
        """Those of `oids` that no file has."""
        missing = list(oids)
        for volume in self._newest_first:
            known = volume.known_blobs(missing)
            missing = [oid for oid in missing if oid not in known]
        return missing
