"""The public endpoint: the Open Inference Protocol v2 over REST. May import: service, tensors, binary, body.

In: HTTP requests.  Out: answers that name the version and the digest that gave them; errors as {"error": text} that
say what to change. Parameters that nobody here knows change nothing, as the protocol has it.
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
from reconciler.serving import binary, body
from reconciler.serving.loaded import Loaded
from reconciler.serving.service import Service
from reconciler.serving.tensors import NAMES, Tensor, TensorRefused, to_tensor

HEADER: Final = "Inference-Header-Content-Length"  # bytes of JSON, before those of tensors

Parameters = dict[str, Any] | None


class _Wanted(msgspec.Struct):
    name: str
    parameters: Parameters = None


class _Asked(msgspec.Struct):
    inputs: list[Tensor]
    id: str | None = None
    outputs: list[_Wanted] | None = None
    parameters: Parameters = None


_decode: Final = msgspec.json.Decoder(_Asked).decode


def application(service: Service) -> Starlette:
    """The routes of one service."""
    model = "/v2/models/{model}"
    asked = {"/v2": _server, "/v2/health/live": _live, "/v2/health/ready": _ready}
    for path in (model, model + "/versions/{version}"):
        asked |= {path: _metadata, f"{path}/ready": _model_ready, f"{path}/infer": _infer}
    app = Starlette(
        routes=[
            Route(path + slash, answer, methods=["POST"] if answer is _infer else None)
            for path, answer in asked.items()
            for slash in ("", "/")  # a redirect would lose the body that some clients do not send again
        ],
        exception_handlers={HTTPException: _refused, TensorRefused: _misfit, Exception: _broken},
    )
    app.state.service = service
    return app


async def _server(_: Request) -> Response:
    return _json({"name": "reconciler", "version": __version__, "extensions": ["binary_tensor_data"]})


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
    whole = memoryview(await body.read(request))
    length = _json_length(request.headers.get(HEADER), len(whole))
    asked = _parsed(whole[:length])
    said = {"model_name": request.path_params["model"]}
    return await run_in_threadpool(_answered, loaded, asked, whole[length:], said, request)


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


def _json_length(header: str | None, whole: int) -> int:
    """How many bytes of a body are its JSON. Raises HTTPException."""
    if header is None:
        return whole
    if not header.isascii() or not header.isdigit() or int(header) > whole:
        raise HTTPException(400, f"{HEADER} is {header!r}, and should be how many of the {whole} bytes are JSON")
    return int(header)


def _parsed(text: memoryview) -> _Asked:
    try:
        return _decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HTTPException(400, f"not a v2 inference request: {error}") from error
    except RecursionError as error:
        raise HTTPException(400, "not a v2 inference request: nested too deeply") from error


def _answered(loaded: Loaded, asked: _Asked, behind: memoryview, said: dict[str, Any], request: Request) -> Response:
    """The answer, with the outputs that were asked for so as bytes behind its JSON."""
    wanted = {each.name: each.parameters or {} for each in asked.outputs or ()}
    for name, parameters in wanted.items():
        if parameters.get("classification"):
            raise TensorRefused(f"{name}: classes are not named here; ask for the output without `classification`")
        if "shared_memory_region" in parameters:
            raise TensorRefused(f"{name}: there is no shared memory here; ask for the output without it")
    results = loaded.infer(binary.to_arrays(asked.inputs, behind), list(wanted))
    as_bytes = binary.is_wanted(asked.parameters, binary.ALL_WANTED)
    outputs, parts = [], []
    for name, array in results.items():
        if binary.is_wanted(wanted.get(name), binary.WANTED, as_bytes):
            parts.append(binary.to_bytes(array))
            size = {binary.SIZE: len(parts[-1])}
            outputs.append(Tensor(name, list(array.shape), NAMES[array.dtype], parameters=size))
        else:
            outputs.append(to_tensor(name, array))
    text = msgspec.json.encode(
        said
        | {
            "model_version": loaded.version,
            "id": asked.id or "",
            "parameters": {"digest": loaded.digest},
            "outputs": outputs,
        }
    )
    headers = {HEADER: str(len(text))} if parts else {}
    content, coding = body.deflated(b"".join((text, *parts)), request.headers.get("Accept-Encoding", ""))
    headers |= {"Content-Encoding": coding} if coding else {}
    return Response(content, 200, headers, "application/octet-stream" if parts else "application/json")


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code)


async def _misfit(_: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 400)


async def _broken(_: Request, error: Exception) -> Response:
    return _json({"error": f"internal error: {type(error).__name__}"}, 500)
