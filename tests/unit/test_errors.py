"""The tree of failures is what its drawing says, and every code explains itself."""

import re
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.diagnostics import Diagnostic
from reconciler.errors import DIAGNOSTICS, ReconcilerError, RepositoryRefused, WorldUnavailable, error_classes

DRAWN = re.compile(
    r"^    (?P<bars>[|' ]*?)(?:[|']- )?(?P<name>[A-Z]\w+) +(?P<code>RX\w+|code)"
    r"(?: +(?P<exit>\d+))?(?: +(?P<retry>[a-z]+))?$"
)


def tree() -> list[type[ReconcilerError]]:
    """The classes that the product names; an adapter may refine one for itself, under the same code."""
    return [cls for cls in error_classes() if cls.__module__ == errors.__name__]


GROUPS = [cls for cls in tree() if cls.__bases__ == (ReconcilerError,)]


def drawing() -> list[re.Match[str]]:
    """The rows of the drawing under its root."""
    rows = [DRAWN.match(line) for line in (errors.__doc__ or "").splitlines()]
    found = [row for row in rows if row and row["code"] != "code"]
    assert len(found) > 20
    return found


def test_the_drawing_shows_every_class_under_its_parent() -> None:
    parents: dict[str, str] = {}
    group = "ReconcilerError"
    for row in drawing():
        if row["exit"]:
            group = row["name"]
            parents[group] = "ReconcilerError"
        else:
            parents[row["name"]] = group
    assert parents == {cls.__name__: cls.__bases__[0].__name__ for cls in tree()[1:]}


def test_the_drawing_shows_every_code_exit_code_and_retry() -> None:
    classes = {cls.__name__: cls for cls in tree()}
    for row in drawing():
        cls = classes[row["name"]]
        if row["exit"]:
            assert cls.code[:3] == row["code"][:3]
            assert cls.exit_code == int(row["exit"])
        else:
            assert cls.code == row["code"]
        drawn = row["retry"] or classes[cls.__bases__[0].__name__].retry.name.lower()
        assert cls.retry.name.lower() == drawn, cls.__name__


@pytest.mark.parametrize("cls", tree())
def test_every_class_has_its_own_code_and_words(cls: type[ReconcilerError]) -> None:
    assert re.fullmatch(r"RX\d{3}", cls.code)
    assert [other for other in tree() if other.code == cls.code] == [cls]
    assert "hint" in vars(cls)
    assert cls.hint
    assert cls.__doc__
    assert cls.__doc__ != cls.__bases__[0].__doc__
    if cls is not ReconcilerError:
        group = next(group for group in GROUPS if issubclass(cls, group))
        assert cls.code[:3] == group.code[:3]


def test_exit_codes_tell_the_groups_apart() -> None:
    assert sorted(group.exit_code for group in GROUPS) == [2, 3, 4, 5, 6, 70]  # 70: a bug, as everywhere


def test_an_error_says_what_happened_and_what_to_do() -> None:
    usual, special = errors.GitUnavailable("no answer"), errors.GitUnavailable("no answer", hint="ask again")
    assert str(usual) == usual.message == "no answer"
    assert usual.as_dict() == {
        "code": "RX301",
        "error": "no answer",
        "hint": errors.GitUnavailable.hint,
        "retryable": True,
    }
    assert special.as_dict()["hint"] == special.advice == "ask again"


def test_a_refused_repository_carries_its_problems() -> None:
    problems = [Diagnostic(code="RX201", message="x"), Diagnostic(code="RX202", message="y")]
    refused = RepositoryRefused(problems)
    assert refused.problems == tuple(problems)
    assert refused.message == "2 problem(s) in the repository"


def test_diagnostics_are_numbered_named_and_explained() -> None:
    assert len(DIAGNOSTICS) > 20
    assert list(DIAGNOSTICS) == sorted(DIAGNOSTICS)
    names = [name for name, _ in DIAGNOSTICS.values()]
    assert len(set(names)) == len(names)
    taken = {cls.code for cls in tree()}
    for code, (name, meaning) in DIAGNOSTICS.items():
        assert re.fullmatch(r"RX2\d\d", code)
        assert code not in taken
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
        assert meaning.endswith(".")


def test_hints_speak_of_what_a_person_can_do_not_of_how_it_is_made() -> None:
    assert [cls.code for cls in error_classes() if "socket" in cls.hint] == []


def test_every_code_is_raised_somewhere_and_every_code_that_is_written_is_explained() -> None:
    files = (path for path in Path(errors.__file__).parent.rglob("*.py") if path != Path(errors.__file__))
    product = "".join(path.read_text() for path in files)
    raised = {cls for cls in tree() if re.search(rf"\b{cls.__name__}(\.at)?\(", product)}
    assert set(tree()) - raised <= {ReconcilerError}
    assert {code for code in DIAGNOSTICS if f'"{code}"' not in product} == set()
    assert set(re.findall(r"\bRX\d{3}\b", product)) <= {*DIAGNOSTICS, *(cls.code for cls in tree())}


def test_the_number_of_an_errno_is_in_no_message() -> None:
    refused = ConnectionRefusedError(111, "Connection refused")
    assert (
        WorldUnavailable(f"http://x does not answer: {refused}").message
        == "http://x does not answer: Connection refused"
    )
    assert str(WorldUnavailable(f"a: {refused}; b: {refused}")) == "a: Connection refused; b: Connection refused"
