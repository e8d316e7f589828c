"""Edits of a user's YAML, every other byte left alone. May import: sources.documents, model, errors.

In: the text of a file and the edit.  Out: the new text, to the verbs `pin` and `package`. A YAML round trip normalises
what it does not model (`{ a: b }`, aligned values, odd indentation); so the text is spliced at the places that the
reader knows, and read again, by our reader and by another one: when anything but what was meant has changed, or the
document is now wrong, nothing is returned.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from reconciler.errors import NameUnknown, RepositoryRefused, UsageError
from reconciler.model.declaration import declare, identity_of
from reconciler.model.document import Document, Loc, Place
from reconciler.model.identity import EDGE, Identity
from reconciler.model.scalars import kubectl_reads
from reconciler.planning.kinds import models
from reconciler.sources.documents import read_documents

SPEC: Loc = ("spec",)
PINS: Loc = ("spec", "pins")
VERSIONS: Loc = ("spec", "versions")
DEFAULT: Loc = ("spec", "defaultVersion")
QUOTED = frozenset({"version", "defaultVersion"})  # always: 1.10 is a number without
_PLAIN = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]*|[a-z][a-z0-9.]*:?/[-A-Za-z0-9_.:/%]*[-A-Za-z0-9_/%]")  # also URLs
_BOM = "\ufeff"


class Subject(NamedTuple):
    """What a pin is about: its field, `model` or `dataset`, and the name."""

    field: str
    name: str


def set_pin(
    text: str,
    *,
    edge: str,
    model: str = "",
    dataset: str = "",
    version: str,
    reason: str | None = None,
    expires: str | None = None,
) -> str:
    """The file with this pin in the Edge's document; one for the same subject is changed field by field.

    reason, expires: None leaves what the pin says, "" takes it away. The version is always quoted. Raises
    UsageError unless exactly one of model and dataset is given, NameUnknown when the file declares no such Edge,
    RepositoryRefused when the Edge is wrong, or would be.
    """
    subject = _subject(model, dataset)
    said = {"version": version, "reason": reason, "expires": expires}
    fields = {name: value for name, value in said.items() if value is not None}
    given = {name: value for name, value in fields.items() if value}
    file = EdgeFile(text, edge)
    index, pins = file.find(subject), file.items(PINS)
    if index is None:
        pin = {subject.field: subject.name, **given}
        file.append(PINS, pin)
        return file.checked(PINS, [*pins, pin])
    pins[index] = {name: value for name, value in pins[index].items() if name not in fields} | given
    for name, value in fields.items():
        file.set((*PINS, index), name, value)
    return file.checked(PINS, pins)


def remove_pin(text: str, *, edge: str, model: str = "", dataset: str = "") -> str:
    """The file without this pin. Raises NameUnknown when there is none, else as `set_pin`."""
    subject = _subject(model, dataset)
    file = EdgeFile(text, edge)
    index, pins = file.find(subject), file.items(PINS)
    if index is None:
        raise NameUnknown(f"{edge} has no pin for {subject.field} {subject.name}", hint="its file shows those it has")
    del pins[index]
    file.remove((*PINS, index) if pins else PINS)
    return file.checked(PINS, pins)


def add_version(text: str, *, model: Identity, entry: Mapping[str, str | int]) -> str:
    """The file with one more entry behind the versions of this Model. Raises as `set_pin`."""
    file = DocumentFile(text, model)
    versions = [*file.items(VERSIONS), entry]
    file.append(VERSIONS, entry)
    return file.checked(VERSIONS, versions)


def replace_version(text: str, *, model: Identity, entry: Mapping[str, str | int]) -> str:
    """The file with other content of one version of this Model; what else its entry says stays. Raises as `set_pin`."""
    file = DocumentFile(text, model)
    versions = file.items(VERSIONS)
    index = next(n for n, each in enumerate(versions) if each["version"] == entry["version"])
    versions[index] |= entry
    for name, value in entry.items():
        file.set((*VERSIONS, index), name, value)
    return file.checked(VERSIONS, versions)


def set_default(text: str, *, of: Identity, version: str) -> str:
    """The file with this defaultVersion of an InferenceModelSet. Raises as `set_pin`."""
    file = DocumentFile(text, of)
    file.set(SPEC, "defaultVersion", version)
    return file.checked(DEFAULT, version)


def _subject(model: str, dataset: str) -> Subject:
    if bool(model) == bool(dataset):
        raise UsageError("a pin is for one model or for one dataset", hint="give exactly one of them")
    return Subject("model", model) if model else Subject("dataset", dataset)


class DocumentFile:
    """A file and one document in it. Each edit splices the text and reads it again."""

    def __init__(self, text: str, identity: Identity) -> None:
        self._bom = _BOM if text.startswith(_BOM) else ""
        self._text = text.removeprefix(_BOM)
        self._identity = identity
        self._before = self._read()
        self._is_json = self._reads_as_json()
        problems = [problem for problem in declare(self.document, models())[1] if problem.severity == "error"]
        if self.document.broken or problems:
            raise RepositoryRefused(problems or read_documents("", self._text.encode())[1])

    def _read(self) -> list[Document]:
        documents, _ = read_documents("", self._text.encode())
        found = [one for one in documents if identity_of(one, models()) == self._identity]
        if not found:
            what = f"{self._identity.kind} {self._identity.name}"
            raise NameUnknown(f"the file declares no {what}", hint="name the file that declares it")
        self.document = found[0]
        return documents

    def items(self, loc: Loc) -> list[dict[str, Any]]:
        """The mappings of a list of the document now, as they are written; none where there is no list."""
        return [dict(item) for item in _at(self.document.data, loc) or ()]

    def checked(self, loc: Loc, value: Any) -> str:
        """The text, if it says this at `loc` and otherwise what it said. Raises RepositoryRefused, UsageError."""
        problems = [problem for problem in declare(self.document, models())[1] if problem.severity == "error"]
        if problems:
            raise RepositoryRefused(problems)
        index = self.document.index
        expected = [(one.broken, one.data) for one in self._before]
        expected[index] = (False, _with(self._before[index].data, loc, _texts(value)))
        found = [(one.broken, one.data) for one in self._read()]
        said = _texts(_at(self.document.data, loc)) or type(value)()
        found[index] = (False, _with(self.document.data, loc, said))
        if found != expected or not self._reads_alike(loc, value) or self._is_json != self._reads_as_json():
            raise _unsafe()
        return self._bom + self._text

    def _reads_as_json(self) -> bool:
        """Whether the document is JSON, so that what is written into it has to be."""
        try:
            return isinstance(json.loads(self.document.text), dict)
        except (ValueError, RecursionError):
            return False

    def _reads_alike(self, loc: Loc, value: Any) -> bool:
        """Whether a YAML implementation that shares no code with our reader finds the same there."""
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            own = self.document.places  # of an item of a List: the rest is not about this document
            text = " " * self._column(own.start) + self.document.text[own.start : own.end]
            there = _at(YAML(typ="safe", pure=True).load(text), loc)
        except YAMLError:
            return False
        return bool((_texts(there) or type(value)()) == _texts(value))

    # ── edits ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def append(self, loc: Loc, item: Mapping[str, str | int]) -> None:
        """One more item of the list at `loc`, a field of the spec, in the style of those that are there; else a list,
        else a spec, for it.
        """
        field = str(loc[-1])
        there, spec = self.document.place(loc), self.document.place(SPEC)
        inline = "{" + ", ".join(self._entry(name, value) for name, value in item.items()) + "}"
        its_field, its_spec = self._key(field), self._key("spec")
        if there is not None and there.below and self._is_flow(there):
            end = self._end(_last(there))
            self._splice(end, end, f", {inline}")
        elif there is not None and there.below:
            last = _last(there)
            dash = len(self.document.text[: last.start].rstrip()) - 1
            lines = f"- {inline}"
            if not self._is_flow(last):
                lines = "- " + "\n  ".join(self._entry(name, value) for name, value in item.items())
            self._add_lines(last, self._column(dash), lines)
        elif there is not None:
            self._fill(there, f"[{inline}]")
        elif spec is not None and spec.below:
            self._add_key(SPEC, f"{its_field}: [{inline}]", f"{field}:\n  - {inline}")
        elif spec is not None:
            self._fill(spec, f"{{{its_field}: [{inline}]}}")
        else:
            self._add_key((), f"{its_spec}: {{{its_field}: [{inline}]}}", f"spec:\n  {field}:\n    - {inline}")

    def set(self, loc: Loc, name: str, value: str | int) -> None:
        """Give a field of the mapping at `loc` this value; an empty one removes the field."""
        place = self.document.place((*loc, name))
        if place is None and value:
            entry = self._entry(name, value)
            self._add_key(loc, entry, entry)
        elif place is not None and value:
            self._fill(place, self._value(name, value))
        elif place is not None:
            self.remove((*loc, name))

    def remove(self, loc: Loc) -> None:
        """Take out a field with its value, or an item; whole lines where it has lines of its own."""
        outer, place, text = self.document.place(loc[:-1]), self.document.place(loc), self.document.text
        assert outer is not None  # the caller has seen both
        assert place is not None
        start = _start(place)
        around = list((outer.below or {}).values())
        at = around.index(place)
        if self._is_flow(outer):
            following = around[1] if len(around) > 1 else None
            if at:
                self._splice(self._end(around[at - 1]), self._end(place), "")
            else:
                self._splice(start, _start(following) if following else self._end(place), "")
            return
        if place.key < 0:
            start = len(text[:start].rstrip()) - 1  # the dash
        line = text.rfind("\n", 0, start) + 1
        if text[line:start].strip():
            if at + 1 == len(around):
                raise _unsafe()
            self._splice(start, around[at + 1].key, "")  # the first field beside a dash: the next one takes its place
        else:
            end = self._line_end(self._end(place))
            if end == len(text):  # the file ends without a line end, and still does
                line, end = len(text[:line].removesuffix("\n").removesuffix("\r")), end - 1
            self._splice(line, end + 1, "")

    def _entry(self, name: str, value: str | int) -> str:
        return f"{self._key(name)}: {self._value(name, value)}"

    def _key(self, name: str) -> str:
        return json.dumps(name) if self._is_json else name

    def _value(self, name: str, value: str | int) -> str:
        if isinstance(value, int):
            return str(value)
        return json.dumps(value, ensure_ascii=False) if self._is_json else scalar(name, value)

    # ── places ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _add_key(self, loc: Loc, inline: str, lines: str) -> None:
        """One more field in the mapping at `loc`, behind the last."""
        mapping = self.document.place(loc)
        assert mapping is not None
        last = _last(mapping)
        if self._is_flow(mapping):
            end = self._end(last)
            self._splice(end, end, f", {inline}")
        else:
            self._add_lines(last, self._column(mapping.start), lines)

    def _add_lines(self, last: Place, column: int, lines: str) -> None:
        """New lines below the one on which `last` ends, so that a comment there keeps its place."""
        newline = "\r\n" if "\r\n" in self.document.text else "\n"
        end = self._line_end(self._end(last))
        end -= self.document.text[end - 1 : end] == "\r"
        self._splice(end, end, "".join(f"{newline}{' ' * column}{line}" for line in lines.split("\n")))

    def _fill(self, place: Place, value: str) -> None:
        """Another value for what stands at `place`."""
        beside_colon = self.document.text[place.start - 1 : place.start] == ":"
        self._splice(place.start, max(place.start, self._end(place)), f" {value}" if beside_colon else value)

    def _splice(self, start: int, end: int, new: str) -> None:
        base = 0
        for _ in range(self.document.first_line - 1):
            base = self._text.index("\n", base) + 1
        self._text = self._text[: base + start] + new + self._text[base + end :]
        try:
            self._read()
        except NameUnknown as lost:
            raise _unsafe() from lost
        if self.document.broken:
            raise _unsafe()

    def _is_flow(self, place: Place) -> bool:
        return self.document.text[place.start : place.start + 1] in {"[", "{"}

    def _end(self, place: Place) -> int:
        """Where the value ends, without what follows a block: comments and blank lines."""
        if place.below and not self._is_flow(place):
            return self._end(_last(place))
        return place.start + len(self.document.text[place.start : place.end].rstrip())

    def _line_end(self, offset: int) -> int:
        end = self.document.text.find("\n", offset)
        return len(self.document.text) if end < 0 else end

    def _column(self, offset: int) -> int:
        return offset - self.document.text.rfind("\n", 0, offset) - 1


class EdgeFile(DocumentFile):
    """A file and the document of one Edge in it."""

    def __init__(self, text: str, edge: str) -> None:
        super().__init__(text, Identity(EDGE, "", edge))

    def find(self, subject: Subject) -> int | None:
        """The index of the pin for this subject."""
        return next((n for n, pin in enumerate(self.items(PINS)) if pin.get(subject.field) == subject.name), None)


def _at(data: Any, loc: Loc) -> Any:
    """What a document says there; None where it says nothing."""
    for step in loc:
        data = (data or {}).get(step)
    return data


def _with(data: dict[str, Any], loc: Loc, value: Any) -> dict[str, Any]:
    """The document's data with this value of a field; no field, no spec and an empty one are the same."""
    field, *below = map(str, loc)
    return {**data, field: _with(data.get(field) or {}, tuple(below), value) if below else value}


def _texts(value: Any) -> Any:
    """The value with every scalar as text: our reader keeps it so, and others read numbers and dates."""
    if isinstance(value, Mapping):
        return {name: _texts(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(each) for each in value]
    return value if value is None else str(value)


def _unsafe() -> UsageError:
    return UsageError("the file is written in a way that cannot be edited safely", hint="edit it by hand")


def _start(place: Place) -> int:
    return place.key if place.key >= 0 else place.start


def _last(place: Place) -> Place:
    return list((place.below or {}).values())[-1]


def scalar(name: str, value: str) -> str:
    """A text as YAML: plain where every parser reads text, a version always in quotes."""
    if name in QUOTED and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    plain = name not in QUOTED and _PLAIN.fullmatch(value) and not kubectl_reads(value)
    return value if plain else json.dumps(value, ensure_ascii=False)
