"""What of an object is kept, and which differences count."""

import json
import tracemalloc
from typing import Any

import msgspec
import pytest

from reconciler.kube.watch.object import Decoder, Live, differs
from tests.kube_objects import MODELS, event, model, owner

OURS = "reconciler"
SPEC: dict[str, Any] = {
    "modelName": "digits",
    "targetVersion": "3",
    "manifest": [{"version": "3", "downloadURL": "https://models.example.com/3.tar.gz"}],
    "metrics": [{"name": "accuracy"}],
}
FIELDS: dict[str, Any] = {
    "f:spec": {
        "f:modelName": {},
        "f:targetVersion": {},
        "f:manifest": {'k:{"version":"3"}': {".": {}, "f:version": {}, "f:downloadURL": {}}},
        "f:metrics": {},
    }
}


def read(*owners: dict[str, Any], **meta: Any) -> Live:
    return Decoder(OURS, MODELS).object(model("digits", "7", SPEC, managedFields=list(owners), **meta))


def test_only_what_is_needed_is_kept() -> None:
    annotations = {
        "ai.kubeedge.io/commit": "c0ffee",
        "config.kubernetes.io/depends-on": "x",
        "kubectl.kubernetes.io/last-applied-configuration": "{...}",
    }
    live = read(owner(OURS, FIELDS), annotations=annotations, labels={"site": "berlin"})
    assert live == Live(
        uid="uid-digits",
        version="7",
        generation=1,
        labels={"site": "berlin"},
        annotations={"ai.kubeedge.io/commit": "c0ffee", "config.kubernetes.io/depends-on": "x"},
        spec=SPEC,
        status={},
        foreign={},
        ours=True,
        writer="",
        created="2026-11-22T09:00:00Z",
        deleting=False,
    )


def test_an_event_is_read_as_its_object_is() -> None:
    body = model("digits", "7", SPEC, deletionTimestamp="2026-11-22T11:00:00Z")
    assert Decoder(OURS, MODELS).event(event("MODIFIED", body)) == Decoder(OURS, MODELS).object(body)
    assert Decoder(OURS, MODELS).object(body).deleting


def test_who_has_a_field_that_we_do_not() -> None:
    mine = {"f:spec": {name: below for name, below in FIELDS["f:spec"].items() if name != "f:targetVersion"}}
    edited = owner("kubectl-edit", {"f:spec": {"f:targetVersion": {}, "f:modelName": {}}})
    live = read(owner(OURS, mine), edited)
    assert live.foreign == {"spec.targetVersion": "kubectl-edit"}  # modelName is ours as well
    assert (live.ours, live.writer) == (True, "kubectl-edit")


def test_of_several_owners_the_newest_writer_is_named() -> None:
    old, new = "2026-11-22T08:00:00Z", "2026-11-22T12:00:00Z"
    fields: dict[str, Any] = {"f:spec": {"f:modelName": {}}}
    live = read(owner("later", fields, time=new), owner("sooner", fields, time=old))
    assert (live.foreign, live.writer, live.ours) == ({"spec.modelName": "later"}, "later", False)


def test_writes_to_a_subresource_are_nobodys_edit() -> None:
    live = read(owner(OURS, FIELDS), owner("kubelet", {"f:status": {"f:url": {}}}, sub="status"))
    assert (live.foreign, live.writer) == ({}, "")


def test_what_goes_by_another_subresource_is_an_edit() -> None:
    live = read(owner(OURS, {}), owner("autoscaler", {"f:spec": {"f:targetVersion": {}}}, sub="scale"))
    assert (live.foreign, live.writer) == ({"spec.targetVersion": "autoscaler"}, "autoscaler")


def test_what_nobody_sent_is_nobodys_where_the_api_server_fills_in_fields() -> None:
    body = model(
        "digits", "7", SPEC, managedFields=[owner(OURS, {"f:spec": {"f:manifest": FIELDS["f:spec"]["f:manifest"]}})]
    )
    filled = Decoder(OURS, MODELS._replace(defaulted=True)).object(body).foreign
    assert filled == dict.fromkeys(["spec.modelName", "spec.targetVersion", "spec.metrics"], "")
    assert Decoder(OURS, MODELS).object(body).foreign == {}


def test_a_kind_may_say_what_is_wanted_beside_a_spec() -> None:
    owners = [owner("kubectl", {"f:data": {"f:a": {}}})]
    body = json.loads(model("digits", "7", managedFields=owners)) | {"data": {"a": "1"}, "binaryData": {"b": "eA=="}}
    reader = Decoder(OURS, MODELS._replace(content=("data",)))
    live = reader.object(json.dumps(body).encode())
    assert (live.parts, live.foreign) == ({"data": {"a": "1"}}, {"data.a": "kubectl"})
    assert reader.event(event("ADDED", json.dumps(body).encode())) == live
    other = reader.object(json.dumps(body | {"data": {"a": "2"}}).encode(), live)
    assert differs(live, other)


