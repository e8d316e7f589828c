"""What the API server takes and what we take is the same: each odd value alone in a good spec, and several together."""

import json
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.planning.kinds import models
from tests.cluster.crd_documents import SHA, asked, changed, refused
from tests.control_plane.plane import ControlPlane

KINDS = {name: row for name, row in models().items() if row.is_ours}

NAMES: Final = ("m", "a.b", "a-1", "", "A", "-a", "a-", "a..b", "a_b", "ä", "a" * 253, "a" * 254, "a\n")
VERSIONS: Final = (
    *(
        "1",
        "1.10",
        "v 1",
        "a  b",
        "",
        " 1",
        "1 ",
        "a\tb",
        "a\n",
        "x" * 128,
        "x" * 129,
        "ü",
        "\u200b",
        "\u00a0",
        "\u2028",
    ),
)
DIGESTS: Final = ("", SHA, SHA.upper(), SHA[1:], SHA + "0", "g" * 64, SHA + "\n", "0" * 300)
URLS: Final = (
    *("https://h/x", "http://h:8/x", "http://h:/x", "file:///x", "file:x", "HTTPS://h", "http://[::1]:8/", "http:///x"),
    *("ftp://h/x", "http://u@h/x", "http://h/x@y", "http://h/?a=b@c", "http:h", "x", "", "http://h:p/", "http://h/a b"),
    *(
        "http://?x",
        "https://:8/x",
        "http://h#f",
        "file://u:p@h/x",
        "https://h/\u202e",
        "https://h/\n",
        "://h",
        "http://",
    ),
    *("https://h/" + "x" * 2038, "https://h/" + "x" * 2039, "http://h:999999/"),
)
TIMES: Final = (
    *(
        "",
        "2026-12-31",
        "2026-04-31",
        "2026-02-29",
        "2028-02-29",
        "2100-02-29",
        "2000-02-29",
        "0000-01-01",
        "2026-13-01",
    ),
    *("2026-1-1", "20261231", "tomorrow", "2026-12-31T18:00:00Z", "2026-12-31t18:00:00.123456z", "2026-12-31T18:00:00"),
    *("2026-12-31T24:00:00Z", "2026-12-31T18:60:00Z", "2026-12-31T18:00:00.Z", "2026-12-31T18:00:00.1234567Z"),
    *(
        "2026-12-31T18:00:00+14:00",
        "2026-12-31T18:00:00+24:00",
        "2026-12-31 18:00:00Z",
        "2026-02-30T18:00:00Z",
        "1-1-1",
    ),
)
ADDRESSES: Final = (
    *("", "127.0.0.1", "::1", "fe80::1", "127.0.0.01", "1.2.3", "256.1.1.1", "::ffff:1.2.3.4", "h", "fe80::1%eth0"),
    *("[::1]", "1.2.3.4/8", " 1.2.3.4"),
)
ENTRY: Final = {"version": "1", "downloadURL": "http://h/x"}
ENTRIES: Final[tuple[Any, ...]] = (
    [],
    [ENTRY],
    [ENTRY, ENTRY | {"version": "4"}],
    [ENTRY, ENTRY | {"sha256sum": ""}],
    [{}],
    [{"version": "1"}],
)
LABELS: Final[tuple[dict[str, str], ...]] = (
    {},
    {"a": "b"},
    {"a": ""},
    {"a": "b c"},
    {"a": "x" * 63},
    {"a": "x" * 64},
    {"a": "-"},
)
CLOCKS: Final = ("00:00", "23:59", "24:00", "9:00", "12:60", "25:00", "", "noon")
NUMBERS: Final = (0, 1, -1, 65535, 65536, 2**31 - 1, 2**31, 2**53, "1", 1.5, True)
TEXTS: Final[tuple[Any, ...]] = ("", "x", 1, True, [], {})

