"""A pin is written into a user's file, and nothing else in it moves."""

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reconciler.errors import NameUnknown, RepositoryRefused, UsageError
from reconciler.model.declaration import declare
from reconciler.model.kind import to_json
from reconciler.planning.kinds import models
from reconciler.sources.documents import read_documents
from reconciler.sources.edit import PINS, EdgeFile, remove_pin, set_pin

HEAD = """# Berlin
apiVersion: ai.kubeedge.io/v1alpha1        # edges/berlin/berlin-07.yaml
kind:   Edge
metadata: { name: berlin-07,labels: {site: berlin}}
"""
BEFORE = "apiVersion: ai.kubeedge.io/v1alpha1\nkind: Edge\nmetadata: {name: other}\nspec: {pins: []}   # not me\n---\n"
AFTER = "---\n# broken, and none of our business\nkind: [\n"
SPECS = {
    "none": "",
    "null": "spec:\n",
    "tilde": "spec: ~\n",
    "empty": "spec: {}\n",
    "other field": "spec:\n  address:   127.0.0.2   # loopback\n\n# end\n",
    "pins null": "spec:\n  pins:\n  address: 127.0.0.2\n",
    "pins empty": "spec:\n  pins: [ ]   # none\n",
    "flow items": 'spec:\n  pins:\n    - { model: old,   version: "1" }  # first\n    # tail\n  nodeName: n7\n',
    "block items": "spec:\n  pins:\n  -   model: old   # m\n      version: '1'\n      # inner\n  nodeName: n7\n",
    "dash alone": "spec:\n    pins:\n      -\n        model: old\n        version: '1'\n",
    "all flow": "spec: {nodeName: n7, pins: [ {model: old, version: '1'}, ]}",
    "many lines of flow": "spec:\n  pins: [\n    {model: old, version: '1'},   # why\n  ]\n",
    "crlf": "spec:\r\n  pins:\r\n    - model: old\r\n      version: '1'   # x\r\n",
    "no line end": "spec:\n  pins:\n    - {model: old, version: '1'}",
}  # fmt: skip


def pins(text: str) -> list[dict[str, str]]:
    for document in read_documents("", text.encode())[0]:
        declaration, _ = declare(document, models())
        if declaration and declaration.identity.name == "berlin-07":
            found: list[dict[str, str]] = to_json(declaration.spec).get("pins", [])
            return found
    raise AssertionError("no berlin-07 in\n" + text)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(("before", "after"), [("", ""), (BEFORE, ""), (BEFORE, AFTER)])
def test_a_pin_comes_and_goes_and_nothing_else_moves(name: str, before: str, after: str) -> None:
    middle = HEAD + SPECS[name] + ("\n" if after and not SPECS[name].endswith("\n") else "")
    text = before + middle + after
    old = pins(text)
    new = set_pin(text, edge="berlin-07", model="faces", version="3", reason='"4" is worse', expires="2026-12-31")
    pin = {"model": "faces", "version": "3", "reason": '"4" is worse', "expires": "2026-12-31"}
    assert pins(new) == [*old, pin]
    assert new.startswith(before + HEAD)
    assert new.endswith(after)
    for line in middle.splitlines():
        if "#" in line:
            assert line.rpartition("#")[2] in new  # every comment is there
    removed = remove_pin(new, edge="berlin-07", model="faces")
    assert pins(removed) == old
    if old:
        assert removed == text


def test_a_pin_is_written_in_the_style_of_its_neighbours() -> None:
    block = set_pin(HEAD + SPECS["block items"], edge="berlin-07", dataset="faces", version="2026-11")
    assert "      # inner\n" in block
    assert "  - dataset: faces\n    version: '2026-11'\n" in block
    flow = set_pin(HEAD + SPECS["flow items"], edge="berlin-07", dataset="no", version="it's")
    assert "    - {dataset: \"no\", version: 'it''s'}\n" in flow
    crlf = set_pin(HEAD.replace("\n", "\r\n") + SPECS["crlf"], edge="berlin-07", dataset="faces", version="1")
    assert crlf.count("\n") == crlf.count("\r\n")


@pytest.mark.parametrize("name", [name for name in SPECS if "old" in SPECS[name]])
def test_a_new_version_changes_the_version_only(name: str) -> None:
    text = HEAD + SPECS[name]
    new = set_pin(text, edge="berlin-07", model="old", version="2")
    at = next(quoted for quoted in ("'1'", '"1"') if quoted in text)
    assert new == text.replace(at, "'2'")


