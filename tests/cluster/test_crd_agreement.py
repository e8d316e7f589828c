"""What the API server takes and what we take is the same, over many specs of every kind."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.model.identity import API_VERSION
from reconciler.model.kinds import KINDS
from tests.cluster.crd_documents import SHA, asked, refused
from tests.control_plane.plane import ControlPlane

ENTRY = {"version": "1", "downloadURL": "http://h/x"}
NAMES = st.sampled_from(["m", "a.b", "a-1", "", "A", "-a", "a_b", "a" * 253, "a" * 254])
VERSIONS = st.sampled_from(["1", "2", "1.10", "v 1", " 1", "1 ", "a\tb", "x" * 128, "x" * 129, "ü", "\u200b"])
DIGESTS = st.sampled_from(["", SHA, SHA.upper(), SHA[1:], SHA + "0", "g" * 64])
URLS = st.sampled_from(
    [
        *(
            "https://h/x",
            "http://h:8/x",
            "http://h:/x",
            "file:///x",
            "file:x",
            "HTTPS://h",
            "http://[::1]:8/",
            "http:///x",
        ),
        *("ftp://h/x", "http://u@h/x", "http://h/x@y", "http://h/?a=b@c", "http:h", "x", "http://h:p/", "http://h/a b"),
        *("http://?x", "https://:8/x", "http://h#f", "file://u:p@h/x", "https://h/\u202e"),
    ]
)
TIMES = st.sampled_from(
    [
        *(
            "",
            "2026-12-31",
            "2026-02-29",
            "2028-02-29",
            "2100-02-29",
            "2000-02-29",
            "0000-01-01",
            "2026-13-01",
            "2026-1-1",
        ),
        *("2026-12-31T18:00:00Z", "2026-12-31t18:00:00.123456z", "2026-12-31T18:00:00", "2026-12-31T24:00:00Z"),
        *("2026-12-31T18:00:00+14:00", "2026-12-31T18:00:00+24:00", "2026-12-31 18:00:00Z", "20261231", "tomorrow"),
    ]
)
ADDRESSES = st.sampled_from(
    [
        *(
            "",
            "127.0.0.1",
            "::1",
            "fe80::1",
            "127.0.0.01",
            "1.2.3",
            "256.1.1.1",
            "::ffff:1.2.3.4",
            "h",
            "fe80::1%eth0",
            "[::1]",
        )
    ]
)
ENTRIES = st.lists(
    st.fixed_dictionaries({"version": VERSIONS, "downloadURL": URLS}, optional={"sha256sum": DIGESTS}),
    max_size=3,
    unique_by=lambda entry: entry["version"],
)
GOOD_ENTRIES = st.sampled_from([[], [ENTRY], [ENTRY, ENTRY | {"version": "2"}]])
SERVICES = {
    "modelName": NAMES,
    "deployToLayer": st.sampled_from(["edge", "edge", "cloud", ""]),
    "frameworkType": st.sampled_from(["onnx", "onnx", "tensorflow", "own", ""]),
}
PLACES = {
    "nodeName": NAMES,
    "nodeSelector": st.sampled_from([{}, {"a": "b"}, {"a": ""}, {"a": "b c"}, {"a": "x" * 64}]),
}
SOURCES = {
    "image": st.sampled_from(["", "registry/x:1"]),
    "manifest": st.one_of(GOOD_ENTRIES, GOOD_ENTRIES, ENTRIES),
    "modelRef": st.sampled_from(["", "", "m", "M"]),
}
TARGETS = st.sampled_from(["", "1", "2", "9", " 1"])
PINS = st.fixed_dictionaries(
    {"version": VERSIONS}, optional={"model": NAMES, "dataset": NAMES, "reason": st.just(""), "expires": TIMES}
)
CLOCKS = st.sampled_from(["00:00", "24:00", "9:00", "23:59", "12:60"])
WINDOWS = st.one_of(
    st.fixed_dictionaries(
        {"from": TIMES.filter(lambda text: len(text) < 11), "until": TIMES.filter(lambda text: len(text) < 11)}
        | {"reason": st.sampled_from(["r", ""])},
        optional={"scope": st.sampled_from(["", "all", "changes", "none"]), "days": st.just([])},
    ),
    st.fixed_dictionaries(
        {"from": CLOCKS, "until": CLOCKS, "reason": st.just("r")},
        optional={"days": st.lists(st.sampled_from(["mon", "sun", "so"]), max_size=2), "timeZone": st.just("UTC")},
    ),
)
DRIFTS = st.fixed_dictionaries(
    {"policy": st.sampled_from(["correct", "ignore", ""])},
    optional={
        "kinds": st.lists(st.sampled_from(["Edge", "Fleet", "Pod"]), max_size=2),
        "fields": st.lists(st.sampled_from(["spec", "spec.a", 'labels["a/b"]', "*", "", "a", "specs"]), max_size=2),
        "managers": st.lists(st.sampled_from(["kubectl*", ""]), max_size=2),
    },
)


@st.composite
def template(draw: st.DrawFn) -> dict[str, Any]:
    spec = draw(st.fixed_dictionaries(SERVICES, optional=SOURCES))
    return {"spec": spec | {"modelName": "m", "deployToLayer": "edge"}}


SPECS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "InferenceModel": st.fixed_dictionaries(SERVICES, optional=SOURCES | PLACES | {"targetVersion": TARGETS}),
    "InferenceModelSet": st.fixed_dictionaries(
        {"edgeSelector": st.sampled_from([{}, {"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "-"}}])}
        | {"template": template()},
        optional={"defaultVersion": TARGETS},
    ),
    "Model": st.fixed_dictionaries(
        {"frameworkType": st.sampled_from(["onnx", "onnx", "own"]), "versions": ENTRIES},
        optional={"task": st.sampled_from(["", "t"]), "labels": st.just(["a", ""])},
    ),
    "Dataset": st.fixed_dictionaries(
        {"format": st.sampled_from(["csv", "csv", "xls"]), "versions": st.one_of(GOOD_ENTRIES, ENTRIES)},
        optional={"defaultVersion": TARGETS},
    ),
    "Edge": st.fixed_dictionaries(
        {}, optional={"address": ADDRESSES, "nodeName": NAMES, "pins": st.lists(PINS, max_size=3)}
    ),
    "Fleet": st.fixed_dictionaries(
        {},
        optional={
            "prune": st.fixed_dictionaries(
                {},
                optional={
                    "maxDeletes": st.sampled_from([0, -1, 5]),
                    "maxShare": st.sampled_from(["", "0%", "100%", "010%", "5"]),
                },
            ),
            "drift": st.lists(DRIFTS, max_size=2),
            "freeze": st.lists(WINDOWS, max_size=2),
            "adopt": st.booleans(),
        },
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_takes_the_other_takes(control_plane: ControlPlane, cluster: ControlPlane, kind: str) -> None:
    judged = {True: 0, False: 0}

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(SPECS[kind])
    def same(spec: dict[str, Any]) -> None:
        document = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "asked"}, "spec": spec}
        ours = refused(document)
        status, message = asked(cluster, document)
        assert (status == 201) == (ours == ""), f"{json.dumps(spec)}\nours: {ours}\ntheirs: {status} {message}"
        judged[status == 201] += 1

    same()
    assert min(judged.values()) >= 5, judged  # both judgements were asked for
