"""A kind is one file and one row, and nothing beside them agrees by memory about which kinds there are."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import reconciler
from reconciler.planning.kinds import KINDS, models

ROOT = Path(__file__).parents[2]


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def test_a_kind_that_is_one_file_and_one_row_is_seen_everywhere() -> None:
    words = ["-m", "pytest", "-q", "-p", "tests.calibration", "-p", "no:cacheprovider", "tests/kind_of_its_own.py"]
    run = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "5 passed" in run.stdout


def test_whatever_is_kept_by_kind_has_every_kind() -> None:
    """Of every collection of a module that knows a kind's name: no new kind is forgotten there.

    What is about definitions and statuses knows those of our group.
    """
    ours = {name for name, row in models().items() if row.is_ours}
    found = {
        f"{module.__name__}.{name}": ours - names
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, Collection) and not isinstance(value, str | bytes) and name != "__all__"
        if (names := _texts(value)) & set(KINDS) and (isinstance(value, Mapping) or names <= set(KINDS))
    }
    assert len(found) > 2  # the table itself, and what is made of it
    assert {name: missing for name, missing in found.items() if missing} == {}


def _texts(value: Collection[object]) -> set[str]:
    return {one for one in value if isinstance(one, str)}


def test_no_arm_and_no_table_within_a_function_asks_which_kind_it_is() -> None:
    found = {
        str(path.relative_to(ROOT)): getattr(node, "lineno", 0)
        for path in sorted((ROOT / "reconciler").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if _asks(node)
    }
    assert list(found) == ["reconciler/model/policy.py"], found  # the kinds of a drift rule: an enum of the schema


def _asks(node: ast.AST) -> bool:
    """Whether it is a table by kind, some of the kinds, or a `case` of one."""
    match node:
        case ast.Dict(keys=keys):
            return any(_is_kind(key) for key in keys)
        case ast.Set(elts=elements) | ast.Tuple(elts=elements) | ast.List(elts=elements):
            return sum(_is_kind(one) for one in elements) > 1
        case ast.MatchValue(value=value):
            return _is_kind(value)
    return False


def _is_kind(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value in KINDS
