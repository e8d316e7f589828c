"""The Open Inference Protocol v2 over REST, as a client sees it on a real process."""

import gzip
import http.client
import json
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from reconciler import __version__
from reconciler.errors import RuntimeUnavailable, WorldRefused
from reconciler.serving import endpoint, process
from reconciler.serving.process import RuntimeProcess
from tests.digits import ARTIFACTS, digest, digits, question, spec

pytestmark = [pytest.mark.enable_socket, pytest.mark.slow]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("protocol")


@pytest.fixture(scope="module")
def one(place: Path) -> Path:
    return digits("1", place)


@pytest.fixture(scope="module")
def runtime(place: Path, one: Path) -> Iterator[RuntimeProcess]:
    started = process.start(spec(place))
    started.load(one, "v1")
    started.activate()
    yield started
    started.stop()


def asked(runtime: RuntimeProcess, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    with closing(http.client.HTTPConnection(runtime.spec.address, runtime.spec.port, timeout=10)) as line:
        line.request(method, path, None if body is None else json.dumps(body))
        response = line.getresponse()
        assert response.headers["Content-Type"] == "application/json"
        return response.status, json.loads(response.read())


def test_the_server_and_its_health(runtime: RuntimeProcess) -> None:
    assert asked(runtime, "GET", "/v2") == (
        200,
        {"name": "reconciler", "version": __version__, "extensions": ["binary_tensor_data"]},
    )
    assert asked(runtime, "GET", "/v2/health/live") == (200, {"live": True})
    assert asked(runtime, "GET", "/v2/health/ready") == (200, {"ready": True})


def test_a_slash_at_the_end_changes_nothing(runtime: RuntimeProcess) -> None:
    model = "/v2/models/digits"
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", model, f"{model}/ready", f"{model}/versions/v1/ready"):
        assert asked(runtime, "GET", f"{path}/") == asked(runtime, "GET", path), path
    for path in (f"{model}/infer", f"{model}/versions/v1/infer"):
        body = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}]}
        status, said = asked(runtime, "POST", path, body)
        assert (status, said) == (200, asked(runtime, "POST", f"{path}/", body)[1])


@pytest.mark.parametrize("path", ["/v2/models/digits", "/v2/models/digits/versions/v1"])
def test_the_model_says_what_it_is(runtime: RuntimeProcess, one: Path, path: str) -> None:
    assert asked(runtime, "GET", path) == (
        200,
        {
            "name": "digits",
            "versions": ["v1"],
            "platform": "onnx_onnxruntime",
            "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}],
            "outputs": [
                {"name": "label", "datatype": "INT64", "shape": [-1]},
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
            ],
            "parameters": {"digest": digest(one)},
        },
    )
    assert asked(runtime, "GET", f"{path}/ready") == (200, {"name": "digits", "ready": True})


@pytest.mark.parametrize("path", ["/v2/models/digits/infer", "/v2/models/digits/versions/v1/infer"])
def test_an_answer_names_what_gave_it(runtime: RuntimeProcess, one: Path, path: str) -> None:
    status, said = asked(runtime, "POST", path, question(one) | {"id": "7", "outputs": [{"name": "label"}]})
    expected = json.loads((one / "golden.json").read_bytes())["outputs"][0]
    assert (status, said) == (
        200,
        {
            "model_name": "digits",
            "model_version": "v1",
            "id": "7",
            "parameters": {"digest": digest(one)},
            "outputs": [expected],
        },
    )


def test_outputs_come_in_the_order_asked_for(runtime: RuntimeProcess, one: Path) -> None:
    wanted = ["probabilities", "label"]
    said = endpoint.infer(runtime.spec.url, question(one) | {"outputs": [{"name": name} for name in wanted]})
    assert [(each["name"], each["datatype"], each["shape"]) for each in said["outputs"]] == [
        ("probabilities", "FP32", [5, 10]),
        ("label", "INT64", [5]),
    ]
    assert [each["name"] for each in endpoint.infer(runtime.spec.url, question(one))["outputs"]] == wanted[::-1]


def test_nested_data_is_flat_data(runtime: RuntimeProcess, one: Path) -> None:
    flat = question(one)
    values = flat["inputs"][0]["data"]
    nested = {"inputs": [flat["inputs"][0] | {"data": [values[at : at + 64] for at in range(0, 320, 64)]}]}
    assert endpoint.infer(runtime.spec.url, nested) == endpoint.infer(runtime.spec.url, flat)


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/v2/models/faces", 404, "no model 'faces' here, this endpoint serves 'digits'"),
        ("GET", "/v2/models/digits/versions/1/ready", 404, "no version '1' of 'digits' here, version 'v1' serves"),
        ("POST", "/v2/models/digits/versions/2/infer", 404, "no version '2' of 'digits' here, version 'v1' serves"),
        ("GET", "/v2/models/digits/infer", 405, "Method Not Allowed"),
        ("POST", "/v2/health/live", 405, "Method Not Allowed"),
        ("GET", "/v1/models/digits", 404, "Not Found"),
    ],
)
def test_errors_are_text_in_json(runtime: RuntimeProcess, method: str, path: str, status: int, said: str) -> None:
    assert asked(runtime, method, path, {} if method == "POST" else None) == (status, {"error": said})


