"""The page at `/`: status for people, made on the server. No script, nothing from elsewhere. May import: history.

In: Status.  Out: HTML. Every text is escaped; the policy allows this one style sheet and nothing else.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from reconciler.diagnostics import Diagnostic, printable
from reconciler.history.keys import spoken
from reconciler.history.standing import AS_GIT, FAILING, WAITS
from reconciler.history.status import NEVER, ObjectRow, Row, Status, age, sentence
from reconciler.history.timeline import counted, labelled, lost_words
from reconciler.web.problems import render

ROWS: Final = 500  # more are counted only: the command line shows all
STYLE: Final = """
:root{color-scheme:light dark;--ink:#1d2430;--dim:#667085;--line:#e3e7ee;--back:#f6f7f9;--card:#fff;--good:#12805c;
--bad:#c02b2b;--wait:#a15c00;--busy:#0b66c3}
@media(prefers-color-scheme:dark){:root{--ink:#e7eaf0;--dim:#97a1b3;--line:#2b3342;--back:#12161d;--card:#1a2029;
--good:#4cc38a;--bad:#ff7b72;--wait:#e3b341;--busy:#6cb6ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:76rem;margin:0 auto;padding:2rem 1.25rem 4rem}
header{display:flex;flex-wrap:wrap;gap:.25rem 1rem;align-items:baseline;margin-bottom:1.25rem}
h1{font-size:1.15rem;margin:0}h2{font-size:1rem;margin:2rem 0 .5rem}
.dim{color:var(--dim)}code,.mono{font-family:ui-monospace,monospace;font-size:.9em}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem}
.card,table,.note{background:var(--card);border:1px solid var(--line);border-radius:.6rem}
.card{padding:.7rem .9rem}.card b{display:block;font-size:1.5rem;font-weight:600;line-height:1.2}
.note{padding:.7rem .9rem;margin:.75rem 0;border-left:4px solid var(--wait)}.note.bad{border-left-color:var(--bad)}
.scroll{overflow-x:auto}table{border-collapse:separate;border-spacing:0;width:100%}
th,td{text-align:left;padding:.45rem .9rem;border-top:1px solid var(--line);vertical-align:top}
tr:first-child th{border-top:0}th{font-size:.8rem;font-weight:600;color:var(--dim)}
.good{color:var(--good)}.bad{color:var(--bad)}.wait{color:var(--wait)}.busy{color:var(--busy)}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem}
"""
_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REFRESH_S: Final = 10
COLORS: Final = {AS_GIT: "good", WAITS: "wait", FAILING: "bad"}


def rendered(seen: Status) -> str:
    """The whole page."""
    tables = (*_table(seen), *_objects(seen), *_edges(seen))
    body = "".join((*_head(seen), *_cards(seen), *_notes(seen), *tables, *_problems(seen)))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>reconciler: {_verdict(seen)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH_S}"><style>{STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>"
    )


def _verdict(seen: Status) -> str:
    if not seen.commit:
        return "no commit was read yet"
    return seen.standing.word


def _head(seen: Status) -> Iterator[str]:
    yield f'<header><h1>reconciler</h1><span class="{COLORS[seen.standing.word]}">{_verdict(seen)}</span>'
    if seen.commit:
        yield f"<span><code>{_safe(seen.commit[:7])}</code> {_safe(seen.subject)}"
        yield f' <span class="dim">by {_safe(seen.author)}</span></span>'
    yield f'<span class="dim">entry {seen.seq}, as of {_time(seen.as_of)}</span></header>'


def _cards(seen: Status) -> Iterator[str]:
    counts = seen.tally
    rows, settled = sum(counts.values()), counts[AS_GIT]
    present = sum(edge.present for edge in seen.edges)
    yield '<section class="cards">'
    yield _card(AS_GIT, f"{settled} of {rows}", "good" if settled == rows else "wait")
    yield _card(WAITS, str(counts[WAITS]), "wait" if counts[WAITS] else "")
    yield _card(FAILING, str(counts[FAILING]), "bad" if counts[FAILING] else "")
    if seen.edges:
        yield _card("edges heard", f"{present} of {len(seen.edges)}", "good" if present == len(seen.edges) else "wait")
    yield _card("problems in Git", str(len(seen.problems)), "bad" if seen.refused else "wait" if seen.problems else "")
    yield "</section>"


def _card(what: str, value: str, color: str) -> str:
    return f'<div class="card"><b class="{color}">{value}</b><span class="dim">{what}</span></div>'


def _notes(seen: Status) -> Iterator[str]:
    if seen.lost:
        yield _note(f"The branch cannot be read since {_time(seen.lost_since)}: {_safe(seen.lost)}", "bad")
    if seen.held is not None:
        held = seen.held
        yield _note(
            f"Plan <code>{_safe(held.digest)}</code> is held: {_safe(held.reason)} ({_safe(counted(held.counts))}). "
            f"<code>reconciler approve {_safe(held.digest)}</code> releases it."
        )
    for lost in seen.cluster_lost:
        said = f"{_safe(lost_words(lost.what))} since {_time(lost.since)}: {_safe(lost.error)}"
        yield _note(said, "bad")
    for one in seen.suspended:
        what = "Everything" if one.scope == "*" else _safe(one.scope)
        yield _note(f"{what} is {_safe(one.words)}")
    for link in seen.links:
        yield _note(f"The log of {_safe(link.peer)} is not copied: {_safe(link.error)}", "bad")


def _note(inside: str, color: str = "") -> str:
    return f'<div class="note {color}">{inside}</div>'


def _objects(seen: Status) -> Iterator[str]:
    """How the objects of the cluster stand, by kind, and those of which something is to be told."""
    if not seen.objects:
        return
    yield "<h2>Objects of the cluster</h2>"
    yield from _grid(
        ("kind", "objects", AS_GIT, WAITS, FAILING),
        (
            [_safe(each.kind), *map(str, (each.objects, each.settled, each.waits, each.failing))]
            for each in seen.counted
        ),
    )
    waiting = seen.unsettled
    if not waiting:
        return
    yield "<h2>Of which something is to be said</h2>"
    yield from _grid(
        ("object", "wanted", "there", "phase", "since", "message"), (_object_cells(one, seen) for one in waiting[:ROWS])
    )
    if len(waiting) > ROWS:
        yield f'<p class="dim">and {len(waiting) - ROWS} more, all in <code>reconciler status</code></p>'


def _object_cells(one: ObjectRow, seen: Status) -> list[str]:
    color = "busy" if one.open else COLORS[one.standing.word]
    return [
        _safe(spoken(one.key)),
        _safe(one.wanted) or "-",
        _safe(one.there) or "-",
        f'<span class="{color}">{_safe(one.stands)}</span>',
        _safe(age(one.since, seen.as_of)),
        _safe(one.said),
    ]


def _table(seen: Status) -> Iterator[str]:
    if seen.objects and not seen.rows:
        return
    yield "<h2>Models and datasets</h2>"
    if not seen.rows:
        yield '<p class="dim">Nothing was ordered yet.</p>'
        return
    shown = sorted(seen.rows, key=lambda row: row.settled)[:ROWS]  # what waits first; else as it was
    yield from _grid(
        ("edge", "model", "wanted", "serving", "phase", "since", "message"), (_cells(r, seen) for r in shown)
    )
    if len(seen.rows) > ROWS:
        yield f'<p class="dim">and {len(seen.rows) - ROWS} more, all in <code>reconciler status</code></p>'


def _cells(row: Row, seen: Status) -> list[str]:
    said, since, phase, color = row.said, row.since, row.phase, _color(row)
    serving = _safe(row.serving) or "-"
    if row.unknown_since:
        since, phase = row.unknown_since, "Unknown"
        heard = "the edge was never heard" if since == NEVER else f"last event {row.last_sequence}"
        said = sentence(heard, said)
        serving = f"{serving}?"
    return [
        _safe(row.edge) or "-",
        _safe(labelled(row.kind, row.model)),
        _safe(row.wanted) + (' <span class="dim">pin</span>' if row.pinned else ""),
        serving,
        f'<span class="{color}">{_safe(phase)}</span>',
        _safe(age(since, seen.as_of)),
        _safe(said),
    ]


def _color(row: Row) -> str:
    return "busy" if row.open and not row.unknown_since else COLORS[row.standing.word]


def _edges(seen: Status) -> Iterator[str]:
    if not seen.edges:
        return
    yield "<h2>Edges</h2>"
    shown = sorted(seen.edges, key=lambda edge: edge.present)[:ROWS]
    yield from _grid(
        ("edge", "agent", "since", "events heard"),
        (
            [
                _safe(edge.name),
                '<span class="good">answers</span>' if edge.present else '<span class="wait">is not heard</span>',
                _safe(age(edge.since, seen.as_of)) or "never",
                str(edge.last_sequence),
            ]
            for edge in shown
        ),
    )


def _problems(seen: Status) -> Iterator[str]:
    if not seen.problems:
        return
    yield "<h2>Problems in Git</h2>"
    for problem in seen.problems[:ROWS]:
        found = Diagnostic.from_dict(dict(problem))
        color = "bad" if found.severity == "error" else ""
        yield f'<div class="note {color}"><pre>{escape(render(found))}</pre></div>'


def _grid(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    yield '<div class="scroll"><table><tr>' + "".join(f"<th>{name}</th>" for name in columns) + "</tr>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    yield "</table></div>"


def _time(text: str) -> str:
    return f"{_safe(text[:10])} {_safe(text[11:19])}Z"


def _safe(text: str) -> str:
    return escape(printable(text))
