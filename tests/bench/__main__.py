"""`python -m tests.bench [NAME ...] [--small] [--json FILE]`: run the benchmarks, one line a figure."""

import argparse
import importlib
import json
import pkgutil
import sys
from dataclasses import asdict
from pathlib import Path

import tests.bench


def main() -> int:
    """0 always, unless a benchmark itself raises: a slow machine is not a failure."""
    names = [m.name for m in pkgutil.iter_modules(tests.bench.__path__) if m.name.startswith("bench_")]
    parser = argparse.ArgumentParser(description="Measure; every figure beside its peer or limit from the same run.")
    parser.add_argument("name", nargs="*", default=names, help=f"which of: {' '.join(names)}")
    parser.add_argument("--small", action="store_true", help="the size that CI uses to prove that they work")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args()
    done = []
    for name in options.name:
        for figure in importlib.import_module(f"tests.bench.{name}").figures(options.small):
            sign = "≥" if figure.better == "higher" else "≤"
            verdict = "met" if figure.met else "MISSED"
            print(
                f"{figure.name:58} {figure.value:>12,.3f} {figure.unit:8} target {sign} {figure.factor:g} × "
                f"{figure.reference:,.3f} ({figure.against})  {verdict}",
                flush=True,
            )
            done.append(asdict(figure) | {"met": figure.met})
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(done, indent=1) + "\n")
    return 0


sys.exit(main())
