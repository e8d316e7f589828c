"""What of declared objects is told to whoever looks ahead, though nothing of it is refused. May import: planning.

In: Declared.  Out: warnings at their lines, to `plan`.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.diagnostics import Diagnostic
from reconciler.model.identity import EDGE
from reconciler.natural import natural
from reconciler.planning.declared import Declared, Object
from reconciler.planning.kinds import KINDS
from reconciler.planning.reach import ports_of


def selects_nothing(declared: Declared) -> Iterator[Diagnostic]:
    """A warning for each selector that no edge has the labels of: a slip there deletes what it selected before."""
    for kind, row in KINDS.items():
        for source in declared.of_kind(kind):
            for selector in row.selectors(source) if row.selectors else ():
                if selector is not None and next(declared.edges_matching(selector), None) is None:
                    yield _selects_nothing(source, selector.get("matchLabels") or {}, declared)


def _selects_nothing(source: Object, labels: Mapping[str, Any], declared: Declared) -> Diagnostic:
    wanted = ", ".join(f"{name}={value}" for name, value in labels.items())
    message = f"{source.kind} {source.name} is for no edge: {f'none has {wanted}' if labels else 'none is declared'}"
    there = sorted({f"{name}={value}" for edge in declared.of_kind(EDGE) for name, value in edge.labels.items()})
    odd = [said for said in (f"{name}={value}" for name, value in labels.items()) if said not in there]
    near = [found[0] for said in odd if (found := difflib.get_close_matches(said, there, 1))]
    advice = f"did you mean {', '.join(near)}?" if near else "label the edges that it is for, or declare them"
    field = "edgeSelector" if "edgeSelector" in source.lines else "edges"
    return _warning("RX227", message, source, field, advice)


def one_endpoint(declared: Declared) -> Iterator[Diagnostic]:
    """A warning for each edge that would serve where another one does: of one machine only one of them can."""
    by_address: dict[str, list[Object]] = {}
    for edge in declared.of_kind(EDGE):
        by_address.setdefault(str(edge.spec.get("address") or ""), []).append(edge)
    for address, edges in by_address.items():
        holders: dict[int, Object] = {}
        for edge in sorted(edges, key=lambda edge: natural(edge.name)) if address and len(edges) > 1 else ():
            taken = [port for port in sorted(ports_of(declared, edge)) if holders.setdefault(port, edge) is not edge]
            for port in taken[:1]:
                there = holders[port]
                message = (
                    f"{edge.name} would serve on {address}:{port}, where {there.name} does ({there.place('address')})"
                )
                yield _warning("RX220", message, edge, "address", "give each edge of a machine an address of its own")


def _warning(code: str, message: str, source: Object, field: str, advice: str) -> Diagnostic:
    return Diagnostic(
        code=code,
        message=message,
        path=source.path,
        line=source.lines.get(field, source.line),
        column=1,
        help=advice,
        severity="warning",
    )
