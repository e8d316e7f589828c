"""For whom a kubeconfig acts: its `as`, as headers of every request. May import: diagnostics, errors.

In: the `user` of a kubeconfig.  Out: headers (Kubernetes, "User impersonation"). Passed over, we would act with rights
that the file's author gave away on purpose; so what cannot be a header is refused.
"""

from collections.abc import Iterator
from typing import Any, Final

from reconciler.diagnostics import printable
from reconciler.errors import SettingInvalid

USER: Final = "Impersonate-User"
GROUP: Final = "Impersonate-Group"
UID: Final = "Impersonate-Uid"
EXTRA: Final = "Impersonate-Extra-"
_TOKEN: Final = frozenset(  # of RFC 9110 §5.6.2, without the percent sign that escapes
    b"!#$&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

Headers = tuple[tuple[str, str], ...]


def headers(user: Any, context: str) -> Headers:
    """The headers of `as`, `as-uid`, `as-groups`, `as-user-extra`, in this order; none without them.

    Raises SettingInvalid: a value has the wrong form, cannot be a header, or there is no `as`.
    """
    if not isinstance(user, dict):
        return ()
    found = tuple((name, _value(name, value, context)) for name, value in _said(user, context))
    if found and not user.get("as"):
        raise SettingInvalid(
            f"the user of context {printable(context)} has as-groups, as-uid or as-user-extra, and no `as`",
            hint="say whom it acts for: `kubectl config set users.NAME.as USER`",
        )
    return found


def user(acting: Headers) -> str:
    """Who is impersonated; "" where nobody is."""
    return dict(acting).get(USER, "")


def _said(user: dict[str, Any], context: str) -> Iterator[tuple[str, Any]]:
    if user.get("as"):
        yield USER, user["as"]
    if user.get("as-uid"):
        yield UID, user["as-uid"]
    for group in _list(user.get("as-groups"), "as-groups", context):
        yield GROUP, group
    extra = user.get("as-user-extra") or {}
    if not isinstance(extra, dict):
        raise _wrong("as-user-extra", "is no mapping of lists", context)
    for key, values in extra.items():
        for value in _list(values, "as-user-extra", context):
            yield EXTRA + _escaped(_value("as-user-extra", key, context)), value


def _list(values: Any, name: str, context: str) -> list[Any]:
    if values is None:
        return []
    if not isinstance(values, list):
        raise _wrong(name, "is no list", context)
    return values


def _value(name: str, value: Any, context: str) -> str:
    """One that arrives as it is: a server trims spaces around a header's value, and a line break begins another."""
    if not isinstance(value, str) or not value:
        raise _wrong(name, "has a value that is no text: put it in quotes", context)
    if not value.isprintable() or value != value.strip():
        raise _wrong(name, "has a value with control characters, or with spaces around it", context)
    return value


def _escaped(key: str) -> str:
    """A key as part of a header's name: what may not stand there is escaped by percent signs, in UTF-8."""
    return "".join(chr(byte) if byte in _TOKEN else f"%{byte:02X}" for byte in key.encode())


def _wrong(name: str, what: str, context: str) -> SettingInvalid:
    return SettingInvalid(
        f"the user of context {printable(context)}: {name} {what}",
        hint="`kubectl config view` shows what the file says",
    )