ODD: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "InferenceModel": {
        "modelName": NAMES,
        "deployToLayer": ("edge", "cloud", "", "device"),
        "frameworkType": ("onnx", "own", "", *TEXTS),
        "nodeName": NAMES,
        "nodeSelector": LABELS,
        "image": ("registry/x:1", *TEXTS),
        "manifest": ENTRIES,
        "manifest.0.version": VERSIONS,
        "manifest.0.downloadURL": URLS,
        "manifest.1.sha256sum": DIGESTS,
        "modelRef": NAMES,
        "targetVersion": ("3", "9", *VERSIONS),
        "servingPort": NUMBERS,
        "replicas": NUMBERS,
    },
    "InferenceModelSet": {
        "edgeSelector": ({}, {"matchLabels": {}}, *({"matchLabels": labels} for labels in LABELS)),
        "defaultVersion": ("1", *VERSIONS),
        "template.spec.modelName": NAMES,
        "template.spec.modelRef": NAMES,
        "template.spec.deployToLayer": ("edge", "cloud", ""),
        "template.spec.manifest": ENTRIES,
        "template.spec.image": ("", "registry/x:1"),
    },
    "Model": {
        "frameworkType": ("onnx", "own", ""),
        "task": TEXTS,
        "labels": ([], ["a", ""]),
        "versions": ENTRIES,
        "versions.0.version": VERSIONS,
        "versions.0.downloadURL": URLS,
        "versions.0.sha256sum": DIGESTS,
        "versions.0.size": NUMBERS,
        "versions.0.metrics": (
            [],
            [{"name": "a", "value": 1}],
            [{"name": "", "value": 1}],
            [{"value": 1.5}],
            [{"name": "a"}],
        ),
    },
    "Dataset": {
        "format": ("csv", "xls", ""),
        "versions": ENTRIES,
        "defaultVersion": ("1", *VERSIONS),
        "versions.0.downloadURL": URLS,
        "versions.0.sha256sum": DIGESTS,
        "edges": ({}, {"bytes": {}}, {"metadata": {"matchLabels": {"a": "b c"}}}),
    },
    "Edge": {
        "address": ADDRESSES,
        "nodeName": NAMES,
        "pins.0.model": NAMES,
        "pins.0.dataset": NAMES,
        "pins.0.version": VERSIONS,
        "pins.0.expires": TIMES,
        "pins.0.reason": TEXTS,
        "pins": (
            [],
            [{}],
            [{"model": "m", "version": "1"}, {"dataset": "m", "version": "1"}],
            [{"model": "m", "version": "1"}] * 2,
        ),
    },
    "Fleet": {
        "prune.maxDeletes": NUMBERS,
        "prune.maxShare": ("", "0%", "100%", "010%", "101%", "5", "-1%", "5%\n"),
        "artifacts": ({}, {"requireDigest": False}, {"allowFile": "yes"}),
        "adopt": (True, False, "true", 1),
        "drift": ([], [{}], [{"policy": "report"}], [{"policy": "report", "kinds": [], "fields": [], "managers": []}]),
        "drift.0.policy": ("correct", "report", "ignore", "", "fix"),
        "drift.0.kinds": (["Edge", "Fleet"], ["Pod"], [""]),
        "drift.0.fields": (
            ["spec"],
            ["spec.a"],
            ['labels["a/b"]', "*", "*.a"],
            [""],
            ["a"],
            ["specs"],
            ["spec\n"],
            ["*" * 257],
        ),
        "drift.0.managers": (["kubectl*", "a b"], [""], ["x" * 129]),
        "freeze.0.from": tuple(
            text for text in TIMES if len(text) < 11
        ),  # the order of a date and a time is ours alone
        "freeze.0.until": tuple(text for text in TIMES if len(text) < 11),
        "freeze.0.days": ([], ["mon"], ["monday"]),
        "freeze.0.timeZone": ("", "UTC", "Europe/Berlin", "Europe Berlin", "../UTC"),
        "freeze.0.scope": ("", "all", "changes", "none"),
        "freeze.0.reason": ("", "r"),
        "freeze.1.from": CLOCKS,
        "freeze.1.until": CLOCKS,
        "freeze.1.days": (["mon", "sun"], [], ["mo"]),
    },
}


def agreed(cluster: ControlPlane, kind: str, fields: dict[str, Any]) -> bool:
    """Whether both take it. Fails where only one does."""
    document = changed(kind, **fields)
    ours = refused(document)
    status, message = asked(cluster, document)
    assert status in {201, 400, 422}, message
    assert (status == 201) == (ours == ""), f"{json.dumps(fields)}\nours: {ours}\ntheirs: {status} {message}"
    return status == 201


@pytest.mark.parametrize("kind", KINDS)
def test_one_odd_value_is_judged_the_same(cluster: ControlPlane, kind: str) -> None:
    for path, values in ODD[kind].items():
        judged = {agreed(cluster, kind, {path: value}) for value in values}
        assert judged == {True, False} or path in {"labels", "versions.0.metrics", "template.spec.image"}, path


@pytest.mark.parametrize("kind", KINDS)
def test_several_odd_values_are_judged_the_same(control_plane: ControlPlane, cluster: ControlPlane, kind: str) -> None:
    """Where one value makes another matter: an image its framework, a manifest its target."""
    pairs = [(path, value) for path, values in ODD[kind].items() for value in values]
    judged = {True: 0, False: 0}

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(st.lists(st.sampled_from(pairs), min_size=2, max_size=3, unique_by=lambda pair: pair[0]))
    def same(drawn: list[tuple[str, Any]]) -> None:
        ordered = dict(sorted(drawn, key=lambda pair: pair[0], reverse=True))  # what is inside a list before the list
        judged[agreed(cluster, kind, ordered)] += 1

    same()
    assert min(judged.values()) >= 10, judged  # both judgements were asked for
