"""Pages that are made of the code: docs/phases.md and docs/reference/fields.md. Imports yaml and the kinds.

In: the kinds and the vocabulary.  Out: Markdown, to `reconciler explain --write` and to a test that fails when stale.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from reconciler.history import vocabulary
from reconciler.history.vocabulary import VOCABULARY
from reconciler.model.examples import examples
from reconciler.model.kind import Kind
from reconciler.model.reference import Explained, every
from reconciler.planning.kinds import models

_MADE: Final = "<!-- Made by `reconciler explain --write docs`: change {} instead. -->\n"
_OF_ALL: Final = ("conditions", "observedGeneration", "lastAppliedRevision", "lastHandledReconcileAt")

PHASES: Final = f"""{_MADE.format("reconciler/history/vocabulary.py")}
# What status says, and what it needs from you

`reconciler status` sums everything up in one word of three, and gives each row a phase and a message. The message is
what to read: it names the cause, when it is tried again, and the command that ends it. `reconciler explain Staged`
prints any row of these tables, `reconciler explain RX404` any code.

```console
$ reconciler status
$ reconciler explain Staged
$ reconciler explain RolledBack
```
"""
_GROUPS: Final = (
    (
        vocabulary.STANDING,
        "Everything together",
        "The second line of `status`, the page's heading, `reconciler_standing`.",
    ),
    (
        vocabulary.ON_EDGE,
        "A model or dataset on an edge",
        "The column PHASE of `status` without a cluster. On its way to a version it goes from Desired to Committed.",
    ),
    (
        vocabulary.IN_CLUSTER,
        "An object of a cluster",
        "The column PHASE of `status` with a cluster. What is as Git says is counted, and not listed.",
    ),
    (
        vocabulary.CONDITION,
        "Conditions",
        "What `kubectl get` and `kubectl wait --for=condition=Ready` see of an object of our kinds.",
    ),
    (vocabulary.REASON, "Reasons of conditions", "The column REASON of `kubectl get im -o wide`."),
)

FIELDS: Final = f"""{_MADE.format("reconciler/model/")}
# The fields of the kinds

What a document may say. `reconciler explain edge.spec.pins` prints any of it, with an example; `kubectl explain` does
so too where the kinds are installed. A field that is not here is refused, with the one that was probably meant. Empty
text and null are the same as leaving a field out.

```console
$ reconciler explain Edge
$ reconciler explain edge.spec.pins
$ reconciler explain im.spec.servingPort --output json
```
"""


def pages() -> dict[str, str]:
    """Every page that is made, by its place below docs/. The same on every run."""
    return {"phases.md": "\n".join(_phases()), "reference/fields.md": "\n".join(_fields(list(models().values())))}


def as_yaml(value: Any) -> str:
    """A value as a person would write it into a document."""
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, width=110, allow_unicode=True)
    return text


def default(value: Any) -> str:
    """A default as a document would say it; "" where there is none."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def traits(found: Explained) -> str:
    """Its type, whether it is required, and all that bounds its value, in one line."""
    parts = [found.type] if found.type == "kind" else [found.type, "required" if found.required else "optional"]
    parts += [f"default {default(found.default)}"] if found.default is not None else []
    parts += [f"one of {', '.join(found.values)}"] if found.values else []
    return ", ".join([*parts, *found.limits])


def _phases() -> Iterator[str]:
    yield PHASES
    for of, title, intro in _GROUPS:
        yield f"## {title}\n\n{intro}\n"
        rows = ((f"`{one.word}`", one.meaning, one.needs) for one in VOCABULARY if one.of == of)
        yield from _table(("word", "what it means", "what it needs from you"), rows)


def _fields(kinds: Sequence[Kind]) -> Iterator[str]:
    yield FIELDS
    names = [", ".join((f"[{row.name}](#{row.name.lower()})", *map(_code, row.short_names))) for row in kinds]
    yield f"Kinds: {'; '.join(names)}. [What every object has](#every-object).\n"
    for row in kinds:
        fields = {one.path.removeprefix(f"{row.name}."): one for one in every(row)}
        yield f"## {row.name}\n\n{fields[row.name].description}\n"
        yield from (f"```yaml\n{as_yaml(document)}```\n" for document in examples(row.name)[:1])
        for part, title in (("spec", "Declared in `spec`"), ("status", "Observed in `status`")):
            told = [one for path, one in fields.items() if path.startswith(f"{part}.") and not _is_of_all(path)]
            told = [fields[part], *told] if told and fields[part].refused else told
            if told:
                yield f"{title}:\n"
                yield from _field_table(told, f"{row.name}.{part}.")
    yield "## Every object\n"
    first = list(every(kinds[0]))
    for part, title in (("metadata", "Declared in `metadata`"), ("status", "Observed in `status`")):
        head = f"{kinds[0].name}."
        told = [one for one in first if _is_of_all(one.path.removeprefix(head)) and one.path.startswith(head + part)]
        yield f"{title}:\n"
        yield from _field_table(told, f"{head}{part}.")


def _is_of_all(path: str) -> bool:
    """Whether a field is the same in every kind."""
    part, _, rest = path.partition(".")
    return (part == "metadata" and bool(rest)) or (part == "status" and rest.partition(".")[0] in _OF_ALL)


def _field_table(fields: Iterable[Explained], head: str) -> Iterator[str]:
    rows = ((_code(one.path.removeprefix(head)), traits(one), _about(one)) for one in fields)
    yield from _table(("field", "value", "what it says"), rows)


def _about(one: Explained) -> str:
    refused = [f"Refused: {message}." for message in one.refused]
    return " ".join([one.description, *refused])


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    yield "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"
