"""An answer again and again: redrawn on a terminal, elsewhere told once a change. May import: cli.where, web.document.

In: how it is asked and told.  Out: what it tells, until interrupted. A change is one of what stands, not of its age.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from time import sleep
from typing import TYPE_CHECKING, Any, Final

from reconciler.cli.where import Where

if TYPE_CHECKING:
    from reconciler.history.status import Status

LOOK_S: Final = 1.0  # between two looks at whether anything was recorded
ALL: Final = 10  # looks, at the last of which everything is asked for: time alone changes ages, and ends suspensions
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
CLEAR: Final = "\x1b[H\x1b[J"
PASSING: Final = ("asOf", "seq", "time", "edges")  # what changes though nothing of what is shown does


def watched(where: Where, ask: "Callable[[], Status]", tell: "Callable[[Status], None]", *, is_drawn: bool) -> None:
    """Tell it, and again whenever it has changed, for ever. is_drawn: for people, who are shown blocks of text.

    Raises what asking raises.
    """
    is_redrawn = is_drawn and sys.stdout.isatty()
    with _alternate_screen() if is_redrawn else nullcontext():
        _watched(where, ask, tell, is_drawn=is_drawn, is_redrawn=is_redrawn)


@contextmanager
def _alternate_screen() -> Iterator[None]:
    """What was on the terminal, and what was scrolled away, is there again behind it."""
    print(ENTER, end="")
    try:
        yield
    finally:
        print(LEAVE, end="", flush=True)


def _watched(
    where: Where, ask: "Callable[[], Status]", tell: "Callable[[Status], None]", *, is_drawn: bool, is_redrawn: bool
) -> None:
    seen, before, looks = ask(), None, 0
    while True:
        stands = _stands(seen)
        if is_redrawn or stands != before:
            print(CLEAR if is_redrawn else "\n" if is_drawn and before is not None else "", end="")
            tell(seen)
            sys.stdout.flush()
        before = stands
        while True:
            sleep(LOOK_S)
            looks += 1
            if looks % ALL == 0 or any(where.records({"cursor": str(seen.seq), "limit": "1"}, follow=False)):
                break
        seen = ask()


def _stands(seen: "Status") -> dict[str, Any]:
    """What is shown of a status, without ages and numbers of entries."""
    from reconciler.web.document import document

    stands = {name: value for name, value in document("Status", seen).items() if name not in PASSING}
    rows = [{name: value for name, value in row.items() if name != "lastSequence"} for row in stands["rows"]]
    return {**stands, "rows": rows}
