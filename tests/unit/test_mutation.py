"""Versions are immutable, wherever they are listed."""

import pytest

from reconciler.planning.declared import Object
from reconciler.planning.mutation import mutated_version
from tests.fleets import catalogue, dataset, edge, entries, model_set, plain, sha


def entry_of(obj: Object) -> dict[str, str]:
    spec = obj.spec
    rows = spec.get("versions") or spec.get("manifest") or spec["template"]["spec"]["manifest"]
    found: dict[str, str] = rows[0]
    return found


@pytest.mark.parametrize("make", [catalogue, dataset, plain, model_set])
def test_another_digest_under_a_known_version_is_named_at_its_line(make: type[Object]) -> None:
    old, new = make("m"), make("m")  # type: ignore[call-arg]  # builders, which take a name
    assert mutated_version(old, new) is None
    entry_of(new)["sha256sum"] = sha("another")
    found = mutated_version(old, new)
    assert found is not None
    assert (found.code, found.path) == ("RX221", new.path)
    assert found.line == next(new.lines[name] for name in ("versions", "manifest", "template") if name in new.lines)
    assert sha("another")[:12] in found.message


def test_a_new_version_a_removed_one_and_a_digest_that_was_missing_are_no_mutations() -> None:
    old, new = catalogue("m", "1 2"), catalogue("m", "2 3")
    assert mutated_version(old, new) is mutated_version(None, new) is None
    old.spec["versions"] = entries("m", "2")
    del old.spec["versions"][0]["sha256sum"]
    assert mutated_version(old, new) is None
    assert mutated_version(edge("e1"), edge("e1")) is None
