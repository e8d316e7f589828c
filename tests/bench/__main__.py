"""`python -m tests.bench [NAME ...] [--small] [--json FILE]`: run the benchmarks, one line a figure.

Beside the JSON stands the same as a Markdown table.
"""

import argparse
import contextlib
import importlib
import json
import os
import pkgutil
import sys
import tempfile
import traceback
import unittest.mock
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import tests.bench
from tests.bench import Figure


def benchmarks() -> list[str]:
    """The names of all."""
    return [m.name for m in pkgutil.iter_modules(tests.bench.__path__) if m.name.startswith("bench_")]


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 where a benchmark itself raised: the others run nevertheless, and a slow machine is not a failure."""
    names = benchmarks()
    parser = argparse.ArgumentParser(description="Measure; every figure beside its peer or limit from the same run.")
    parser.add_argument("name", nargs="*", default=names, help=f"which of: {' '.join(names)}")
    parser.add_argument("--small", action="store_true", help="the size that CI uses to prove that they work")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args(arguments)
    done: list[Figure] = []
    failed = False
    with compiled():
        for name in options.name:
            print(name, flush=True)
            try:
                for figure in importlib.import_module(f"tests.bench.{name}").figures(options.small):
                    print(line(figure), flush=True)
                    done.append(figure)
            except Exception:  # noqa: BLE001  # told in full; what else is measured is not lost
                traceback.print_exc()
                failed = True
    print(f"{sum(figure.met for figure in done)} of {len(done)} targets met; written to {options.json}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(figure) | {"met": figure.met} for figure in done], indent=1) + "\n")
    options.json.with_suffix(".md").write_text(table(done))
    return int(failed)


def table(figures: Sequence[Figure]) -> str:
    """Markdown: what, how much, the target and what it stands on."""
    rows = ["| what | measured | target | |", "|---|---|---|---|"]
    for figure in figures:
        measured, target, basis = said(figure)
        rows.append(f"| {figure.name} | {measured} {figure.unit} | {target} | {basis} |")
    return "\n".join(rows) + "\n"


@contextlib.contextmanager
def compiled() -> Iterator[None]:
    """Within, processes find our modules compiled, as where they are installed, whatever this environment says."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {"PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        with unittest.mock.patch.dict(os.environ, environment):
            yield


def line(figure: Figure) -> str:
    """Name, value, whether the target is met, the target, and what it stands on: columns that stay aligned."""
    verdict = "met" if figure.met else "MISSED"
    measured, goal, basis = said(figure)
    return f"  {figure.name:64} {measured:>12} {figure.unit:8} {verdict:6}  {goal:20} {basis}"


def said(figure: Figure) -> tuple[str, str, str]:
    """The value, the target, and what the target stands on."""
    sign = "≥" if figure.better == "higher" else "≤"
    goal = f"{sign} {number(figure.factor * figure.reference)} {figure.unit}"
    basis = f"{figure.factor:g} × {number(figure.reference)}, " if figure.factor != 1 else ""
    return number(figure.value), goal, f"{basis}{figure.against}"


def number(value: float) -> str:
    """Whole where it is whole or large, else with as many digits as can be told apart."""
    return f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:,.3f}"


if __name__ == "__main__":
    sys.exit(main())
