"""What there is instead of a name that is not there, in words for a hint. Imports diagnostics. Pure."""

import difflib
from collections.abc import Sequence
from typing import Final

from reconciler.diagnostics import printable

SHOWN: Final = 12
COMPARED: Final = 5000  # names among which the nearest one is looked for


def there_is(name: str, names: Sequence[str], what: str, further: Sequence[str] = ()) -> str:
    """The name that was meant most likely, and those there are. what: they are, as `its branches`.

    further: names that are not listed, of which one may be meant.
    """
    near = difflib.get_close_matches(name, list(dict.fromkeys([*names, *further]))[:COMPARED], 1)
    meant = f"did you mean {printable(near[0])}? " if near else ""
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{meant}{what}: {printable(', '.join(names[:SHOWN])) or 'none'}{rest}"
