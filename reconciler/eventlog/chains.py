"""The chain of one reader over the files of a log, walked from its end. Imports volume, history.

In: the files, newest first.  Out: entries of a chain, and hashes in it. There is no index (docs/decisions/0009): each
entry names the one before it, so a walk costs what is new to whoever asks.
"""

from collections.abc import Iterator, Sequence

from reconciler.errors import GapFound
from reconciler.eventlog.volume import Volume
from reconciler.history.events import Origin

Run = tuple[Volume, list[tuple[int, int, int]]]  # of one file: (seq, position, prior), newest first


def after(volumes: Sequence[Volume], chain: str, position: int) -> Iterator[tuple[Origin, bytes]]:
    """The entries of a chain behind `position`, oldest first, as `ports.EventLog.copy` takes them. Raises GapFound."""
    source, runs = volumes[0].source, _back(volumes, chain, position)
    prev = _hash(volumes, runs, chain, position)
    if prev is None:
        missing = runs[-1][1][-1][1] - 1 if runs else volumes[0].tip(chain).position
        raise GapFound(f"{source}: events {position + 1} to {missing} are not in {volumes[0].path} or beside it")
    for volume, run in reversed(runs):
        for at, hash_, body in volume.links([seq for seq, at, _ in reversed(run) if at > position]):
            yield Origin(source=source, position=at, hash=hash_.hex(), prev=prev.hex()), body
            prev = hash_


def hash_at(volumes: Sequence[Volume], chain: str, position: int) -> bytes | None:
    """The hash at a position of a chain; None where no file that is here tells it."""
    return _hash(volumes, _back(volumes, chain, position), chain, position)


def _back(volumes: Sequence[Volume], chain: str, position: int) -> list[Run]:
    """The places of a chain in each file, newest first, from its end back to `position` or to what is not here."""
    runs: list[Run] = []
    seq, end = volumes[0].tip(chain).seq, position + 1
    for volume in volumes:
        if end > position and seq >= volume.first and (run := volume.back(seq, position)):
            runs.append((volume, run))
            _, end, seq = run[-1]
    return runs


def _hash(volumes: Sequence[Volume], runs: Sequence[Run], chain: str, position: int) -> bytes | None:
    """The hash at `position`: of the entry where the walk ended, or where the file of the one behind it begins."""
    volume, run = runs[-1] if runs else (volumes[0], [])
    if run and run[-1][1] == position:
        return next(volume.links([run[-1][0]]))[1]
    begin = volume.begin(chain)
    return begin.hash if begin.seq == position else None
