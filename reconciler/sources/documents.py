"""YAML and JSON files as documents. May import: model.document, model.scalars, diagnostics; no pydantic.

In: the bytes of one file of a commit.  Out: `Document`s and every problem, to model.declaration.
One pass over libyaml's events: every scalar stays text, and what parsers disagree on (anchors, tags, merge keys,
duplicate keys) is refused at its place. `---` at the start of a line ends a document, whatever is open in it (YAML
1.2.2, section 9.1.2), so the text is cut there first: a broken document hides no other, and every index stays true.
JSON is YAML to libyaml, but for values that follow each other, which are cut apart first. The items of a List, and such
values behind the first, count behind all others: an index in an old log means what it meant.
"""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import yaml
from yaml._yaml import CParser
from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from reconciler.diagnostics import Diagnostic
from reconciler.model.document import Document, Loc, Place
from reconciler.model.identity import GROUP
from reconciler.model.scalars import Plain, Scalar

MAX_FILE_BYTES: Final = 10 * 2**20
MAX_DOCUMENT_BYTES: Final = 2**20
MAX_DEPTH: Final = 64
MAX_DOCUMENTS: Final = 10_000  # a file
MAX_EVENTS: Final = 1_000_000  # a file; one costs about 150 bytes of memory
MAX_PROBLEMS: Final = 50  # a document; more of the same help nobody

_BOUNDARY = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
_BLANK = re.compile(r"(?:---|\.\.\.)?(?:[ \t\r\n]+|#[^\n]*)*")
_DIRECTIVES = re.compile(r"(?:%[^\n]*\n|[ \t\r\n]+|#[^\n]*)*")
_BLANKS = re.compile(r"[ \t\r\n]*")
_PAIR_ESCAPED = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_PRIVATE: Final = 0x800  # from the first half of a pair (U+D800) to the first private character (U+E000)
_PAIR = re.compile("[\ue000-\ue3ff][\ue400-\ue7ff]")
_CONFLICT = re.compile(r"^(?:<{7}|={7}|>{7}|\|{7})(?=[ \r\n]|\Z)", re.MULTILINE)
# Not printable in YAML, a lone carriage return, Unicode line ends: editors and parsers count lines differently there.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]|\r(?!\n)")
_KEY = re.compile(r"[ ]*[^\s:'\"-]\S*")  # all that stands before a colon
_NULLS: Final = frozenset({"", "~", "null"})
_HINTS: Final = (
    ("mapping values are not allowed", "a text with `: ` in it needs quotes; or the line is indented wrongly"),
    ("unexpected end of stream", "a quote or bracket is not closed"),
    ("did not find expected ',' or", "a `[` or `{` is not closed, or a comma is missing"),
    ("quoted scalar", "a quote is not closed"),
    ("did not find expected key", "the lines of one mapping begin in the same column"),
    ("did not find expected '-' indicator", "the items of one list begin in the same column"),
    ("could not find expected ':'", "a key is followed by `: ` and its value"),
    ("expected <document start>", "documents are parted by a line with `---`"),
    ("cannot start any token", "a text that begins with this character needs quotes"),
)


class _Abandon(Exception):
    """To read this document any further helps nobody."""


@dataclass(slots=True)
class Frame:
    """A mapping or list that is still open. key: the one whose value comes next; None where a key comes next."""

    data: Any
    below: dict[str | int, Place]
    start: int = 0
    loc: Loc = ()
    key: Scalar | None = None
    key_at: int = -1


