"""The reader of an entry, in whose chain it stands (docs/decisions/0001). Imports nothing of ours. Pure.

In: what an event's hashed bytes say.  Out: the name of its one reader, or "".
"""

import re
from functools import lru_cache
from typing import Final

HUB: Final = "hub"
_SOURCE: Final = re.compile("/(hub|edge/[^/]+)/[^/]+")
_ORDERS: Final = "deploy/"


@lru_cache(maxsize=1024)
def name_of(source: str) -> str:
    """As whom the log of this source reads other logs: `hub`, `edge/<name>`. Raises ValueError for another one."""
    match = _SOURCE.fullmatch(source)
    if match is None:
        raise ValueError(f"it is from {source!r}, which is neither a hub nor an edge")
    return match[1]


@lru_cache(maxsize=65_536)
def reader_of(source: str, stream: str) -> str:
    """Who reads what `source` writes to `stream`; "" for nobody. Raises ValueError where that cannot be known."""
    if name_of(source) != HUB:
        return HUB
    if not stream.startswith(_ORDERS):
        return ""
    edge = stream.split("/", 2)[1]
    if not edge:
        raise ValueError(f"it is in {stream!r}, an order for nobody")
    return f"edge/{edge}"