def test_reason_and_expiry_stay_unless_they_are_given_and_go_when_they_are_empty() -> None:
    text = (
        HEAD
        + "spec:\n  pins:\n    - reason: was\n      model: old\n      version: '1'   # v\n      expires: 2026-01-01\n"
    )
    assert set_pin(text, edge="berlin-07", model="old", version="2", reason="", expires="") == HEAD + (
        "spec:\n  pins:\n    - model: old\n      version: '2'   # v\n"
    )
    assert set_pin(text, edge="berlin-07", model="old", version="2") == text.replace("'1'", "'2'")
    assert set_pin(text, edge="berlin-07", model="old", version="1", reason="is") == text.replace("was", "is")
    text = HEAD + "spec: {pins: [{reason: was, model: old, version: 1, expires: 2026-01-01}]}\n"
    assert set_pin(text, edge="berlin-07", model="old", version="2", reason="", expires="") == HEAD + (
        "spec: {pins: [{model: old, version: '2'}]}\n"
    )
    assert set_pin(text, edge="berlin-07", model="old", version="1", reason="a: b", expires="2027-01-01") == HEAD + (
        "spec: {pins: [{reason: \"a: b\", model: old, version: '1', expires: 2027-01-01}]}\n"
    )


def test_the_byte_order_mark_stays() -> None:
    new = set_pin("\ufeff" + HEAD, edge="berlin-07", model="m", version="1")
    assert new == "\ufeff" + HEAD + "spec:\n  pins:\n    - {model: m, version: '1'}\n"


@pytest.mark.parametrize("version", ["1.10", "no", "012", "1e3", "~", "null", "a b", "#x", "ü'\"", "-"])
def test_fault_115_versions_are_always_quoted(version: str) -> None:
    new = set_pin(HEAD, edge="berlin-07", model="m", version=version)
    assert pins(new) == [{"model": "m", "version": version}]
    (document,), _ = read_documents("", new.encode())
    assert declare(document, models())[1] == []


@pytest.mark.parametrize("indent", [None, 2, "\t"])
@pytest.mark.parametrize("spec", [None, {}, {"address": "127.0.0.2"}, {"pins": []}])
@pytest.mark.parametrize("around", ["alone", "list", "lines"])
def test_a_pin_in_json_is_json_in_a_list_and_beside_other_values(
    indent: int | str | None, spec: dict[str, object] | None, around: str
) -> None:
    head = {"apiVersion": "ai.kubeedge.io/v1alpha1", "kind": "Edge"}
    mine: dict[str, Any] = {**head, "metadata": {"name": "berlin-07"}, **({"spec": spec} if spec is not None else {})}
    other = {**head, "metadata": {"name": "other", "annotations": {"x": "😀 it's {"}}, "spec": {}}
    whole: dict[str, list[dict[str, Any]]] = {
        "alone": [mine],
        "list": [{"apiVersion": "v1", "kind": "List", "items": [other, mine, other]}],
    }
    values = whole.get(around, [other, mine, other])
    text = "\n".join(json.dumps(value, indent=indent) for value in values)
    new = set_pin(text, edge="berlin-07", model="m", version="1", reason='ä 😀 "x"')
    new = set_pin(new, edge="berlin-07", model="m", version="2", reason="", expires="2026-12-31")
    new = set_pin(new, edge="berlin-07", dataset="d", version="3")
    pinned = [{"model": "m", "version": "2", "expires": "2026-12-31"}, {"dataset": "d", "version": "3"}]
    assert pins(new) == pinned
    found, at = [], 0
    while at < len(new):
        value, at = json.JSONDecoder().raw_decode(new, at)
        found.append(value)
        at += len(new[at:]) - len(new[at:].lstrip())
    (edge,) = [one for one in (found[0].get("items") or found) if one["metadata"]["name"] == "berlin-07"]
    assert edge["spec"] == {**(spec or {}), "pins": pinned}
    assert len(found) == len(values)
    back = remove_pin(remove_pin(new, edge="berlin-07", model="m"), edge="berlin-07", dataset="d")
    assert pins(back) == []


def test_a_pin_in_a_list_of_yaml_keeps_its_neighbours() -> None:
    item = "- apiVersion: ai.kubeedge.io/v1alpha1\n  kind: Edge\n  metadata: {{name: {}}}\n  # of {}\n"
    text = "apiVersion: v1\nkind: List\nitems:\n" + "".join(item.format(n, n) for n in ("a", "berlin-07", "z"))
    new = set_pin(text, edge="berlin-07", model="m", version="1")
    assert pins(new) == [{"model": "m", "version": "1"}]
    added = "  spec:\n    pins:\n      - {model: m, version: '1'}\n"
    assert new.replace(added, "") == text
    assert pins(remove_pin(new, edge="berlin-07", model="m")) == []


