"""The order in which people list names: edge-1, edge-2, edge-10. Imports nothing. Pure.

In: names.  Out: keys to sort by, for whatever is shown. Digests and stored bytes keep the plain order of text.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

_DIGITS: Final = re.compile("([0-9]+)")
FEW: Final = 10  # names that a sentence lists


@lru_cache(maxsize=65_536)
def natural(text: str) -> tuple[Any, ...]:
    """What to sort a name by: its runs of digits as numbers, the rest as text; equal only for equal names."""
    parts: list[Any] = _DIGITS.split(text)
    parts[1::2] = [(len(number.lstrip("0")), number.lstrip("0")) for number in parts[1::2]]  # of any length
    return (*parts, (), text)


def in_order(names: Iterable[str]) -> list[str]:
    """The names, each once, as people list them."""
    return sorted(set(names), key=natural)


def listed(names: Sequence[str], few: int = FEW) -> str:
    """`a, b, c and 12 more`: the first few, and how many there are beside; "" of none."""
    more = f" and {len(names) - few} more" if len(names) > few else ""
    return ", ".join(names[:few]) + more
