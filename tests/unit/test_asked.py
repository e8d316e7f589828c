"""What people ask by annotation."""

import pytest

from reconciler.kube.watch.object import Live
from reconciler.kube.write.annotations import suspension

NOW = "2026-11-22T20:00:00Z"


def live(**asked: str) -> Live:
    annotations = {f"ai.kubeedge.io/{name.replace('_', '-')}": text for name, text in asked.items()}
    return Live("u", "1", 1, {}, annotations, {}, {}, {}, True, "", "", False)


def test_an_object_is_left_alone_until_its_time() -> None:
    asked = live(reconcile="disabled", suspend_reason="moving", suspend_until="2026-11-22T21:00:00Z")
    assert suspension(asked, NOW) == {"actor": "Git", "reason": "moving", "until": "2026-11-22T21:00:00Z"}
    assert suspension(asked, "2026-11-22T21:00:00Z") == {}
    assert suspension(live(reconcile="enabled"), NOW) == {}


@pytest.mark.parametrize("until", ["2026-11-22T19:03:51", "2026-13-99", "tomorrow"])
def test_a_time_that_cannot_be_read_never_ends_and_is_told(until: str) -> None:
    found = suspension(live(reconcile="disabled", suspend_until=until), NOW)
    assert "until" not in found
    assert until in found["reason"]
    assert "no RFC 3339 time with a zone" in found["reason"]
