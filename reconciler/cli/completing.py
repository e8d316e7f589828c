"""What the shell completes: names that there are, at once or not at all. May import: edge.paths, natural; sqlite3.

In: a half-typed word.  Out: those that begin so. The log is asked by a few indexed queries and not folded; where there
is nothing to ask, or something is odd, nothing is offered, and nothing is said.
"""

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from reconciler.edge.paths import StateDirectory
from reconciler.natural import in_order, natural

MANY: Final = 2_000  # names that are worth offering
FILES: Final = 20  # sealed ones, the newest, beside the live one
SAMPLES: Final = 200  # orders that are looked into for what people call a key
_EDGES: Final = """SELECT objects FROM parsed WHERE instr(objects, CAST('"kind":"Edge"' AS BLOB)) LIMIT ?"""
_VERSIONED: Final = """SELECT objects FROM parsed WHERE instr(objects, CAST('"version":' AS BLOB)) LIMIT ?"""
_LINE: Final = re.compile(r"( *)([A-Za-z]\w*):")
_NAMES: Final = re.compile(r"^    (?:kind|plural): (\w+)$|^    - (\w+)$", re.MULTILINE)
_STREAMS: Final = "SELECT name, number FROM stream WHERE name >= ? AND name < ?"
_NEWEST: Final = (
    "SELECT body FROM entry WHERE stream = (SELECT number FROM stream WHERE name = ?) ORDER BY version DESC"
)


Words = Iterable[tuple[str, str]]
Log = Callable[..., Iterator[Any]]  # (SQL, values) -> rows