class DocumentReader:
    """Folds the events of one document into plain data; what is refused becomes a problem, and the rest goes on."""

    def __init__(self, draft: Document, budget: int, *, is_json: bool) -> None:
        self.draft = draft
        self.budget = budget
        # JSON writes a character beyond 16 bits as two escapes. YAML refuses them: others as long stand for them.
        self.parsed = _PAIR_ESCAPED.sub(_stand_in, draft.text) if is_json else draft.text
        self.has_pairs = self.parsed != draft.text
        self.top = Frame([], {})
        self.stack = [self.top]
        self.problems: list[Diagnostic] = []
        self.ambiguous: set[Loc] = set()

    def read(self) -> Document:
        """All of the document, or as far as it can be read."""
        try:
            self._check_text()
            parser = CParser(self.parsed)
            while self._take(parser.get_event()):
                pass
        except _Abandon:
            pass
        except yaml.MarkedYAMLError as error:
            self._refuse_syntax(error)
        while len(self.stack) > 1:
            self.ambiguous.add(self.stack[-1].loc)
            self._close(len(self.draft.text))
        place = self.top.below.get(0, Place(-1, 0, 0))
        return replace(
            self.draft,
            data=self.top.data[0] if self.top.data else None,
            line=self.draft.span(place.start, place.end).line,
            places=place,
            broken=bool(self.problems),
            ambiguous=frozenset(self.ambiguous),
        )

    def _take(self, event: Any) -> bool:
        """Fold one event; False after the last. Any: PyYAML's events are typed as having no attributes."""
        kind = type(event)
        self.budget -= kind is not StreamEndEvent
        if self.budget < 0:
            self._refuse("RX205", f"the file has more than {MAX_EVENTS:,} keys and values; the rest is not read", event)
            raise _Abandon
        if kind is ScalarEvent:
            if event.anchor is not None or event.tag is not None:
                self._refuse_properties(event)
            frame, text = self.stack[-1], event.value
            if self.has_pairs:
                text = _PAIR.sub(_joined, text)
            if frame.key is None and type(frame.data) is dict:
                self._key(frame, Scalar(text) if event.style else Plain(text), event)
            else:
                value = Scalar(text) if event.style else None if text in _NULLS else Plain(text)
                self._put(value, Place(frame.key_at, event.start_mark.index, event.end_mark.index))
        elif kind is MappingStartEvent or kind is SequenceStartEvent:
            self._open(event, {} if kind is MappingStartEvent else [])
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            self._close(event.end_mark.index)
        elif kind is AliasEvent:
            self._refuse("RX203", "an alias is refused", event, "write the value out in each place")
            self._no_key(event)
            self._put(None, Place(self.stack[-1].key_at, event.start_mark.index, event.end_mark.index))
        return kind is not StreamEndEvent  # behind the document's end nothing may stand

    def _key(self, frame: Frame, key: Scalar, event: Any) -> None:
        if key.plain and key == "<<":
            self._refuse("RX203", "a merge key is refused", event, "write the fields out")
        elif key.plain and key in _NULLS:
            self._refuse("RX201", "a key is empty", event, "a key is text, followed by `: ` and its value")
        elif key in frame.data:
            first = self.draft.span(frame.below[key].key, 0).line
            message = f"the key {str(key)!r:.80} stands twice in one mapping, first on line {first}"
            self._refuse("RX202", message, event, "keep one of them")
            self.ambiguous.add((*frame.loc, str(key)))
        frame.key, frame.key_at = key, event.start_mark.index

    def _put(self, value: Any, place: Place) -> None:
        frame = self.stack[-1]
        if frame.key is None:
            frame.below[len(frame.data)] = place
            frame.data.append(value)
            return
        if frame.key not in frame.data:  # of a duplicate, the first is kept to go on with
            frame.data[frame.key] = value
            frame.below[frame.key] = place
        frame.key, frame.key_at = None, -1

    def _open(self, event: Any, data: Any) -> None:
        if event.anchor is not None or event.tag is not None:
            self._refuse_properties(event)
        if len(self.stack) > MAX_DEPTH:
            self._refuse("RX205", f"this is more than {MAX_DEPTH} levels deep", event, "no kind has so many levels")
            raise _Abandon
        self._no_key(event)
        frame = self.stack[-1]
        step: str | int = len(frame.data) if frame.key is None else frame.key
        self.stack.append(Frame(data, {}, event.start_mark.index, () if frame is self.top else (*frame.loc, step)))

    def _no_key(self, event: Any) -> None:
        frame = self.stack[-1]
        if frame.key is None and type(frame.data) is dict:
            self._refuse("RX201", "something other than text is used as a key", event, "a key is text")
            raise _Abandon

    def _close(self, end: int) -> None:
        inner = self.stack.pop()
        self._put(inner.data, Place(self.stack[-1].key_at, inner.start, end, inner.below))

    def _refuse(self, code: str, message: str, event: Any, advice: str = "") -> None:
        self._refuse_at(code, message, event.start_mark.index, event.end_mark.index, advice)

    def _refuse_at(self, code: str, message: str, start: int, end: int, advice: str = "") -> None:
        at = self.draft.span(start, end)
        self.problems.append(self.draft.diagnostic(code, message, at, advice=advice))
        if len(self.problems) == MAX_PROBLEMS:
            raise _Abandon

    def _refuse_properties(self, event: Any) -> None:
        start = event.start_mark.index
        if event.anchor is not None:
            self._refuse_at("RX203", "an anchor is refused", start, start + 1 + len(event.anchor), "remove it")
        if event.tag is not None:
            self._refuse_at("RX204", f"the tag {event.tag:.80} is refused", start, start + 1, "remove the tag")

    def _check_text(self) -> None:
        text = self.draft.text
        if len(text.encode("utf-8", "surrogateescape")) > MAX_DOCUMENT_BYTES:
            self._refuse_at("RX205", "the document is larger than 1 MiB", 0, 1, "split it")
            raise _Abandon
        for found in _FORBIDDEN.finditer(text):
            self._refuse_at("RX206", _character(found[0]), *found.span(), "save the file as plain UTF-8 text")
        conflict = _CONFLICT.search(text)
        if conflict:
            hint = "an unfinished merge: choose one side and remove the lines <<<<<<<, ======= and >>>>>>>"
            self._refuse_at("RX201", "a merge conflict marker", *conflict.span(), hint)
        if self.problems:
            raise _Abandon

    def _refuse_syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        if error.context_mark and mark and mark.index >= len(self.draft.text.rstrip()):
            mark = error.context_mark  # what was opened says more than the end of the text
        if error.context_mark and "could not find expected ':'" in str(error.problem):
            mark = error.context_mark  # the key that lacks it; libyaml sees so on a later line
        start = mark.index if mark else 0
        said = " ".join(part for part in (error.problem, error.context) if part)
        if self.draft.text[start : start + 1] == "\t":
            said, hint = "a tab cannot indent or begin a value", "replace the tab by spaces"
        else:
            hint = next((hint for sign, hint in _HINTS if sign in said), "check the indentation and the quotes")
            if "mapping values" in said and _KEY.fullmatch(self.draft.text[:start].rpartition("\n")[2]):
                hint = "the line above lacks the `: ` after its key, or this line is indented wrongly"
        try:
            self._refuse_at("RX201", said, start, start + 1, hint)
        except _Abandon:
            return


