"""Our kinds into a cluster, and out of it. May import: errors, kube.

In: an Api as somebody who may (rights.INSTALLER).  Out: what was done a kind, told as it happens.
All checks for all kinds come first: either every kind may be changed, or none is touched. Lost are only objects whose
number the caller has named, fields of objects never.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import msgspec

from reconciler.errors import ApiRefused, ApiUnavailable, FieldConflict, KindMissing
from reconciler.kube.admin.installed import MANAGER, Standing, established, look, objects, place, served, standing
from reconciler.kube.admin.schema import misfits
from reconciler.kube.client.api import Api
from reconciler.kube.client.resources import CRDS

WAIT_S: Final = 60.0
_LOOK_S: Final = 0.1
_HELD: Final = "a finalizer of one of its objects may hold it: `kubectl get` shows which is left"
_NAMED: Final = 5  # objects named in a message; all are counted

Told = Callable[["Done"], None]


class Done(NamedTuple):
    """What became of one kind."""

    kind: str
    name: str
    did: Literal["unchanged", "installed", "upgraded", "removed", "absent"]
    objects: int = 0


class Loss(NamedTuple):
    """Objects of a kind that would go with it. names: the first of them."""

    kind: str
    objects: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        more = f" and {self.objects - len(self.names)} more" if self.objects > len(self.names) else ""
        return f"{self.objects} {self.kind} ({', '.join(self.names)}{more})"


def install(api: Api, told: Told, *, take_over: bool = False) -> list[Done]:
    """Install or upgrade every kind; `told` as each is served. take_over: also where another manager has a field.

    Raises ApiRefused (an upgrade would lose stored fields or versions; nothing was changed), FieldConflict (another
    field manager has the kind), ApiUnavailable (not served within WAIT_S).
    """
    kinds = look(api)
    refused = [why for one in kinds for why in _obstacles(api, one)]
    if refused:
        raise ApiRefused(
            "; ".join(refused),
            hint="nothing was changed; take the fields named out of these objects, or keep the release you have",
        )
    if not take_over:
        _unowned(api, kinds)
    done = []
    for one in kinds:
        done.append(_installed(api, one, take_over=take_over))
        told(done[-1])
    return done


def _obstacles(api: Api, one: Standing) -> list[str]:
    """Why this kind cannot be upgraded without a loss."""
    if one.live is None or one.state in {"current", "unready"}:
        return []
    if one.state == "leaving":
        return [f"{one.name} is being removed; wait until it is gone"]
    there, wanted = one.live["spec"], one.wanted["spec"]
    if there.get("scope") != wanted["scope"]:
        return [f"{one.name} is {there.get('scope')}, and would have to be {wanted['scope']}"]
    if there["names"].get("kind") != wanted["names"]["kind"]:
        return [f"{one.name} is the kind {there['names'].get('kind')}, not {one.resource.kind}"]
    ours = {version["name"]: version for version in wanted["versions"]}
    gone = [name for name in (one.live.get("status") or {}).get("storedVersions") or [] if name not in ours]
    if gone:
        return [f"{one.name} has objects stored as {', '.join(gone)}, which this release does not serve"]
    return _lost(api, one, ours)


def _lost(api: Api, one: Standing, ours: dict[str, Any]) -> list[str]:
    """What stored objects would lose by the new schema that the one in the cluster leaves them."""
    resource = served(one)
    versions = (one.live or {})["spec"]["versions"]
    before = _schema(next((version for version in versions if version["name"] == resource.version), {}))
    after = _schema(ours.get(resource.version, {}))
    if before == after:
        return []
    hurt = []
    for document in objects(api, resource):
        lost = misfits(after, document) - misfits(before, document)
        if lost:
            hurt.append(f"{place(document)}: {', '.join(map(str, sorted(lost)[:_NAMED]))}")
    if not hurt:
        return []
    more = f"; and {len(hurt) - _NAMED} more" if len(hurt) > _NAMED else ""
    return [f"{len(hurt)} {one.resource.kind} would lose data: {'; '.join(hurt[:_NAMED])}{more}"]


def _schema(version: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    return found


def _unowned(api: Api, kinds: Sequence[Standing]) -> None:
    """Raises FieldConflict where another manager has what would change, before anything does."""
    for one in kinds:
        if one.live is None:
            continue
        try:
            api.apply(CRDS, one.name, "", msgspec.json.encode(one.wanted), manager=MANAGER, dry_run=True)
        except FieldConflict as conflict:
            owners = ", ".join(sorted({manager for _, manager in conflict.fields})) or "somebody else"
            raise FieldConflict(
                f"{one.name} was installed by {owners}, and what it says would change",
                fields=conflict.fields,
                hint="`reconciler crds apply --take-over` takes it from them; nothing was changed",
            ) from None


def _installed(api: Api, one: Standing, *, take_over: bool) -> Done:
    body = api.apply(CRDS, one.name, "", msgspec.json.encode(one.wanted), manager=MANAGER, force=take_over)
    made = msgspec.json.decode(body, type=dict[str, Any])
    _await(api, one, partial(_is_served, api), "is not served")
    if one.live is None:
        return Done(one.resource.kind, one.name, "installed")
    changed = made["metadata"].get("generation") != one.live["metadata"].get("generation")
    return Done(one.resource.kind, one.name, "upgraded" if changed else "unchanged")


def _is_served(api: Api, now: Standing) -> bool:
    """Whether it is Established and lists."""
    if now.live is None or not established(now.live):
        return False
    next(api.pages(now.resource, limit=1))
    return True


def _is_gone(uid: str, now: Standing) -> bool:
    return now.live is None or now.live["metadata"]["uid"] != uid


def _await(api: Api, one: Standing, done: Callable[[Standing], bool], late: str, hint: str = "") -> None:
    """Until `done`. While kinds change an API server may not answer for any of them, or ask to wait: not yet, then.

    Raises ApiUnavailable with the words `late` where it takes longer than WAIT_S.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        pause_s = _LOOK_S
        try:
            now = standing(api, one.resource)
            if done(now):
                return
            trouble = now.trouble
        except KindMissing as not_yet:
            trouble = not_yet.message
        except ApiUnavailable as busy:
            trouble, pause_s = busy.message, busy.retry_after_s or _LOOK_S
        if time.monotonic() + pause_s > deadline:
            words = f"{one.name} {late} after {WAIT_S:.0f} s: {trouble or 'no reason given'}"
            raise ApiUnavailable(words, hint=hint)
        time.sleep(pause_s)


