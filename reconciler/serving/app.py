"""The public endpoint: the Open Inference Protocol v2 over REST. May import: service, tensors.

In: HTTP requests.  Out: answers that name the version and the digest that gave them; errors as {"error": text}.
Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler import __version__
from reconciler.serving.loaded import Loaded
from reconciler.serving.service import Service
from reconciler.serving.tensors import Tensor, TensorRefused, to_array, to_tensor

BODY_CAP: Final = 64 << 20  # bytes of one request
DRAIN_CAP: Final = 4 * BODY_CAP  # a longer body is read so far, and dropped, so that its sender hears why


class _Wanted(msgspec.Struct):
    name: str


class _Asked(msgspec.Struct):
    inputs: list[Tensor]
    id: str = ""
    outputs: list[_Wanted] = []


_decode: Final = msgspec.json.Decoder(_Asked).decode


def application(service: Service) -> Starlette:
    """The routes of one service."""
    model = "/v2/models/{model}"
    version = model + "/versions/{version}"
    app = Starlette(
        routes=[
            Route("/v2", _server),
            Route("/v2/health/live", _live),
            Route("/v2/health/ready", _ready),
            *(Route(path, _metadata) for path in (model, version)),
            *(Route(f"{path}/ready", _model_ready) for path in (model, version)),
            *(Route(f"{path}/infer", _infer, methods=["POST"]) for path in (model, version)),
        ],
        exception_handlers={HTTPException: _refused, TensorRefused: _misfit, Exception: _broken},
    )
    app.state.service = service
    return app


async def _server(_: Request) -> Response:
    return _json({"name": "reconciler", "version": __version__, "extensions": []})


async def _live(_: Request) -> Response:
    return _json({"live": True})


async def _ready(request: Request) -> Response:
    ready = request.app.state.service.serving is not None
    return _json({"ready": ready}, 200 if ready else 503)


async def _metadata(request: Request) -> Response:
    loaded = _asked_of(request)
    return _json(
        {
            "name": request.path_params["model"],
            "versions": [loaded.version] if loaded else [],
            "platform": "onnx_onnxruntime",
            "inputs": loaded.inputs if loaded else [],
            "outputs": loaded.outputs if loaded else [],
            "parameters": {"digest": loaded.digest if loaded else ""}
            | ({"unproven": loaded.unproven} if loaded and loaded.unproven else {}),
        }
    )


async def _model_ready(request: Request) -> Response:
    _serving(request)
    return _json({"name": request.path_params["model"], "ready": True})


async def _infer(request: Request) -> Response:
    loaded = _serving(request)
    asked = _parsed(await _body(request))
    answer = await run_in_threadpool(_answered, loaded, asked)
    return _json({"model_name": request.path_params["model"]} | answer)


def _serving(request: Request) -> Loaded:
    """What answers this request, from its beginning to its end."""
    loaded = _asked_of(request)
    if loaded is None:
        raise HTTPException(503, f"no version of {request.path_params['model']!r} is loaded")
    return loaded


def _asked_of(request: Request) -> Loaded | None:
    """What serves under the name, and version if any, of the request's path. Raises HTTPException for another."""
    service: Service = request.app.state.service
    model, version = request.path_params["model"], request.path_params.get("version")
    loaded = service.serving
    if model != service.model:
        raise HTTPException(404, f"no model {model!r} here, this endpoint serves {service.model!r}")
    serves = loaded.version if loaded else ""
    if version not in (None, serves):
        raise HTTPException(404, f"no version {version!r} of {model!r} here, version {serves!r} serves")
    return loaded


async def _body(request: Request) -> bytes:
    body = bytearray()
    read = 0
    async for chunk in request.stream():
        read += len(chunk)
        if read <= BODY_CAP:
            body += chunk
        elif read > DRAIN_CAP:
            break
    if read > BODY_CAP:
        raise HTTPException(413, f"a request holds at most {BODY_CAP} bytes")
    return bytes(body)


def _parsed(body: bytes) -> _Asked:
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HTTPException(400, f"not a v2 inference request: {error}") from error
    except RecursionError as error:
        raise HTTPException(400, "not a v2 inference request: nested too deeply") from error


def _answered(loaded: Loaded, asked: _Asked) -> dict[str, Any]:
    inputs = {tensor.name: to_array(tensor) for tensor in asked.inputs}
    if len(inputs) != len(asked.inputs):
        raise TensorRefused("two inputs have the same name")
    outputs = loaded.infer(inputs, [wanted.name for wanted in asked.outputs])
    return {
        "model_version": loaded.version,
        "id": asked.id,
        "parameters": {"digest": loaded.digest},
        "outputs": [to_tensor(name, array) for name, array in outputs.items()],
    }


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code)


async def _misfit(_: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 400)


async def _broken(_: Request, error: Exception) -> Response:
    return _json({"error": f"internal error: {type(error).__name__}"}, 500)
