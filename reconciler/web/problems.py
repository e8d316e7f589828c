"""Problems as a person reads them: with their lines, and what is said of many edges once. May import: diagnostics.

In: Diagnostics.  Out: text. Sentences are folded, lines of files never.
"""

from collections.abc import Sequence
from dataclasses import replace

from reconciler.diagnostics import Diagnostic, printable
from reconciler.web.fold import NARROW, TAB_WIDTH, display_width, folded
from reconciler.wording import general, grouped, names, of_all


def render(problem: Diagnostic, columns: int = 0) -> str:
    """The problem as a person reads it: what, where, the line with a caret under the place, and what to do.

    columns: of the terminal, so that sentences are folded into it; 0 where there is none.
    """

    def said(text: str, hang: int) -> list[str]:
        return folded(text, columns, hang=hang) if columns else [text]

    lines = said(f"{problem.severity}[{problem.code}]: {printable(problem.message)}", 4)
    if problem.path:
        seen = f"  (commit {problem.commit[:7]})" if problem.commit else ""
        lines.append(f"  --> {printable(problem.place)}{seen}")
    if problem.snippet:
        gutter = f" {problem.line} | "
        snippet, column = _window(problem, columns - len(gutter)) if columns else (problem.snippet, problem.column)
        before, marked = snippet[: column - 1], snippet[column - 1 :][: problem.width]
        caret = "^" * max(1, display_width(printable(marked)))
        lines.append(gutter + printable(snippet).replace("\t", " " * TAB_WIDTH))
        blank = " " * (len(gutter) - 2) + "| "
        lines.append(f"{blank}{' ' * display_width(printable(before))}{caret} {printable(problem.label)}".rstrip())
    lines += [line for note in problem.notes for line in said(f" note: {printable(note)}", 7)]
    if problem.help:
        lines += said(f" help: {printable(problem.help)}", 7)
    return "\n".join(lines)


def _window(problem: Diagnostic, room: int) -> tuple[str, int]:
    """(the part of its line that has what is meant, where that is in it), in so many cells: a caret needs one line."""
    text, column = problem.snippet, problem.column
    most = max(NARROW, room) - 2  # an ellipsis at either end
    if display_width(printable(text)) <= most + 2:
        return text, column
    most = most if text.isascii() else most // 2
    begin = min(column - 1, max(0, column - 1 + problem.width - most, column - 1 - most // 2))
    end = begin + most
    before, behind = "…" if begin else "", "…" if end < len(text) else ""
    return f"{before}{text[begin:end]}{behind}", column - begin + len(before)


def render_all(problems: Sequence[Diagnostic], columns: int = 0, *, each: bool = False) -> str:
    """All problems, worst first, then by place, each said once, with a closing count; what is said of many edges is
    said of all of them. columns: see render.  each: of every edge by itself.
    """
    ordered = sorted(set(problems), key=lambda p: (p.severity != "error", p.path, p.line, p.column, p.code))
    errors = sum(p.severity == "error" for p in ordered)
    count = f"{errors} error{'s' * (errors != 1)}, {len(ordered) - errors} warning{'s' * (len(ordered) - errors != 1)}"
    alike = grouped(((_of_any(problem), problem) for problem in ordered), each=each)
    return "\n".join([*(render(_of_all(those), columns) for _, those in alike), count])


def _of_any(problem: Diagnostic) -> Diagnostic:
    """The same, of whichever edge it is said."""
    message = general(problem.message, {problem.edge: "EDGE"})
    return replace(problem, message=message, edge="EDGE" if problem.edge else "")


def _of_all(those: Sequence[Diagnostic]) -> Diagnostic:
    """Problems that differ in their edges as one, which names them."""
    if len(those) == 1:
        return those[0]
    on = f"on {len(those)} edges: {names(one.edge for one in those)}"
    message = of_all((one.message, {one.edge: "EDGE"}) for one in those)
    return replace(_of_any(those[0]), message=message, notes=(*those[0].notes, on))
