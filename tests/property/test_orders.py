"""Orders of generated fleets are those that one expansion made before declare and deliver were two that compose.

`tests/golden/orders/fleets.jsonl` has a line a seed, written by that code: the first with every order as it is, the
others with the digest of all. UPDATE_GOLDEN=1 writes them anew.
"""

import hashlib
import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from reconciler.history.state import Served
from reconciler.planning.declared import Declared, Object
from reconciler.planning.deliver import expand
from reconciler.planning.desired import Desired, Frozen
from reconciler.planning.reach import every
from reconciler.planning.versions import Circumstances
from tests.fleets import NOW, catalogue, dataset, declare, edge, model_set, plain, sha

GOLDEN = Path(__file__).parents[1] / "golden" / "orders" / "fleets.jsonl"
WRITTEN_OUT, SEEDS = 16, 200
# Names that run into each other: `a` on `b-c` and `a-b` on `c` would both be `a-b-c`.
SETS, EDGES, MODELS = ["a", "a-b", "m", "s" * 60], ["c", "b-c", "e", "f"], ["m", "a-b-c", "m-e", "p", "q"]


def fleet(chance: Random) -> list[Object]:
    """Declared objects of every sort, right and wrong."""
    objects = [
        *(_edge(chance, name) for name in EDGES if chance.random() < 0.8),
        *(_set(chance, name) for name in SETS if chance.random() < 0.6),
        *(_plain(chance, name) for name in MODELS if chance.random() < 0.4),
        *(_without_digest(chance, catalogue("m", "1 2")) for _ in range(chance.random() < 0.8)),
        *(_without_digest(chance, _dataset(chance, name)) for name in ("d", "m") if chance.random() < 0.5),
    ]
    chance.shuffle(objects)
    return objects


def _labels(chance: Random) -> dict[str, str]:
    return {name: chance.choice("ab") for name in ("site", "ring") if chance.random() < 0.4}


def _edge(chance: Random, name: str) -> Object:
    days = timedelta(days=chance.choice([-1, 1]))
    expires = (datetime.fromisoformat(NOW) + days).date().isoformat()
    pins = [
        {what: which, "version": chance.choice("11112229")}
        | ({"reason": "1 misreads sevens"} if chance.random() < 0.3 else {})
        | ({"expires": expires} if chance.random() < 0.4 else {})
        for what, which in (("model", "m"), ("model", "a"), ("dataset", "d"))
        if chance.random() < 0.3
    ]
    node: dict[str, str] = chance.choice([{}, {"nodeName": "n1"}, {"nodeName": "n2"}])
    address: dict[str, str] = chance.choice([{}, {"address": "127.0.0.2"}])
    return edge(name, _labels(chance), pins, **node, **address)


def _set(chance: Random, name: str) -> Object:
    more: dict[str, Any] = {"servingPort": chance.choice([0, *range(8081, 8087)])}
    odd: list[dict[str, Any]] = [
        *[{}] * 5,
        {"frameworkType": "tensorflow"},
        {"replicas": 0},
        {"replicas": 3},
        {"image": "example.com/m:1"},
    ]
    ref = chance.choice(["", "", "", "m", "m", "m", "m", "x"])
    return _without_digest(
        chance, model_set(name, chance.choice("11122229"), on=_labels(chance), ref=ref, **more, **chance.choice(odd))
    )


def _plain(chance: Random, name: str) -> Object:
    node = chance.choice(["n1", "n2", "e", "c", "", "n9"])
    where: dict[str, Any] = {"nodeName": node} if node else {}
    where = where | chance.choice([{}, {"nodeSelector": {"site": "a"}}])
    odd: list[dict[str, Any]] = [
        {},
        {},
        {},
        {"replicas": 2},
        {"deployToLayer": "cloud"},
        {"targetVersion": ""},
        {"modelRef": "m", "manifest": []},
    ]
    more = {"servingPort": chance.choice([0, *range(8081, 8087)]), **where, **chance.choice(odd)}
    return _without_digest(chance, plain(name, **{"target": chance.choice("12")} | more))


def _dataset(chance: Random, name: str) -> Object:
    to, known = ([None, {}, _labels(chance)][chance.randrange(3)] for _ in range(2))
    return dataset(name, chance.choice("11222229"), to=to, known=known)


def _without_digest(chance: Random, source: Object) -> Object:
    """The same, or without what pins the bytes of some versions."""
    spec = json.loads(json.dumps(source.spec))
    template = spec.get("template", {}).get("spec", spec)
    for entry in [*template.get("manifest", ()), *template.get("versions", ())]:
        if chance.random() < 0.1:
            del entry["sha256sum"]
        if chance.random() < 0.3:
            del entry["size"]
    return msgspec.structs.replace(source, spec=spec)


def around(chance: Random, served: dict[str, Served]) -> Circumstances:
    artifacts = {"requireDigest": chance.random() < 0.5, "allowFile": chance.random() < 0.5}
    seen = {f"https://models.example.com/{name}-1.tar.gz 1": sha(name) for name in ("m", "a", "p", "d")}
    return Circumstances(chance.choice([{}, {"artifacts": artifacts}]), chance.choice([{}, seen]), NOW, served)


def orders(seed: int) -> dict[str, Any]:
    """What every key of a generated fleet, and of the one before it, should be."""
    chance = Random(seed)
    first, then = fleet(chance), {obj.identity: obj for obj in fleet(chance)}
    kept = {obj.identity: obj for obj in first if chance.random() < 0.7}
    before, now = declare(*first), declare(*(then | kept).values())
    served: dict[str, Served] = {}
    earlier = _expanded(before, before, around(chance, served))
    served |= {
        key: Served(order=one["spec"]) for key, one in earlier.items() if "spec" in one and chance.random() < 0.9
    }
    return _expanded(before, now, around(chance, served))


def _expanded(before: Declared, now: Declared, circumstances: Circumstances) -> dict[str, Any]:
    found = {}
    for key in sorted(set(every(before)) | set(every(now))):
        one = expand(key, now, circumstances)
        assert one.key == key
        told: dict[str, Any] = {}
        if isinstance(one, Desired):
            remarks = [remark.as_dict() for remark in one.remarks]
            told = {
                "spec": one.spec,
                "policy": one.policy,
                "said": [one.origin, one.because, one.until],
                "told": remarks,
            }
        elif isinstance(one, Frozen):
            told = {"problem": one.problem and one.problem.as_dict()}
        found[str(key)] = told
    return found


def line(seed: int) -> str:
    """A seed's orders, or beyond the first seeds their digest."""
    found = orders(seed)
    text = json.dumps(found, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(
        {"seed": seed} | ({"orders": found} if seed < WRITTEN_OUT else {"sha256": digest}), sort_keys=True
    )


if os.environ.get("UPDATE_GOLDEN"):
    GOLDEN.write_text("".join(f"{line(seed)}\n" for seed in range(SEEDS)))


@pytest.mark.parametrize("seed", range(WRITTEN_OUT))
def test_orders_are_those_of_one_expansion(seed: int) -> None:
    known = json.loads(GOLDEN.read_text().splitlines()[seed])
    assert orders(seed) == known["orders"]


def test_orders_of_many_fleets_are_those_of_one_expansion() -> None:
    known = GOLDEN.read_text().splitlines()
    assert len(known) == SEEDS
    assert [seed for seed in range(WRITTEN_OUT, SEEDS) if line(seed) != known[seed]] == []
