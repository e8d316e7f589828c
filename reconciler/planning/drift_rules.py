"""The drift rules of the Fleet: what to do about a live difference that nobody declared. Imports nothing of ours. Pure.

In: the spec of the Fleet in force as plain JSON.  Out: one word for a field of an object.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

Policy = Literal["correct", "report", "ignore"]
DEFAULT: Final[Policy] = "correct"
PEOPLE: Final = ("kubectl*", "before-first-apply")  # field managers by which people apply


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. What is empty (kinds, fields, managers) matches everything."""

    policy: Policy
    kinds: frozenset[str] = frozenset()
    fields: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()

    def matches(self, kind: str, path: str, manager: str) -> bool:
        """Whether the rule speaks of this field, as that manager wrote it."""
        if self.kinds and kind not in self.kinds:
            return False
        if self.fields and not any(covers(pattern, path) for pattern in self.fields):
            return False
        return not self.managers or any(_glob(pattern).fullmatch(manager) for pattern in self.managers)


def rules_of(fleet: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The rules in their order."""
    return tuple(
        Rule(
            policy=rule["policy"],
            kinds=frozenset(rule.get("kinds") or ()),
            fields=tuple(rule.get("fields") or ()),
            managers=tuple(rule.get("managers") or ()),
        )
        for rule in fleet.get("drift") or ()
    )


def policy_of(kind: str, path: str, manager: str, rules: Iterable[Rule]) -> Policy:
    """What the first rule that matches says; `correct` where none does.

    path: as in planning.fields.  manager: who wrote it; "" is not known, and no rule that names managers is about it.
    """
    return next((rule.policy for rule in rules if rule.matches(kind, path, manager)), DEFAULT)


def policy_for(kind: str, fleet: Mapping[str, Any]) -> Callable[[str, str], Policy | Literal[""]]:
    """(path, manager) -> what a rule says of it, "" where none does, for the objects of one kind."""
    rules = tuple(rule for rule in rules_of(fleet) if not rule.kinds or kind in rule.kinds)
    return lambda path, manager: next((rule.policy for rule in rules if rule.matches(kind, path, manager)), "")


def people_of(fleet: Mapping[str, Any]) -> Callable[[str], bool]:
    """Whether a field manager is one by which people apply: what they have of our objects is ours."""
    patterns = tuple(_glob(pattern) for pattern in fleet.get("overrideManagers") or PEOPLE)
    return lambda manager: any(pattern.fullmatch(manager) for pattern in patterns)


def covers(pattern: str, path: str) -> bool:
    """Whether a field of a rule is this one, or contains it: `spec.manifest` covers all of its entries.

    `*` stands for any text within or across steps.
    """
    return _field(pattern).match(path) is not None


@lru_cache(512)
def _field(pattern: str) -> re.Pattern[str]:
    return re.compile(f"{_expression(pattern)}(?=[.\\[]|$)")


@lru_cache(512)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(f"(?=.){_expression(pattern)}")


def _expression(pattern: str) -> str:
    return ".*".join(re.escape(text) for text in pattern.split("*"))