def completed(what: str, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """The words for one parameter. what: a key of WORDS."""
    with suppress(Exception):  # a shell shows whatever is said between what is typed
        return [
            CompletionItem(word, help=said or None)
            for word, said in WORDS[what](ctx, incomplete)
            if word.startswith(incomplete)
        ][:MANY]
    return []


def _names(ctx: click.Context, incomplete: str) -> Words:
    """Edges, and what goes by a name on them."""
    yield from _edges(ctx, incomplete)
    yield from _things(ctx, incomplete, "")


def _edges(ctx: click.Context, incomplete: str) -> Words:
    with _log(ctx) as log:
        edges = _edges_of(*_keys(log))
    yield from ((edge, "edge") for edge in edges)
    if incomplete.startswith("edge/"):
        yield from ((f"edge/{edge}", "") for edge in edges)


def _models(ctx: click.Context, incomplete: str) -> Words:
    """What the edge before it has."""
    return _things(ctx, incomplete, str(ctx.params.get("first") or ctx.params.get("edge") or ""))


def _things(ctx: click.Context, incomplete: str, edge: str) -> Words:
    edge = edge.removeprefix("edge/")
    with _log(ctx) as log:
        keys, objects = _keys(log)
        edges = _edges_of(keys, objects)
        found = dict(_called(log, keys, edge))
        found |= {name: kind for kind, name in objects if kind != "Edge" and _is_on(name, edge, edges)}
    names = [name for name in in_order(found) if name not in edges]
    yield from ((name, found[name]) for name in names)
    role, slash, _ = incomplete.partition("/")
    if slash and role in {"model", "dataset"}:
        yield from ((f"{role}/{name}", "") for name in names if (found[name] == "Dataset") == (role == "dataset"))


def _keys(log: Log) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """(streams of keys of edges in their parts; kind and name of the objects of the API server)."""
    keys = [parts for name, _ in log(_STREAMS, "deploy/", "deploy0") if len(parts := name.split("/")) == 5]
    objects = [(p[1], p[3]) for name, _ in log(_STREAMS, "object/", "object0") if len(p := name.split("/")) == 4]
    return keys, objects


def _edges_of(keys: list[list[str]], objects: list[tuple[str, str]]) -> list[str]:
    return in_order([*(parts[1] for parts in keys), *(name for kind, name in objects if kind == "Edge")])


def _is_on(name: str, edge: str, edges: list[str]) -> bool:
    """Whether an object of the API server is offered: of an edge its own ones, else those of no edge."""
    return name.endswith(f"-{edge}") if edge else not any(name.endswith(f"-{one}") for one in edges[:SAMPLES])


def _called(log: Log, keys: list[list[str]], edge: str) -> Iterator[tuple[str, str]]:
    """(what people call it, its kind) of keys of edges; one of those that are called alike is looked into."""
    sample = {}
    for parts in keys:
        if edge in {"", parts[1]}:
            sample[parts[2], parts[4].removesuffix(f"-{parts[1]}")] = "/".join(parts)
    for (kind, plain), stream in list(sample.items())[:SAMPLES]:
        orders = (json.loads(body).get("data", {}).get("spec") for (body,) in log(_NEWEST, stream))
        spec: dict[str, object] = next(filter(None, orders), {})
        yield str(spec.get("model") or spec.get("dataset") or plain), kind


def _commits(ctx: click.Context, incomplete: str) -> Words:  # noqa: ARG001  # every row takes both
    """The newest commits first, with what they say."""
    with _log(ctx) as log:
        for (body,) in log(f"{_NEWEST} LIMIT {SAMPLES}", "git"):
            event = json.loads(body)
            if event["type"].startswith("ref.advanced"):
                yield event["data"]["commit"][:12], event["data"]["subject"]


def _plans(ctx: click.Context, incomplete: str) -> Words:  # noqa: ARG001  # as above
    """The plans that wait for a person."""
    with _log(ctx) as log:
        for name in sorted({name for name, _ in log(_STREAMS, "plan/", "plan0")}):
            for (body,) in log(f"{_NEWEST} LIMIT {SAMPLES}", name):
                event = json.loads(body)
                if event["type"].startswith("change.planned"):
                    if event["data"].get("held"):
                        yield event["newdigest"], event["data"]["held"]
                    break


def _labels(ctx: click.Context, incomplete: str) -> Words:
    """The labels of edges, by the documents as they were parsed last."""
    before, comma, _ = incomplete.rpartition(",")
    with closing(_opened(StateDirectory(_state_dir(ctx)).cache)) as cache:
        rows = cache.execute(_EDGES, (MANY,))
        objects = (one for (body,) in rows for one in json.loads(body) if one["kind"] == "Edge")
        found = {f"{name}={value}" for one in objects for name, value in one.get("labels", {}).items()}
    for label in in_order(found):
        yield f"{before}{comma}{label}", ""


def _contexts(ctx: click.Context, incomplete: str) -> Words:  # noqa: ARG001  # as above
    """The contexts of the kubeconfigs that are looked into."""
    from yaml import CSafeLoader, load

    said = ctx.params.get("kubeconfig") or os.environ.get("KUBECONFIG") or Path("~/.kube/config").expanduser()
    for path in str(said).split(os.pathsep):
        with suppress(OSError, ValueError):
            config = load(Path(path).read_bytes(), CSafeLoader) or {}
            yield from ((str(one["name"]), "") for one in config.get("contexts") or ())


def _pinnable(ctx: click.Context, incomplete: str) -> Words:
    """What the edge before it has; behind an @ the versions there are, by the documents as they were parsed last."""
    name, at, _ = incomplete.partition("@")
    if not at:
        yield from _models(ctx, incomplete)
        return
    found: set[str] = set()
    with closing(_opened(StateDirectory(_state_dir(ctx)).cache)) as cache:
        for (body,) in cache.execute(_VERSIONED, (MANY,)):
            for one in json.loads(body):
                spec = one.get("spec") or {}
                spec = (spec.get("template") or {}).get("spec") or spec
                if name in {one["name"], spec.get("modelName")}:
                    found.update(str(each["version"]) for each in spec.get("versions") or spec.get("manifest") or ())
    yield from ((f"{name}@{version}", "") for version in in_order(found))


def _suspended(ctx: click.Context, incomplete: str) -> Words:  # noqa: ARG001  # as above
    """What `suspend` named, and nothing has resumed since, with the reason."""
    known: set[str] = set()
    with _log(ctx) as log:
        for (body,) in log(_NEWEST, "suspensions"):
            event = json.loads(body)
            scope = event["data"]["scope"]
            if scope not in {"*", *known} and event["type"].startswith("reconcile.suspended"):
                yield scope, str(event["data"].get("reason") or "")
            known.add(scope)


def _topics(ctx: click.Context, incomplete: str) -> Words:
    """What can be explained: codes, words of `status`, kinds and their fields one level further than what is typed."""
    kind, dot, _ = incomplete.partition(".")
    if dot:
        typed = incomplete.count(".")
        yield from ((path, "") for path in fields(kind) if path.count(".") <= typed + 1)
        return
    from reconciler.history.vocabulary import VOCABULARY

    yield from _codes(ctx, incomplete)
    yield from ((word, "") for word in dict.fromkeys(one.word for one in VOCABULARY))
    yield from ((word, "kind") for names in _definitions() for word in names)


def fields(kind: str) -> Iterator[str]:
    """The fields of a kind, by any name of it: `edge.spec`, `edge.spec.pins`.

    From our own definitions as they lie beside the code, by their indentation: pydantic would take a second.
    """
    for names, lines in _definitions().items():
        if kind.lower() not in map(str.lower, names):
            continue
        above: list[tuple[int, str]] = []  # indentation and key of what the line is in
        for indent, key in (found.groups() for line in lines if (found := _LINE.match(line))):
            while above and above[-1][0] >= len(indent):
                above.pop()
            above.append((len(indent), key))
            named = [name for (_, parent), (_, name) in pairwise(above) if parent == "properties"]
            if len(above) > 1 and above[-2][1] == "properties" and named[0] in {"spec", "status"}:
                yield ".".join((kind, *named))


def _definitions() -> dict[tuple[str, ...], list[str]]:
    """The schema of every kind, in lines, by its names."""
    found = {}
    places = (Path(__file__).parents[1] / "_crds", Path(__file__).parents[2] / "crds")  # of a wheel, of a checkout
    for path in (path for place in places for path in place.glob("ai.kubeedge.io_*.yaml")):
        head, _, schema = path.read_text().partition("      openAPIV3Schema:\n")
        names = head.partition("\n  names:\n")[2].partition("    categories:")[0]
        found[tuple(one or other for one, other in _NAMES.findall(names))] = schema.splitlines()
    return found


def _codes(ctx: click.Context, incomplete: str) -> Words:  # noqa: ARG001  # as above
    """The codes of errors and diagnostics."""
    from reconciler.errors import DIAGNOSTICS, error_classes

    codes = {cls.code: cls.__name__ for cls in error_classes()} | {code: row[0] for code, row in DIAGNOSTICS.items()}
    yield from sorted(codes.items())


def _state_dir(ctx: click.Context) -> Path:
    """As `options.state` has it, without the settings."""
    if said := ctx.params.get("state_dir") or os.environ.get("RECONCILER_STATE"):
        return Path(said)
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home.startswith("/") else Path("~/.local/state").expanduser()) / "reconciler"


@contextmanager
def _log(ctx: click.Context) -> Iterator[Log]:
    """Queries to the hub's log, or the only edge's, newest file first. Raises StopIteration where none is here."""
    if ctx.params.get("hub") or ctx.params.get("context"):
        return  # the log is elsewhere
    place = StateDirectory(_state_dir(ctx))
    live = next(path for path in (place.hub.log, *place.root.glob("edges/*/log.db")) if path.exists())
    sealed = sorted(live.parent.glob("log-*.sealed.db"), key=lambda path: natural(path.name), reverse=True)
    with ExitStack() as files:
        opened = [files.enter_context(closing(_opened(path))) for path in (live, *sealed[:FILES])]
        yield lambda sql, *values: (row for file in opened for row in file.execute(sql, values))


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path.resolve()}?mode=ro", uri=True, timeout=0.05)


WORDS: Final[dict[str, Any]] = {
    "names": _names,
    "edges": _edges,
    "models": _models,
    "commits": _commits,
    "plans": _plans,
    "labels": _labels,
    "contexts": _contexts,
    "topics": _topics,
    "pinnable": _pinnable,
    "suspended": _suspended,
}
