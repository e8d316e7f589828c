"""The runtime's process: `python -m reconciler.serving.server`. The top of this room: may import all of it.

In: its arguments, verbs on DIR/control.sock, HTTP on ADDRESS:PORT.  Out: answers, and DIR/runtime.json, by which an
agent that was restarted finds this process again. It outlives its agent and ends on SIGTERM, answers in flight first.
"""

import argparse
import os
import signal
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from reconciler import control_socket
from reconciler.errors import UsageError
from reconciler.serving import endpoint
from reconciler.serving.app import application
from reconciler.serving.golden import Arrays
from reconciler.serving.process import CONTROL, RuntimeSpec, write_receipt
from reconciler.serving.service import Service
from reconciler.serving.tensors import Tensor, to_array, to_tensor

GRACE_S = 25  # for answers in flight after SIGTERM
ASKED_S = 60.0  # for an answer to a golden input through the public endpoint


def main() -> int:
    """0 after an orderly end. Raises OSError when the port cannot be bound: the process ends, its log says why."""
    spec = _spec()
    os.chdir(spec.directory)
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again once it is done
    service = Service(spec.model, lambda inputs: _asked_publicly(spec, inputs))
    with closing(_listening(spec.address, spec.port)) as public:
        server = uvicorn.Server(
            uvicorn.Config(
                application(service),
                log_level="error",
                access_log=False,
                lifespan="off",
                http="h11",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        with closing(control_socket.serve(spec.directory / CONTROL, lambda request: _verb(service, request))):
            write_receipt(spec)
            server.run(sockets=[public])
    return 0


def _verb(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    match request.get("verb"):
        case "status":
            return service.status() | {"pid": os.getpid()}
        case "load":
            allow = bool(request.get("allowSignatureChange"))
            answer = service.load(Path(request["path"]), str(request["version"]), allow_signature_change=allow)
        case "activate":
            answer = service.activate()
        case "revert":
            answer = service.revert()
        case "settle":
            answer = service.settle()
        case "stop":
            os.kill(os.getpid(), signal.SIGTERM)
            return {}
        case verb:
            raise UsageError(f"no verb {verb!r}: status, load, activate, revert, settle, stop")
    return answer._asdict()


def _asked_publicly(spec: RuntimeSpec, inputs: Arrays) -> Arrays:
    tensors = [to_tensor(name, array) for name, array in inputs.items()]
    answer = endpoint.infer(spec.url, {"inputs": msgspec.to_builtins(tensors)}, ASKED_S)
    return {each["name"]: to_array(Tensor(**each)) for each in answer["outputs"]}


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # The protocol is named, else asyncio leaves Nagle's algorithm on and each answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(1024)
    return listener


def _spec() -> RuntimeSpec:
    parser = argparse.ArgumentParser(
        prog="reconciler.serving.server", description="Serve one model over the v2 protocol."
    )
    parser.add_argument("--directory", type=Path, required=True, help="for control_socket.sock and runtime.json")
    parser.add_argument("--model", required=True, help="its name in URLs")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    return RuntimeSpec(given.model, given.address, given.port, given.directory.resolve())


if __name__ == "__main__":
    raise SystemExit(main())