def test_before_the_first_version_nothing_is_ready(tmp_path: Path, one: Path) -> None:
    empty = process.start(spec(tmp_path))
    try:
        assert asked(empty, "GET", "/v2/health/live")[0] == 200
        assert asked(empty, "GET", "/v2/health/ready") == (503, {"ready": False})
        assert asked(empty, "GET", "/v2/models/digits/ready") == (503, {"error": "no version of 'digits' is loaded"})
        with pytest.raises(RuntimeUnavailable, match="answers 503: no version of 'digits' is loaded"):
            endpoint.infer(empty.spec.url, question(one))
    finally:
        empty.stop()


def test_the_line_in_the_readme_works(runtime: RuntimeProcess) -> None:
    """A golden file, with more in it than a request needs, is accepted as a request."""
    archive = str(ARTIFACTS / "digits-1.tar.gz")
    golden = subprocess.run(["tar", "xOzf", archive, "golden.json"], check=True, capture_output=True).stdout
    assert endpoint.infer(runtime.spec.url, json.loads(golden))["model_version"] == "v1"


def test_a_client_hears_what_is_wrong(runtime: RuntimeProcess) -> None:
    with pytest.raises(WorldRefused, match="answers 404: no model 'faces'"):
        endpoint.metadata(endpoint.model_url(runtime.spec.address, runtime.spec.port, "faces"))


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.2", "http://127.0.0.2:8080/v2/models/a%2Fb"),
        ("0.0.0.0", "http://127.0.0.1:8080/v2/models/a%2Fb"),
        ("::", "http://[::1]:8080/v2/models/a%2Fb"),
    ],
)
def test_urls(address: str, url: str) -> None:
    assert endpoint.model_url(address, 8080, "a/b") == url


# What the libraries of clients send: binary tensors (tritonclient, KServe), compressed bodies, null and parameters.

LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    """It answers what it is told: texts, halves and wholes; and the logarithm of the halves."""
    place = tmp_path_factory.mktemp("echo")
    types = {"text": TensorProto.STRING, "half": TensorProto.FLOAT16, "whole": TensorProto.INT32}
    nodes = [helper.make_node("Identity", [name], [f"{name}s"]) for name in types]
    shape = ["n"]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Log", ["half"], ["log"])],
        "echo",
        [helper.make_tensor_value_info(name, type_, shape) for name, type_ in types.items()],
        [
            *(helper.make_tensor_value_info(f"{name}s", type_, shape) for name, type_ in types.items()),
            helper.make_tensor_value_info("log", TensorProto.FLOAT16, shape),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (place / "model.onnx").write_bytes(model.SerializeToString())
    started = process.start(spec(place, "echo"))
    started.load(place, "1")
    started.activate()
    yield started
    started.stop()


def posted(
    runtime: RuntimeProcess, body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any], bytes, Message]:
    """(status, JSON, what follows it, headers) of an answer."""
    with closing(http.client.HTTPConnection(runtime.spec.address, runtime.spec.port, timeout=30)) as line:
        line.request("POST", f"/v2/models/{runtime.spec.model}/infer", body, headers or {})
        response = line.getresponse()
        content = response.read()
    found = response.headers
    if found.get("Content-Encoding") == "gzip":
        content = gzip.decompress(content)
    if found.get("Content-Encoding") == "deflate":
        content = zlib.decompress(content)
    length = int(found.get(LENGTH, len(content)))
    return response.status, json.loads(content[:length]), content[length:], found


def text(*texts: str) -> bytes:
    return b"".join(struct.pack("<I", len(one.encode())) + one.encode() for one in texts)


PARTS = {
    "text": ("BYTES", text("größe", "")),
    "half": ("FP16", np.array([0.5, -1], "<f2").tobytes()),
    "whole": ("INT32", np.array([7, -8], "<i4").tobytes()),
}


def binary_question(**change: Any) -> tuple[bytes, dict[str, str]]:
    """Three inputs as bytes behind the JSON, all answered so; change: of the JSON."""
    inputs = [
        {"name": name, "datatype": type_, "shape": [2], "parameters": {"binary_data_size": len(data)}}
        for name, (type_, data) in PARTS.items()
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}} | change).encode()
    return head + b"".join(data for _, data in PARTS.values()), {LENGTH: str(len(head))}


