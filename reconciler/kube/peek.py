"""What is in a cluster, asked once: for whoever looks and does not stay. May import: errors, kube.

In: an API.  Out: what `Cache` gives, by a GET an object, and by one LIST a kind where it is many.
"""

from contextlib import AbstractContextManager
from typing import Final

import msgspec

from reconciler.errors import ApiUnavailable
from reconciler.history.keys import Key
from reconciler.kube.api import Api, Expired
from reconciler.kube.live import Live, Reader
from reconciler.kube.resources import OURS

FEW: Final = 32  # objects of a kind that are asked for one by one
TRIES: Final = 3  # of a LIST that expires on the way


class _Named(msgspec.Struct, gc=False):
    class _Names(msgspec.Struct, gc=False):
        name: str
        namespace: str = ""

    metadata: _Names


_named = msgspec.json.Decoder(_Named)


class Peek:
    """Objects as they are when they are first asked for. Of one thread."""

    def __init__(self, api: Api, manager: str) -> None:
        self._api, self._reader = api, Reader(manager)
        self._asked: dict[str, int] = dict.fromkeys(OURS, 0)
        self._all: dict[str, dict[Key, Live]] = {}

    def get(self, key: Key) -> Live | None:
        """The object; None where there is none. Raises what the API raises."""
        if key.kind in self._all:
            return self._all[key.kind].get(key)
        self._asked[key.kind] += 1
        if self._asked[key.kind] > FEW:
            return self._listed(key.kind).get(key)
        body = self._api.get(OURS[key.kind], key.name, key.namespace)
        return None if body is None else self._reader.object(body)

    def all(self, kind: str) -> list[tuple[Key, Live]]:
        """Every object of a kind."""
        return list(self._listed(kind).items())

    def _listed(self, kind: str) -> dict[Key, Live]:
        if kind not in self._all:
            for _ in range(TRIES):
                try:
                    pages = list(self._api.pages(OURS[kind]))
                except Expired:
                    continue
                self._all[kind] = {self._key(kind, item): self._reader.object(item) for p in pages for item in p.items}
                break
            else:
                raise ApiUnavailable(f"{OURS[kind].plural}: the list expired on the way {TRIES} times")
        return self._all[kind]

    def _key(self, kind: str, item: msgspec.Raw) -> Key:
        names = _named.decode(item).metadata
        return Key(kind, names.namespace, names.name, "")

    def put(self, key: Key, body: bytes) -> Live:
        """Nothing is written by who only looks."""
        raise NotImplementedError

    def remove(self, key: Key, uid: str) -> None:
        """Nothing is written by who only looks."""
        raise NotImplementedError

    def sending(self, key: Key, operation: str = "") -> AbstractContextManager[None]:
        """Nothing is written by who only looks."""
        raise NotImplementedError