def losses(api: Api, kinds: Sequence[Standing]) -> list[Loss]:
    """The objects that would go with the kinds. Raises what Api raises: what cannot be counted is not nothing."""
    found = []
    for one in kinds:
        if one.live is None:
            continue
        there = [place(document) for document in objects(api, served(one))] if established(one.live) else []
        if there:
            found.append(Loss(one.resource.kind, len(there), tuple(sorted(there)[:_NAMED])))
    return found


def remove(api: Api, told: Told, *, confirmed: int | None = None, take_over: bool = False) -> list[Done]:
    """Take every kind out of the cluster, with all of its objects. confirmed: how many objects may be lost.

    Raises ApiRefused where objects live and `confirmed` is not their number, FieldConflict where a kind is not ours.
    """
    kinds = look(api)
    foreign = [(one.name, manager) for one in kinds for manager in one.foreign]
    if foreign and not take_over:
        raise FieldConflict(
            "; ".join(f"{name} was installed by {manager}" for name, manager in foreign),
            fields=[("spec", manager) for _, manager in foreign],
            hint="`--take-over` removes it all the same; nothing was changed",
        )
    lost = losses(api, kinds)
    count = sum(one.objects for one in lost)
    if count != (confirmed or 0):
        listed = ", ".join(map(str, lost)) or "no object"
        raise ApiRefused(
            f"removing the kinds deletes {listed} in the whole cluster",
            hint=f"nothing was changed; `reconciler crds remove --confirm {count}` says that these {count} may go",
        )
    counts = {one.kind: one.objects for one in lost}
    done = []
    for one in kinds:
        if one.live is not None:
            uid, version = one.live["metadata"]["uid"], one.live["metadata"]["resourceVersion"]
            if one.state != "leaving":
                api.delete(CRDS, one.name, "", uid=uid, version=version)
            _await(api, one, partial(_is_gone, uid), "is still being removed", _HELD)
        done.append(
            Done(one.resource.kind, one.name, "removed" if one.live else "absent", counts.get(one.resource.kind, 0))
        )
        told(done[-1])
    return done