def test_binary_tensors_go_both_ways(echo: RuntimeProcess) -> None:
    status, said, behind, headers = posted(echo, *binary_question())
    assert (status, headers["Content-Type"]) == (200, "application/octet-stream")
    assert [(each["name"], each["datatype"], each["parameters"]["binary_data_size"]) for each in said["outputs"]] == [
        ("texts", "BYTES", 15),
        ("halfs", "FP16", 4),
        ("wholes", "INT32", 8),
        ("log", "FP16", 4),
    ]
    assert not any("data" in each for each in said["outputs"])
    assert behind[:27] == b"".join(data for _, data in PARTS.values())
    assert np.isnan(np.frombuffer(behind[27:], "<f2")[1])  # what JSON cannot say


def test_each_output_comes_as_it_was_asked_for(echo: RuntimeProcess) -> None:
    wanted = [
        {"name": "wholes"},
        {"name": "texts", "parameters": {"binary_data": False, "priority": 3}},
        {"name": "halfs", "parameters": {"binary_data": True}},
    ]
    for parameters in (None, {"binary_data_output": False, "sequence_id": 9}):
        _, said, behind, _ = posted(echo, *binary_question(outputs=wanted, parameters=parameters))
        assert [each.get("data") for each in said["outputs"]] == [[7, -8], ["größe", ""], None]
        assert behind == PARTS["half"][1]


def json_question(**change: Any) -> bytes:
    inputs: list[dict[str, Any]] = [
        {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"], "parameters": {"content_type": "str"}},
        {"name": "half", "datatype": "FP16", "shape": [1], "data": [1], "parameters": None},
        {"name": "whole", "datatype": "INT32", "shape": [1], "data": [7]},
    ]
    return json.dumps({"inputs": inputs} | change).encode()


@pytest.mark.parametrize(
    "change",
    [
        {"id": None, "outputs": None, "parameters": None},
        {"id": "", "outputs": [], "parameters": {}, "model_name": "echo", "model_version": None},
        {"parameters": {"headers": {"a": [1]}, "content_type": "np"}, "raw": True},
    ],
    ids=["null", "empty", "unknown"],
)
def test_what_is_optional_may_be_null_empty_or_unknown(echo: RuntimeProcess, change: dict[str, Any]) -> None:
    status, said, _, _ = posted(echo, json_question(**change))
    assert status == 200
    assert [each["data"] for each in said["outputs"]] == [["a"], [1.0], [7], [0.0]]


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", lambda body: b"".join(gzip.compress(body[at : at + 9]) for at in range(0, len(body), 9))),
        ("gzip", lambda body: gzip.compress(b"") + gzip.compress(body) + gzip.compress(b"")),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body)[2:-4]),
        ("identity", bytes),
    ],
)
def test_compressed_questions_are_read(echo: RuntimeProcess, coding: str, pack: Callable[[bytes], bytes]) -> None:
    body, headers = binary_question()
    assert posted(echo, body, headers)[:3] == posted(echo, pack(body), headers | {"Content-Encoding": coding})[:3]


@pytest.mark.parametrize(
    ("accepts", "coding"),
    [("gzip, deflate, br", "gzip"), ("deflate", "deflate"), ("gzip;q=0, deflate;q=0.5", "deflate"), ("br", None)],
)
def test_long_answers_are_compressed_where_that_is_asked_for(
    runtime: RuntimeProcess, one: Path, accepts: str, coding: str | None
) -> None:
    asked = question(one)["inputs"][0]
    body = json.dumps({"inputs": [asked | {"shape": [500, 64], "data": asked["data"] * 100}]}).encode()
    status, said, _, headers = posted(runtime, body, {"Accept-Encoding": accepts})
    assert (status, headers.get("Content-Encoding")) == (200, coding)
    assert len(said["outputs"][0]["data"]) == 500


def changed(inputs: Callable[[list[dict[str, Any]]], Any]) -> tuple[bytes, dict[str, str]]:
    """The binary question with its inputs changed."""
    body, headers = binary_question()
    head = json.loads(body[: int(headers[LENGTH])])
    inputs(head["inputs"])
    text = json.dumps(head).encode()
    return text + body[int(headers[LENGTH]) :], {LENGTH: str(len(text))}


