"""What every declared mapping has in common, and the texts that many kinds use.

May import: model.fields, model.rules, pydantic.
In: mappings from documents or caches.  Out: the base and the field types of every kind.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from reconciler.model.fields import Text, at_most, problem
from reconciler.model.identity import INSTALL, STAMPS
from reconciler.model.rules import Rule, checks, given, rule

NAME: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
LABEL_NAME: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
LABEL_KEY: Final = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_VALUE: Final = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
SCHEMES: Final = ("https", "http", "file")
LONGEST_URL: Final = 2048  # with the next, what the API server's budget for rules allows
MOST_VERSIONS: Final = 500

_NAME_ADVICE: Final = "at most 253 of a-z, 0-9, - and ., beginning and ending with a letter or digit (DNS-1123)"
_VERSION_ADVICE: Final = "at most 128 printable characters, no outer blanks"
_DIGEST_ADVICE: Final = "paste the output of `sha256sum FILE`"
_SCHEME: Final = "its scheme is none of https, http, file", "begin it with https://"
_CREDENTIALS: Final = "it carries credentials", "remove user:password@; secrets do not belong into Git"
_VALUE_ADVICE: Final = "at most 63 letters, digits, -, _ and ., beginning and ending with a letter or digit"
_OWN_ADVICE: Final = "leave it out: the reconciler writes it with each apply"
_FILE_ADVICE: Final = "a version is one file for ever: use a new one"


class Shape(BaseModel):
    """A mapping with known fields. Absent, null and, as in the seed's Go types, empty text are the same: not set."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _only_what_is_set(cls, data: Any) -> Any:
        if type(data) is not dict:
            return data
        return {name: value for name, value in data.items() if value is not None and value != ""}


def _name(value: str) -> str:
    if not value or (len(value) <= 253 and re.fullmatch(NAME, value)):
        return value
    raise problem(
        "RX213",
        f"{value!a:.80} is not a name",
        advice=_NAME_ADVICE,
    )


def _version(value: str) -> str:
    if len(value) <= 128 and value.isprintable() and value == value.strip():
        return value
    raise problem("RX213", f"{value!a:.80} is not a version", advice=_VERSION_ADVICE)


def _digest(value: str) -> str:
    if not value or re.fullmatch("[0-9a-fA-F]{64}", value):
        return value.lower()
    found = f"it has {len(value)} characters" if len(value) != 64 else "it has other characters"
    raise problem(
        "RX213", f"a sha256sum is 64 hexadecimal digits; {found}", advice="paste the output of `sha256sum FILE`"
    )


def _url(value: str) -> str:
    if not value:
        return value
    hint = ""
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  # raises when it is no number
    except ValueError as error:
        reason = str(error)
    else:
        if not value.isprintable() or " " in value:
            reason = "it has blanks or control characters"
        elif len(value) > LONGEST_URL:
            reason = f"it has {len(value):,} characters; at most {LONGEST_URL:,} are taken"
        elif parts.scheme not in SCHEMES:
            reason, hint = _SCHEME
        elif "@" in parts.netloc:
            reason, hint = _CREDENTIALS
        elif not parts.hostname and parts.scheme != "file":
            reason = "it names no host"
        else:
            return value
    raise problem("RX213", f"{value!a:.200} is refused: {reason}", advice=hint)


def _label_key(key: str) -> None:
    if re.fullmatch(LABEL_KEY, key) and len(key.rpartition("/")[0]) <= 253:
        return
    hint = "a key is [dns.name/]name; the name has at most 63 letters, digits, -, _ and ."
    raise problem("RX213", f"{key!a:.80} is not a key for labels or annotations", below=(key,), advice=hint)


def _labels(value: dict[str, str]) -> dict[str, str]:
    for key, text in value.items():
        _label_key(key)
        if not re.fullmatch(LABEL_VALUE, text):
            raise problem("RX213", f"{text!a:.80} is not a label's value", below=(key,), advice=_VALUE_ADVICE)
    return value


def _not_our_own(value: dict[str, str]) -> dict[str, str]:
    if INSTALL in value:
        raise problem("RX213", f"the label {INSTALL} is the reconciler's own", below=(INSTALL,), advice=_OWN_ADVICE)
    return value


def _namespace(value: str) -> str:
    if not value or (len(value) <= 63 and re.fullmatch(LABEL_NAME, value)):
        return value
    hint = "a namespace has at most 63 of a-z, 0-9 and -, and begins and ends with a letter or digit (DNS-1123)"
    raise problem("RX213", f"{value!a:.80} is not a namespace", advice=hint)


def _annotations(value: dict[str, str]) -> dict[str, str]:
    for key in value:
        _label_key(key)
        if key in STAMPS:
            raise problem("RX213", f"the annotation {key} is the reconciler's own", below=(key,), advice=_OWN_ADVICE)
    size = sum(len(key) + len(text.encode("utf-8", "replace")) for key, text in value.items())
    if size > 2**18:
        raise problem("RX213", f"the annotations have {size:,} bytes; Kubernetes keeps at most 256 KiB")
    return value


