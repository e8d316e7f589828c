"""How much an archive may still unpack to. Standard library, limits and errors only.

In: sizes from headers, before their bytes.  Out: ArchiveRefused where the sum grows out of proportion.
"""

from collections.abc import Callable, Iterator

from reconciler.artifacts.limits import UnpackLimits
from reconciler.artifacts.stream import Stream
from reconciler.errors import ArchiveRefused


class Budget:
    """The bytes of one archive. packed: its size as served.  told: hears the bytes read of it, between pieces."""

    def __init__(self, packed: int, limits: UnpackLimits, told: Callable[[int], None]) -> None:
        self._limits, self._told = limits, told
        self._left = min(limits.max_bytes, max(limits.ratio_free_bytes, packed * limits.max_ratio))

    def spend(self, size: int) -> None:
        """Announce a member of `size` bytes. Raises ArchiveRefused."""
        self._left -= size
        if self._left < 0:
            raise ArchiveRefused(
                f"the archive unpacks to more than {self._limits.max_ratio} times its size "
                f"or more than {self._limits.max_bytes} bytes"
            )

    def watched(self, stream: Stream, size: int) -> Iterator[memoryview]:
        """The next `size` bytes of the stream, with progress told."""
        for piece in stream.pieces(size):
            self.tell(stream.read)
            yield piece

    def tell(self, done: int) -> None:
        """Report bytes read of the archive."""
        self._told(done)