BODY, HEADERS = binary_question()
LESS = binary_question()[0][:-1]
BAD: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "no header": (BODY[: int(HEADERS[LENGTH])], {}, 400, "binary_data_size is 15, and 0 bytes follow the JSON"),
    "header too long": (BODY, {LENGTH: "99999"}, 400, "should be how many of the"),
    "header no number": (BODY, {LENGTH: "-1"}, 400, "should be how many of the"),
    "cut off": (LESS, HEADERS, 400, "whole: binary_data_size is 8, and 7 bytes follow"),
    "too much": (BODY + b"x", HEADERS, 400, "1 bytes follow the JSON that belong to no input"),
    "size no number": (*changed(lambda i: i[0].update(parameters={"binary_data_size": True})), 400, "number of bytes"),
    "twice": (*changed(lambda i: i[0].update(data=["a", "b"])), 400, "send one of them"),
    "no data": (*changed(lambda i: i[0].pop("parameters")), 400, "text: it has no data"),
    "wrong size": (*changed(lambda i: i[1].update(shape=[3])), 400, r"half: 4 bytes, FP16 of shape [3] has 6"),
    "wrong count": (*changed(lambda i: i[0].update(shape=[3])), 400, "text: 2 texts, shape [3] says 3"),
    "BF16": (*changed(lambda i: i[1].update(datatype="BF16")), 400, "unknown datatype 'BF16'; known: BOOL"),
    "shared memory": (
        *changed(lambda i: i[0].update(parameters={"shared_memory_region": "a"})),
        400,
        "no shared memory",
    ),
    "text beyond": (BODY.replace(text("größe"), b"\xff" * 4 + "größe".encode()), HEADERS, 400, "ends beyond the data"),
    "text not UTF-8": (BODY.replace("größe".encode(), b"gr\xff\xfe\xfd\xfce"), HEADERS, 400, "text 0 is not UTF-8"),
    "classes": (
        *binary_question(outputs=[{"name": "halfs", "parameters": {"classification": 2}}]),
        400,
        "ask for the output without `classification`",
    ),
    "binary no truth": (
        *binary_question(outputs=[{"name": "halfs", "parameters": {"binary_data": "false"}}]),
        400,
        "binary_data is 'false', and should be true or false",
    ),
    "true for a text": (json_question(id=True), {}, 400, "Expected `str | null`, got `bool` - at `$.id`"),
    "true for texts": (json_question().replace(b'["a"]', b"[true]"), {}, 400, "'True' is not str"),
    "true for a name": (json_question().replace(b'"text"', b"true"), {}, 400, "Expected `str`, got `bool`"),
    "true for a size": (
        json_question().replace(b'"shape": [1]', b'"shape": [true]'),
        {},
        400,
        "Expected `int`, got `bool`",
    ),
    "v1": (b'{"instances": [[1]]}', {}, 400, "missing required field `inputs`"),
    "coding": (b"", {"Content-Encoding": "br"}, 415, "send gzip, deflate or none"),
    "no gzip": (BODY, HEADERS | {"Content-Encoding": "gzip"}, 400, "is not gzip, as its Content-Encoding says"),
    "half a gzip": (gzip.compress(BODY)[:-5], HEADERS | {"Content-Encoding": "gzip"}, 400, "cut off"),
    "more than a gzip": (
        gzip.compress(BODY) + b"x",
        HEADERS | {"Content-Encoding": "gzip"},
        400,
        "something follows it",
    ),
    "half a second gzip": (
        gzip.compress(BODY) + gzip.compress(b"x" * 99)[:-9],
        HEADERS | {"Content-Encoding": "gzip"},
        400,
        "cut off",
    ),
    "more than a deflate": (
        zlib.compress(BODY) + gzip.compress(b"x"),
        HEADERS | {"Content-Encoding": "deflate"},
        400,
        "something follows it",
    ),
    "gzip bomb in two": (
        2 * gzip.compress(bytes(33 << 20), 1),
        {"Content-Encoding": "gzip"},
        413,
        "67108864 bytes, inflated too",
    ),
    "gzips of nothing": (gzip.compress(b"") * 16385, {"Content-Encoding": "gzip"}, 413, "at most 16384 members"),
    "zstd": (b"", {"Content-Encoding": "zstd"}, 415, "send gzip, deflate or none"),
    "gzip bomb": (gzip.compress(bytes(65 << 20), 1), {"Content-Encoding": "gzip"}, 413, "67108864 bytes, inflated too"),
    "deflate bomb": (zlib.compress(bytes(65 << 20), 1), {"Content-Encoding": "deflate"}, 413, "inflated too"),
    "NaN in JSON": (json_question().replace(b'[1], "parameters": null', b"[-1]"), {}, 400, "ask for binary_data"),
}


@pytest.mark.parametrize(("body", "headers", "status", "said"), BAD.values(), ids=BAD.keys())
def test_what_is_refused_says_what_to_change(
    echo: RuntimeProcess, body: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    found, error, _, kind = posted(echo, body, headers)
    assert (found, list(error), kind["Content-Type"]) == (status, ["error"], "application/json")
    assert said in error["error"]
    assert posted(echo, json_question())[0] == 200