def distinct(versions: Sequence[Any]) -> Sequence[Any]:
    """A check that no version stands twice in a list of entries."""
    seen: dict[str, int] = {}
    for index, entry in enumerate(versions):
        if entry.version in seen:
            message = f"the version {entry.version!r} stands twice, first as entry {seen[entry.version] + 1}"
            raise problem("RX213", message, below=(index, "version"), advice=_FILE_ADVICE)
        seen[entry.version] = index
    return versions


def default_version(wanted: str, versions: Sequence[Any]) -> str:
    """The version meant: `wanted`, which must be there, or the only one. For a field validator."""
    known = [entry.version for entry in versions]
    if wanted in known or not known:
        return wanted
    there = ", ".join(known[:20])
    if wanted:
        raise problem("RX215", f"there is no version {wanted!r:.80}", advice=f"there is {there}")
    if len(known) > 1:
        raise problem("RX211", "several versions, and nothing says which is meant", advice=f"name one of {there}")
    return str(known[0])


def default_rules(wanted: str, versions: str, unless: str = "false") -> tuple[Rule, ...]:
    """What `default_version` says, in CEL. wanted, versions: fields below this one.  unless: where nothing is asked."""
    listed, field = f"self.{versions}", f"self.{wanted}"
    there = " && ".join(f"has({step})" for step in _steps(listed))
    advice = f"name one of those in {versions}"
    free = f"({unless}) || !({there} && {listed}.size() > 0)"
    return (
        rule(
            f"{free} || !({given(wanted)}) || {listed}.exists(entry, entry.version == {field})",
            f"there is no version '{{{field}}}'",
            general="there is no such version",
            advice=advice,
            at=wanted,
        ),
        rule(
            f"{free} || ({given(wanted)}) || {listed}.size() == 1",
            "several versions, and nothing says which is meant",
            advice=advice,
            at=wanted,
            missing=True,
        ),
    )


def _steps(path: str) -> list[str]:
    """`self.a`, `self.a.b` of `self.a.b`."""
    parts = path.split(".")
    return [".".join(parts[: n + 1]) for n in range(1, len(parts))]


def _field(longest: int, *rules: Rule) -> Any:
    return Field(json_schema_extra=checks(*rules, maxLength=longest))


_PRINTABLE: Final = r"[^\p{C}\p{Z}]"
_HOST: Final = r"(?i)^https?://([^/?#]*@)?(\[[0-9a-f:.]+\]|[^/?#:@\[\]]+)(:[0-9]{0,5})?([/?#]|$)"
_REFUSED: Final = "the URL is refused: "


def matching(pattern: str, message: str, advice: str = "") -> Rule:
    """A rule for a text: that it matches (RE2, which needs ^ and $)."""
    return rule(f"self.matches(r'{pattern}')", message, advice=advice)


Name = Annotated[
    Text, AfterValidator(_name), _field(253, matching(f"^{NAME}$", "'{self}' is not a name", _NAME_ADVICE))
]
VersionText = Annotated[
    Text,
    AfterValidator(_version),
    _field(128, matching(f"^{_PRINTABLE}+( +{_PRINTABLE}+)*$", "'{self}' is not a version", _VERSION_ADVICE)),
]
Digest = Annotated[
    Text,
    AfterValidator(_digest),
    _field(256, matching("^[0-9a-fA-F]{64}$", "a sha256sum is 64 hexadecimal digits", _DIGEST_ADVICE)),
]
Url = Annotated[
    Text,
    AfterValidator(_url),
    _field(
        LONGEST_URL,
        matching(f"^{_PRINTABLE}*$", f"{_REFUSED}it has blanks or control characters"),
        matching("(?i)^(https?|file):", _REFUSED + _SCHEME[0], _SCHEME[1]),
        rule("!self.matches(r'^[^:/?#]*://[^/?#]*@')", _REFUSED + _CREDENTIALS[0], advice=_CREDENTIALS[1]),
        rule(
            f"!self.matches(r'(?i)^https?:') || self.matches(r'{_HOST}')",
            f"{_REFUSED}it names no host, or a port that is none",
        ),
    ),
]
Namespace = Annotated[Text, AfterValidator(_namespace)]
Labels = Annotated[dict[str, Text], AfterValidator(_labels), AfterValidator(_not_our_own)]
Annotations = Annotated[dict[str, Text], AfterValidator(_annotations)]
LabelValue = Annotated[Text, _field(63, matching(f"^{LABEL_VALUE}$", "'{self}' is not a label's value", _VALUE_ADVICE))]
MatchLabels = Annotated[dict[str, LabelValue], AfterValidator(_labels), *at_most(64)]


class Selector(Shape):
    """Which edges: those that carry all of matchLabels; {} matches every edge, an absent selector none."""

    matchLabels: MatchLabels = Field(default_factory=dict)  # noqa: N815  # the schema's word
    """Labels that an edge has to carry, all of them; {} matches every edge."""