def read_documents(path: str, data: bytes) -> tuple[list[Document], list[Diagnostic]]:
    """Every document of a file, in order, and every problem in them. Never raises; time and memory are bounded.

    A document that was refused is there too, marked `broken`, so that indexes stay true. Empty ones do not count.
    """
    refusal = _refuse_file(data)
    if refusal:
        text = data[:MAX_FILE_BYTES].decode("utf-16", "replace") if refusal[0] == "RX206" else ""
        unread = Document(path=path, index=0, line=1, data=None, text=text, broken=True)
        return [unread], [Diagnostic(code=refusal[0], message=refusal[1], path=path, line=1, column=1, help=refusal[2])]
    documents: list[Document] = []
    problems: list[Diagnostic] = []
    budget = MAX_EVENTS
    chunks, behind = [], []
    for chunk, begin in _chunks(data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")):
        first, *others = _values(chunk, begin)
        chunks.append(first)
        behind += others
    for text, first_line, is_json in chunks + behind:
        draft = Document(path=path, index=len(documents), line=first_line, data=None, text=text, first_line=first_line)
        if len(documents) == MAX_DOCUMENTS:
            message = f"the file has more than {MAX_DOCUMENTS:,} documents; the rest is not read"
            problems.append(draft.diagnostic("RX205", message, draft.span(0, 1), advice="split the file"))
            documents.append(replace(draft, broken=True))
            break
        reader = DocumentReader(draft, budget, is_json=is_json)
        document = reader.read()
        budget = reader.budget
        problems += reader.problems
        if document.data is None and not document.broken:
            continue  # an explicit null is an empty document, as kubectl sees it
        documents.append(document)
        if budget < 0:
            break
    return _with_items(documents), problems


def _with_items(documents: list[Document]) -> list[Document]:
    """The documents, and behind them the items of each List, for which an empty document stands."""
    items: list[Document] = []
    for n, document in enumerate(documents):
        within = _items(document)
        if within is not None:
            documents[n] = replace(document, data=None, ambiguous=frozenset())
            items += within
    return [*documents, *(replace(item, index=len(documents) + n) for n, item in enumerate(items))]


def _items(document: Document) -> list[Document] | None:
    """The items of `kind: List`, or of one kind's list, each with its own place; None where it is no list."""
    data, places = document.data, document.places.below or {}
    if not isinstance(data, dict) or not isinstance(data.get("items"), list):
        return None
    kind, version = str(data.get("kind")), str(data.get("apiVersion"))
    if not (kind == "List" and version == "v1") and not (kind.endswith("List") and version.startswith(f"{GROUP}/")):
        return None
    below = places["items"].below or {}
    return [
        replace(
            document,
            data=Plain("null") if item is None else item,  # an item that is empty is no empty document
            line=document.span(below[n].start, below[n].end).line,
            places=below[n]._replace(key=-1),
            ambiguous=frozenset(loc[2:] for loc in document.ambiguous if loc[:2] == ("items", n)),
        )
        for n, item in enumerate(data["items"])
    ]


def _refuse_file(data: bytes) -> tuple[str, str, str] | None:
    """Code, message and help where the file cannot be read at all."""
    if len(data) > MAX_FILE_BYTES:
        return "RX205", f"the file has {len(data):,} bytes; at most 10 MiB are read", "split it"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "RX206", "the file is UTF-16", "save it as UTF-8"
    return None


def _chunks(text: str) -> Iterator[tuple[str, int]]:
    """The text of each document that is not empty, and the line on which it begins (from 1)."""
    cuts = [0, *(found.start() for found in _BOUNDARY.finditer(text)), len(text)]
    line = 1
    for start, stop in itertools.pairwise(cuts):
        chunk = text[start:stop]
        blank = _BLANK.match(chunk)
        if blank and blank.end() < len(chunk):
            body = chunk
            if chunk.startswith("..."):  # an end mark is no content, but keeps its column
                body = "   " + chunk[3:]
            directives = _DIRECTIVES.match(body)
            if not (directives and directives.end() == len(body)):
                yield body, line
        line += chunk.count("\n")


def _values(text: str, first_line: int) -> Iterator[tuple[str, int, bool]]:
    """The text, or where it is several JSON values one behind the other, each of them; its first line; if it is JSON.

    A value keeps its columns. What is no JSON is left to the reader of YAML.
    """
    begin, end, line, decoder = 0, _end_of_blanks(text, 0), first_line, json.JSONDecoder()
    if not text.startswith("{", end):
        yield text, first_line, False
        return
    while begin < len(text):
        is_json = True
        try:
            _, end = decoder.raw_decode(text, end)
        except (ValueError, RecursionError):
            end, is_json = len(text), False
        following = _end_of_blanks(text, end)
        column = begin - text.rfind("\n", 0, begin) - 1
        yield " " * column + text[begin : end if following < len(text) else None], line, is_json
        line += text.count("\n", begin, following)
        begin = end = following


def _end_of_blanks(text: str, start: int) -> int:
    found = _BLANKS.match(text, start)
    return found.end() if found else start


def _stand_in(escape: re.Match[str]) -> str:
    """Two escapes for private characters in place of those for the halves of a pair; any other escape as it is."""
    if escape[1] is None:
        return escape[0]
    return "".join(f"\\u{int(half, 16) + _PRIVATE:04x}" for half in escape.groups())


def _joined(pair: re.Match[str]) -> str:
    """The character for whose halves a pair of private ones stands."""
    return bytes.fromhex("".join(f"{ord(half) - _PRIVATE:04x}" for half in pair[0])).decode("utf-16-be")


def _character(char: str) -> str:
    if "\ud800" <= char <= "\udfff":
        return f"byte 0x{ord(char) & 0xFF:02x} is not UTF-8"
    if char == "\r":
        return "a carriage return without a line feed"
    return f"the character U+{ord(char):04X} is refused"
