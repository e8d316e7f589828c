"""What the API server itself is to check, in the words of our own messages. Imports nothing of ours.

In: rules of the kinds, in CEL.  Out: `x-kubernetes-validations` of the CRDs (Kubernetes documentation, "CRD Validation
Rules"), so that `kubectl apply` says what `reconciler plan` says. A rule stands beside the validator that it repeats,
and a test compares the two on a real API server. Only functions that Kubernetes 1.31 has.
"""

import json
import re
from typing import Any, Final

LONGEST: Final = 2048  # characters of a message that the API server takes
_VALUE: Final = re.compile(r"\{([^}]*)\}")
Rule = dict[str, str]


def rule(cel: str, message: str, *, general: str = "", advice: str = "", at: str = "", missing: bool = False) -> Rule:
    """One rule: what must hold, and what is said when it does not.

    message: `{self.x}` in it shows what was found.  general: the message where nothing can be shown; "" says `it`
    instead.  advice: the fix.  at: the field that it is about, below this one.
    missing: whether something is missing (else something is wrong).
    """
    text, plain = (f"{said}; {advice}" if advice else said for said in (message, general or _VALUE.sub("it", message)))
    made = {"rule": cel, "message": plain[:LONGEST]}
    parts = _VALUE.split(text)
    if len(parts) > 1:
        shown = (part if n % 2 else json.dumps(part) for n, part in enumerate(parts) if part)
        made["messageExpression"] = " + ".join(shown)
    made |= {"fieldPath": f".{at}"} if at else {}
    return made | ({"reason": "FieldValueRequired"} if missing else {})


def checks(*rules: Rule, **more: Any) -> dict[str, Any]:
    """Rules, and other words of the schema, as pydantic's `json_schema_extra`."""
    return {"x-kubernetes-validations": [dict(one) for one in rules], **more}


def given(*fields: str) -> str:
    """CEL: whether a text or list is set, which is to be there and not empty."""
    return " && ".join(f"has(self.{field}) && self.{field}.size() > 0" for field in fields)