def test_what_cannot_be_edited_is_refused() -> None:
    with pytest.raises(UsageError, match="one model or for one dataset"):
        set_pin(HEAD, edge="berlin-07", version="1")
    with pytest.raises(UsageError, match="one model or for one dataset"):
        remove_pin(HEAD, edge="berlin-07", model="a", dataset="b")
    with pytest.raises(NameUnknown, match="declares no Edge berlin-08"):
        set_pin(HEAD, edge="berlin-08", model="a", version="1")
    with pytest.raises(NameUnknown, match="no pin for model a"):
        remove_pin(HEAD, edge="berlin-07", model="a")
    with pytest.raises(RepositoryRefused) as refused:
        set_pin(HEAD + "spec: {adress: x}\n", edge="berlin-07", model="a", version="1")
    assert [problem.code for problem in refused.value.problems] == ["RX210"]
    with pytest.raises(RepositoryRefused) as refused:
        set_pin(HEAD + "spec: {address: &a 127.0.0.1}\n", edge="berlin-07", model="a", version="1")
    assert [problem.code for problem in refused.value.problems] == ["RX203"]
    with pytest.raises(RepositoryRefused) as refused:
        set_pin(HEAD, edge="berlin-07", model="a", version="1", expires="tomorrow")
    assert [problem.code for problem in refused.value.problems] == ["RX213"]


def test_explicit_keys_are_edited_or_refused() -> None:
    first = HEAD + "spec:\n  pins:\n    - ? reason\n      : was\n      ? model\n      : old\n      version: '1'\n"
    assert pins(set_pin(first, edge="berlin-07", model="old", version="2", reason="")) == [
        {"model": "old", "version": "2"}
    ]
    last = HEAD + "spec:\n  pins:\n    - model: old\n      version: '1'\n      ? reason\n      : was\n"
    with pytest.raises(UsageError, match="cannot be edited safely"):
        set_pin(last, edge="berlin-07", model="old", version="2", reason="")


def test_comments_inside_a_flow_mapping() -> None:
    text = HEAD + "spec:\n  pins: [{model: old, version: '1' # x\n      }, # y\n    {model: other, version: '1'}]\n"
    new = set_pin(text, edge="berlin-07", model="old", version="2", reason="why")
    assert new == text.replace("'1' # x", "'2', reason: why # x")


def test_an_edit_that_would_change_more_is_refused() -> None:
    file = EdgeFile(HEAD + "spec: {address: 127.0.0.2, pins: [{model: a, version: '1'}]}\n", "berlin-07")
    file.remove(("spec", "address"))
    with pytest.raises(UsageError, match="cannot be edited safely"):
        file.checked(PINS, file.items(PINS))
    file = EdgeFile(BEFORE + HEAD, "berlin-07")
    with pytest.raises(UsageError, match="cannot be edited safely"):
        file.checked(PINS, [{"model": "a", "version": "1"}])


versions = st.text(st.sampled_from("0123456789.abv-' \"#:äß世"), min_size=1, max_size=9)
names = st.sampled_from(["faces", "no", "1", "a.b", "x-1"])


@settings(max_examples=150, deadline=None)
@given(
    spec=st.sampled_from([spec for spec in SPECS.values() if "old" in spec]),
    version=versions,
    column=st.integers(1, 4),
    crlf=st.booleans(),
)
def test_editing_one_scalar_leaves_every_other_byte_alone(spec: str, version: str, column: int, crlf: bool) -> None:
    assume(version == version.strip())
    text = HEAD + spec.replace("version: ", "version:" + " " * column)
    text = text.replace("\r\n", "\n").replace("\n", "\r\n") if crlf else text
    new = set_pin(text, edge="berlin-07", model="old", version=version)
    at = next(quoted for quoted in ("'1'", '"1"') if quoted in text)
    assert new == text.replace(at, "'" + version.replace("'", "''") + "'")


@settings(max_examples=150, deadline=None)
@given(
    spec=st.sampled_from(list(SPECS.values())),
    moves=st.lists(st.tuples(names, st.sampled_from(["model", "dataset"]), versions | st.none()), max_size=6),
    reason=st.text(max_size=12),
)
def test_any_sequence_of_pins_ends_as_a_dictionary_would(
    spec: str, moves: list[tuple[str, str, str | None]], reason: str
) -> None:
    text, expected = BEFORE + HEAD + spec, {("model", "old"): "1"} if "old" in spec else {}
    for name, field, version in moves:
        if version is None:
            if (field, name) in expected:
                del expected[field, name]
                text = remove_pin(text, edge="berlin-07", **{field: name})
        elif version == version.strip():
            expected[field, name] = version
            kept = reason if reason.isprintable() else ""
            text = set_pin(text, edge="berlin-07", version=version, reason=kept, **{field: name})
    found = {
        (field, pin[field]): pin["version"] for pin in pins(text) for field in ("model", "dataset") if field in pin
    }
    assert found == expected
    assert text.startswith(BEFORE + HEAD)
