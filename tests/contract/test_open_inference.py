"""The Open Inference Protocol v2 over REST, as a client sees it on a real process."""

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

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
    assert asked(runtime, "GET", "/v2") == (200, {"name": "reconciler", "version": __version__, "extensions": []})
    assert asked(runtime, "GET", "/v2/health/live") == (200, {"live": True})
    assert asked(runtime, "GET", "/v2/health/ready") == (200, {"ready": True})


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
