"""Which cluster an API server is of. May import: errors, kube.client.api, kube.client.resources.

In: a connection, and what the log knows.  Out: the uid of its namespace kube-system, which lives as long as a cluster
does, whatever its address, its context's name or the account that asks.
"""

from typing import Final

import msgspec

from reconciler.errors import RightMissing, SettingInvalid
from reconciler.kube.client.api import Api
from reconciler.kube.client.api_errors import readable
from reconciler.kube.client.resources import NAMESPACES

_SYSTEM: Final = "kube-system"


class _Metadata(msgspec.Struct, frozen=True):
    uid: str = ""


class _Namespace(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()


_NAMESPACE: Final = msgspec.json.Decoder(_Namespace)


def same_cluster(api: Api, known: str) -> str:
    """Which cluster this is; "" where that may not be read. known: the one that the log keeps, "" where none is.

    Raises SettingInvalid where it is another one: its objects would be taken for gone. Raises ApiUnavailable.
    """
    try:
        body = api.get(NAMESPACES, _SYSTEM)
    except RightMissing:
        return ""
    with readable(f"the namespace {_SYSTEM}"):
        found = _NAMESPACE.decode(body).metadata.uid if body is not None else ""
    if found and known and found != known:
        raise SettingInvalid(
            f"the log in this state directory keeps another cluster: {known} (uid of {_SYSTEM}), and this is {found}",
            hint="name the context of that one, or give this one a --state directory of its own: Git fills it anew",
        )
    return found
