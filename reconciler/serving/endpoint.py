"""A small client of the Open Inference Protocol v2 over REST. Imports errors; light enough for the agent.

In: a model's URL and a request.  Out: the server's own answer.
"""

import http.client
import json
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlsplit

from reconciler.errors import RuntimeUnavailable, WorldRefused

TIMEOUT_S: Final = 5.0
ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # who listens everywhere is asked here


def model_url(address: str, port: int, model: str) -> str:
    """Where a model is asked: `http://ADDRESS:PORT/v2/models/MODEL`."""
    host = ANY_ADDRESS.get(address, address)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v2/models/{quote(model, safe='')}"


def infer(url: str, request: dict[str, Any], timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """The answer of the model at `url` (as `model_url` gives it) to a v2 request.

    Raises RuntimeUnavailable (no answer in time, or 5xx) and WorldRefused (the request or the name is wrong: 4xx).
    """
    return _asked(url, "POST", "/infer", json.dumps(request).encode(), timeout_s)


def metadata(url: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """What the model at `url` says of itself: name, versions, parameters.digest, inputs, outputs. Raises as `infer`."""
    return _asked(url, "GET", "", None, timeout_s)


def _asked(url: str, method: str, verb: str, body: bytes | None, timeout_s: float) -> dict[str, Any]:
    where = urlsplit(url)
    line = http.client.HTTPConnection(where.hostname or "", where.port, timeout=timeout_s)
    try:
        line.request(method, where.path + verb, body, {"Content-Type": "application/json"} if body else {})
        response = line.getresponse()
        said = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RuntimeUnavailable(f"{url} does not answer: {str(error) or type(error).__name__}") from error
    finally:
        line.close()
    if response.status != http.client.OK:
        _refuse(url, response.status, said)
    answer: dict[str, Any] = said
    return answer


def _refuse(url: str, status: int, said: Any) -> NoReturn:
    text = said.get("error", "") if isinstance(said, dict) else ""
    refusal = RuntimeUnavailable if status >= http.client.INTERNAL_SERVER_ERROR else WorldRefused
    raise refusal(f"{url} answers {status}: {text}")
