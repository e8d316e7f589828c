"""Answers as JSON or YAML: the same value that the table shows. Imports light modules only.

In: frozen dataclasses of plain values.  Out: text on stdout, as `web.document` shapes it.
"""

import json
import sys
from typing import Any

from reconciler.web.document import document


def write(form: str, kind: str, value: Any) -> None:
    """The whole answer, on stdout."""
    if form == "json":
        print(json.dumps(document(kind, value), indent=2, ensure_ascii=False))
    else:
        print(_yaml(document(kind, value)), end="")


def write_one(form: str, kind: str, value: Any) -> None:
    """One record of a long answer: a line of JSON, or a YAML document."""
    if form == "json":
        print(json.dumps(document(kind, value), ensure_ascii=False))
    else:
        print("---\n" + _yaml(document(kind, value)), end="")
    sys.stdout.flush()


def _yaml(value: Any) -> str:
    import yaml

    text: str = yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120)
    return text
