"""Live objects without a watch, each asked once: for whoever does not stay. May import: errors, kube.

In: an API.  Out: what `Cache` gives, by a GET an object, and by one LIST a kind where it is many.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final

from reconciler.history.keys import Key
from reconciler.kube.client.api import Api
from reconciler.kube.client.resources import KEPT, Resource
from reconciler.kube.watch.object import Decoder, Live, key_of

FEW: Final = 32  # objects of a kind that are asked for one by one


class Uncached:
    """Objects as they are when they are first asked for. Of one thread."""

    def __init__(self, api: Api, manager: str, resources: Mapping[str, Resource] = KEPT) -> None:
        self._api, self._resources = api, resources
        self._readers = {kind: Decoder(manager, resource) for kind, resource in resources.items()}
        self._asked: dict[str, int] = dict.fromkeys(resources, 0)
        self._all: dict[str, dict[Key, Live]] = {}

    def get(self, key: Key) -> Live | None:
        """The object; None where there is none. Raises what the API raises."""
        if key.kind in self._all:
            return self._all[key.kind].get(key)
        self._asked[key.kind] += 1
        if self._asked[key.kind] > FEW:
            return self._listed(key.kind).get(key)
        body = self._api.get(self._resources[key.kind], key.name, key.namespace)
        return None if body is None else self._readers[key.kind].object(body)

    def all(self, kind: str) -> list[tuple[Key, Live]]:
        """Every object of a kind."""
        return list(self._listed(kind).items())

    def _listed(self, kind: str) -> dict[Key, Live]:
        if kind not in self._all:
            items = self._api.everything(self._resources[kind])
            self._all[kind] = {key_of(kind, item): self._readers[kind].object(item) for item in items}
        return self._all[kind]

    def put(self, key: Key, body: bytes) -> Live:
        """Nothing is written by who only looks."""
        raise NotImplementedError

    def remove(self, key: Key, uid: str) -> None:
        """Nothing is written by who only looks."""
        raise NotImplementedError

    def sending(self, key: Key, operation: str = "") -> AbstractContextManager[None]:
        """Nothing is written by who only looks."""
        raise NotImplementedError