def test_other_peoples_annotations_are_not_looked_at() -> None:
    fields: dict[str, Any] = {"f:metadata": {"f:annotations": {"f:team": {}, "f:ai.kubeedge.io/prune": {}}}}
    live = read(owner("kubectl", fields), annotations={"team": "b", "ai.kubeedge.io/prune": "disabled"})
    assert live.foreign == {'annotations["ai.kubeedge.io/prune"]': "kubectl"}


def test_what_is_owned_as_a_whole_is_owned_in_every_leaf() -> None:
    assert read(owner("kubectl", {"f:spec": {"f:manifest": {}}})).foreign == {
        "spec.manifest[version=3].version": "kubectl",
        "spec.manifest[version=3].downloadURL": "kubectl",
    }


def test_who_made_an_empty_map_does_not_have_what_others_put_in() -> None:
    made = owner("kubectl", {"f:metadata": {"f:labels": {}}})
    ours = owner(OURS, {"f:metadata": {"f:labels": {"f:site": {}}}})
    assert read(made, ours, labels={"site": "berlin"}).foreign == {}


def test_what_is_equal_is_kept_once() -> None:
    reader = Decoder(OURS, MODELS)
    first, second = (reader.object(model(name, "7", {**SPEC, "nodeName": name})) for name in ("a", "b"))
    assert first.spec["manifest"] is second.spec["manifest"]
    again = reader.object(model("a", "8", {**SPEC, "nodeName": "a"}), first)
    assert again.spec is first.spec


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        ({"resourceVersion": "8", "generation": 2}, False),
        ({"annotations": {"ai.kubeedge.io/operation-id": "o", "ai.kubeedge.io/seq": "9", "x": "y"}}, False),
        ({"annotations": {"ai.kubeedge.io/reconcile": "disabled"}}, True),
        ({"labels": {"site": "berlin"}}, True),
        ({"uid": "another"}, True),
        ({"deletionTimestamp": "2026-11-22T11:00:00Z"}, True),
        ({"managedFields": [owner("kubectl", FIELDS)]}, True),
        ({"managedFields": [owner(OURS, FIELDS)]}, True),
        ({"spec": {**SPEC, "targetVersion": "4"}}, True),
        ({"status": {"url": "http://127.0.0.1"}}, False),
    ],
)
def test_which_differences_count(meta: dict[str, Any], told: bool) -> None:
    reader = Decoder(OURS, MODELS)
    document = json.loads(model("digits", "7", SPEC))
    tops = {name: meta.pop(name) for name in ("spec", "status") if name in meta}
    document["metadata"] |= meta
    before = reader.object(model("digits", "7", SPEC))
    after = reader.object(json.dumps(document | tops).encode(), before)
    assert differs(before, after) == told
    assert differs(before, after, status=True) == (told or "status" in tops)


@pytest.mark.slow
def test_memory_per_object() -> None:
    """Two manifest entries each, no text shared but the catalogue's words: the worst that a fleet can be."""

    def body(n: int) -> bytes:
        entries = [
            {
                "version": version,
                "downloadURL": f"https://models.example.com/{n}/model_emotion_{version}.tar.gz",
                "sha256sum": f"{n * 7 + int(version):064x}",
                "size": 5150000,
            }
            for version in "34"
        ]
        spec = {**SPEC, "modelName": f"model-{n}", "nodeName": f"node-{n}", "servingPort": 8080, "manifest": entries}
        annotations = {"ai.kubeedge.io/operation-id": f"{n:032x}", "ai.kubeedge.io/commit": "a" * 40}
        labels = {"app.kubernetes.io/managed-by": OURS, "ai.kubeedge.io/edge": f"edge-{n}"}
        owners = [owner(OURS, FIELDS)]
        return model(f"model-{n}", str(n), spec, annotations=annotations, labels=labels, managedFields=owners)

    reader, count = Decoder(OURS, MODELS), 10_000
    reader.object(body(0))
    tracemalloc.start()
    try:
        kept = [reader.object(body(n)) for n in range(count)]
        used = tracemalloc.get_traced_memory()[0] / len(kept)
    finally:
        tracemalloc.stop()
    print(f"{used:.0f} bytes an object")
    assert used <= 6 * 1024


def test_an_annotation_of_any_group_is_kept_where_it_is_ours() -> None:
    owned: dict[str, Any] = {"f:metadata": {"f:annotations": {"f:example.com/note": {}}}}
    metadata = {
        "name": "a",
        "uid": "1",
        "resourceVersion": "5",
        "annotations": {"example.com/note": "declared", "example.com/other": "not ours"},
        "managedFields": [{"manager": "reconciler", "operation": "Apply", "fieldsV1": owned}],
    }
    live = Decoder("reconciler", MODELS).object(msgspec.json.encode({"metadata": metadata, "spec": {}}))
    assert live.annotations == {"example.com/note": "declared"}
