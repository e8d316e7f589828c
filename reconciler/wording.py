"""Text for people: equal things once, names in ranges. Imports natural. Pure.

In: what is said and of whom.  Out: who prints it. Nothing here knows what it is about.
"""

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import islice, pairwise
from typing import Final, TypeVar

from reconciler.natural import in_order

FEW: Final = 3  # things that are alike are told one by one; more of them as one
NAMED: Final = 3  # names and ranges that are told of many
_NUMBER: Final = re.compile(r"([0-9]{1,18})")

What = TypeVar("What", bound=Hashable)
Where = TypeVar("Where")


def grouped(pairs: Iterable[tuple[What, Where]], *, each: bool = False) -> list[tuple[What, tuple[Where, ...]]]:
    """What is said, and all of whom it is said, in the order of the first; what is said of FEW stays one by one.

    each: all of it stays so.
    """
    pairs = list(pairs)
    same: dict[What, list[Where]] = {}
    for what, where in () if each else pairs:
        same.setdefault(what, []).append(where)
    many = {what: tuple(alike) for what, alike in same.items() if len(alike) > FEW}
    found: list[tuple[What, tuple[Where, ...]]] = []
    for what, where in pairs:
        if what not in many:
            found.append((what, (where,)))
        elif same.pop(what, None):  # else it was told at the first of them
            found.append((what, many[what]))
    return found


def general(text: str, own: Mapping[str, str]) -> str:
    """A text with what is one's own in it by its general name: `release edge-1 digits` → `release EDGE digits`.

    own: name -> general name. A name is meant where it stands alone or at the end of another one: `digits-edge-1`.
    """
    for name, kind in own.items():
        parts, begins = [], 0
        while name and (at := text.find(name, begins)) >= 0:
            end = at + len(name)
            before, after = text[at - 1 : at], text[end : end + 1]
            is_meant = not (before.isalnum() or after.isalnum() or after in {"_", "-"})
            parts.append(text[begins:at] + (kind if is_meant else name))
            begins = end
        text = "".join(parts) + text[begins:]
    return text


def of_all(said: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """What all of these say that are alike: by its general name is in it only what differs between them.

    said: (a text, what is one's own in it: see general), which generalised are equal.
    """
    those = [(text, {name: kind for name, kind in own.items() if name}) for text, own in said]
    text, own = those[0]
    marks = {name: chr(n) for n, name in enumerate(own, 1)}  # no text has these, nor part of a name
    text = general(text, marks)
    for name, mark in marks.items():
        same = {one for _, others in those for one, kind in others.items() if kind == own[name]}
        text = text.replace(mark, name if len(same) == 1 else own[name])
    return text


def together(edge: str, model: str) -> dict[str, str]:
    """One's own in a text that has the verb for all edges of a model where it has that for one: see general."""
    return {f"release {edge} {model}": f"release {model}"}


def names(every: Iterable[str], most: int = NAMED) -> str:
    """`edge-1 … edge-20`: names, sorted, those that count on as a range; of many parts the first, `and 14 more`."""
    runs = list(_runs(in_order(every)))
    parts = [(one,) for run in runs for one in run] if sum(map(len, runs)) <= FEW else runs
    shown = [f"{part[0]} … {part[-1]}" if len(part) > 2 else ", ".join(part) for part in islice(parts, most)]
    left = sum(map(len, parts[most:]))
    return ", ".join(shown) + (f" and {left} more" if left else "")


def named_of(every: Iterable[str]) -> str:
    """A cell for all of these names: the one, or several with their number: `edge-1 … edge-20 (20)`."""
    found = in_order(every)
    return found[0] if len(found) == 1 else f"{names(found)} ({len(found)})"


def _runs(ordered: Sequence[str]) -> Iterable[tuple[str, ...]]:
    """The names in runs in which each counts on from the one before it, in the same places."""
    run: list[str] = list(ordered[:1])
    places: frozenset[int] = frozenset()
    for before, name in pairwise(ordered):
        step = _step(before, name)
        if step and step == (places or step):
            run.append(name)
            places = step
            continue
        yield from _run(run)
        run, places = [name], frozenset()
    if run:
        yield from _run(run)


def _run(run: list[str]) -> Iterable[tuple[str, ...]]:
    return [tuple(run)] if len(run) > 2 else [(one,) for one in run]


def _step(before: str, name: str) -> frozenset[int]:
    """Which of its numbers are one more than those of the name before it; none where anything else differs."""
    old, new = _NUMBER.split(before), _NUMBER.split(name)
    differ = frozenset(n for n, parts in enumerate(zip(old, new, strict=False)) if parts[0] != parts[1])
    counts_on = len(old) == len(new) and all(n % 2 and _next(old[n]) == new[n] for n in differ)
    return differ if counts_on else frozenset()


def _next(number: str) -> str:
    return str(int(number) + 1).zfill(len(number))


def span(first: str, last: str) -> str:
    """`3m … 5m`, or one of them where they are the same."""
    return first if first == last else f"{first} … {last}"
