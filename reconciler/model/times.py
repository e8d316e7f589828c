"""What the API server checks of dates and times. May import: model.rules.

In: nothing.  Out: rules in CEL with the meaning of model.expiry: a date, or an RFC 3339 time with its offset.
"""

from typing import Final

from reconciler.model.rules import Rule, rule

TIME_ADVICE: Final = "write 2026-12-31 or 2026-12-31T18:00:00Z"
DATE: Final = (
    "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9]))"
)
TIME: Final = r"[Tt]([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\.[0-9]{1,6})?([Zz]|[-+]([01][0-9]|2[0-3]):[0-5][0-9])"


def is_time(text: str) -> str:
    """CEL: whether `text`, a CEL expression too, is a date or a time of a day that there is."""
    year = f"int({text}.substring(0, 4))"
    leap = f"{year} % 4 == 0 && ({year} % 100 != 0 || {year} % 400 == 0)"
    written = f"{text}.matches(r'^{DATE}({TIME})?$') && !{text}.startsWith('0000')"
    return f"{written} && (!{text}.matches('^.{{4}}-02-29') || ({leap}))"


def time_rule(text: str) -> Rule:
    """The rule for one text."""
    return rule(is_time(text), f"'{{{text}}}' is neither a date nor an RFC 3339 time", advice=TIME_ADVICE)
