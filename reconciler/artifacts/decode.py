"""Undoes a compression that a server added although it was asked not to. May import stream, partial, errors.

In: a Partial with the body as it came.  Out: the same Partial with the file's own bytes, capped.
"""

from reconciler.artifacts.partial import CHUNK, Partial
from reconciler.artifacts.stream import Inflated
from reconciler.errors import ArchiveRefused, ArtifactRefused


def decode(body: Partial, cap: int) -> None:
    """Replace the body with what it inflates to, at most `cap` bytes. Raises ArtifactRefused, StorageExhausted."""
    body.settle()
    stream = Inflated(body.fileno())
    with body.beside() as plain:
        try:
            while chunk := stream.take(min(CHUNK, cap + 1 - plain.length)):
                plain.append(chunk)
                if plain.length > cap:
                    raise ArtifactRefused(f"the server compressed the body; inflated it has more than {cap} bytes")
        except ArchiveRefused as damage:
            raise ArtifactRefused(f"the server compressed the body, and {damage}") from damage
        body.take_over(plain)
