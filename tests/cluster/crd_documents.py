"""Documents of every kind, and what the API server and we ourselves say to them.

In: the samples of the unit tests, the seed's own among them.  Out: variations of them, and both judgements.
"""

import copy
from typing import Any, Final

import yaml
from pydantic import ValidationError

from reconciler.model.identity import API_VERSION
from reconciler.planning.kinds import models
from tests.control_plane.client import Document
from tests.control_plane.plane import ControlPlane
from tests.unit.test_kinds import SAMPLES

KINDS = {name: row for name, row in models().items() if row.is_ours}

# As `kubectl apply --dry-run=server` asks.
STRICT: Final = {"dryRun": "All", "fieldValidation": "Strict"}
SHA: Final = "dec87e2f3c06e60e554acac0b2b80e394c616b0ecdf878fab7f04fd414a66eff"


def collection(kind: str, namespace: str = "default") -> str:
    within = f"/namespaces/{namespace}" if KINDS[kind].scope == "Namespaced" else ""
    return f"/apis/{API_VERSION}{within}/{KINDS[kind].plural}"


def sample(kind: str) -> Document:
    """The sample of a kind with what kubectl makes of its text."""
    found: Document = yaml.safe_load(SAMPLES[kind])
    for freeze in found["spec"].get("freeze", ()):
        freeze |= {name: str(freeze[name]) for name in ("from", "until")}
    for pin in found["spec"].get("pins", ()):
        pin["expires"] = str(pin["expires"])
    return found


def changed(kind: str, **fields: Any) -> Document:
    """The sample with fields set by path (`pins.0.model`), None taking one away."""
    found = copy.deepcopy(sample(kind))
    for path, value in fields.items():
        *outer, last = path.split(".")
        node: Any = found["spec"]
        for step in outer:
            node = node[int(step)] if isinstance(node, list) else node[step]
        if value is None:
            del node[last]
        elif isinstance(node, list):
            node[int(last)] = value
        else:
            node[last] = value
    return found


def asked(cluster: ControlPlane, document: Document) -> tuple[int, str]:
    """Status and message of the API server, which keeps nothing."""
    metadata = {"name": "asked"} | {key: value for key, value in document["metadata"].items() if key != "namespace"}
    body = document | {"metadata": metadata}
    status, answer = cluster.request("POST", collection(document["kind"]), body, query=STRICT)
    return status, str(answer.get("message", ""))


def refused(document: Document) -> str:
    """What we say ourselves; empty where we take it."""
    try:
        KINDS[document["kind"]].spec.model_validate(document["spec"])
    except ValidationError as error:
        return "\n".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}; {one.get('ctx', {}).get('advice', '')}"
            for one in error.errors()
        )
    return ""
