"""An answer again and again: redrawn on a terminal, elsewhere told once a change. May import: cli.where, web.document.

In: how it is asked and told.  Out: what it tells, until interrupted. A change is one of what stands, not of its age.
"""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from reconciler.history.status import Status

LOOK_S: Final = 1.0  # between two looks
CLEAR: Final = "\x1b[H\x1b[2J\x1b[3J"
PASSING: Final = ("asOf", "seq", "time", "edges")  # what changes though nothing of what is shown does


def watched(ask: "Callable[[], Status]", tell: "Callable[[Status], None]", *, is_drawn: bool) -> None:
    """Tell it, and again whenever it has changed, for ever. is_drawn: for people, who are shown blocks of text.

    Raises what asking raises.
    """
    from reconciler.web.document import document

    before: Any = None
    while True:
        seen = ask()
        stands = {name: value for name, value in document("Status", seen).items() if name not in PASSING}
        is_redrawn = is_drawn and sys.stdout.isatty()
        if is_redrawn or stands != before:
            if is_redrawn:
                print(CLEAR, end="")
            elif is_drawn and before is not None:
                print()
            tell(seen)
            sys.stdout.flush()
        before = stands
        time.sleep(LOOK_S)
