"""Raw requests for tests, and the API server's own count of them. Nothing of the product: a test must not trust itself.

In: a kubeconfig file.  Out: status and JSON document of each answer.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import urllib3

Document = dict[str, Any]
Calls = Counter[tuple[str, str]]
_TOTAL: Final = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_TYPES: Final = {"PATCH": "application/merge-patch+json"}


TOO_MANY, BUSY_TRIES, BUSY_S = 429, 200, 0.1


class Client:
    """One identity. Retries nothing, so that each call counts once. Thread-safe."""

    def __init__(self, kubeconfig: Path) -> None:
        from kubernetes.config import new_client_from_config

        api = new_client_from_config(config_file=str(kubeconfig), persist_config=False)  # type: ignore[no-untyped-call]
        self.server = str(api.configuration.host).rstrip("/")
        self._configuration = api.configuration
        self._pool: urllib3.PoolManager = api.rest_client.pool_manager

    def request(
        self,
        method: str,
        path: str,
        body: Document | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "",
        timeout_s: float = 30.0,
    ) -> tuple[int, Document]:
        """Status and document; a PATCH is a merge patch unless content_type says otherwise.

        {} for an empty answer, {"message": text} for one that is no JSON: an unknown path is answered in plain text.
        """
        data = None if body is None else json.dumps(body).encode()
        status, answer = self.raw(method, path, data, query=query, content_type=content_type, timeout_s=timeout_s)
        try:
            return status, json.loads(answer) if answer else {}
        except ValueError:
            return status, {"message": answer.decode(errors="replace").strip()}

    def raw(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "",
        timeout_s: float = 30.0,
    ) -> tuple[int, bytes]:
        """As `request`, bytes in and out. Raises urllib3's errors when there is no answer."""
        headers = {"Accept": "application/json", "Content-Type": content_type or _TYPES.get(method, "application/json")}
        for setting in self._configuration.auth_settings().values():
            if setting["in"] == "header":
                headers[setting["key"]] = str(setting["value"])
        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        answer = self._pool.request(method, url, body=body, headers=headers, timeout=timeout_s, retries=False)
        return answer.status, answer.data

    def get(self, path: str, **query: str) -> Document:
        """A document that must be there; a server that begins a kind anew is waited for. Raises LookupError."""
        for _ in range(BUSY_TRIES):
            answer = self.request("GET", path, query=query)
            if answer[0] != TOO_MANY:
                break
            time.sleep(BUSY_S)
        return _expected(answer, path)

    def post(self, path: str, body: Document) -> Document:
        """What was created, which must not have been there. Raises LookupError."""
        return _expected(self.request("POST", path, body), path)

    def close(self) -> None:
        self._pool.clear()


def _expected(answer: tuple[int, Document], path: str) -> Document:
    status, document = answer
    if status >= 300:
        raise LookupError(f"{path}: {status} {document.get('message', document)}")
    return document


def counted(metrics: str) -> Calls:
    """(verb, resource) -> requests answered so far, from the text of /metrics.

    Verbs are the API server's: GET LIST WATCH POST PUT PATCH APPLY DELETE DELETECOLLECTION. A subresource stands as
    `pods/status`. A WATCH counts when it ends. What is no resource (/readyz, /metrics) is left out; what the API server
    asks of itself (leases, its API groups) is in.
    """
    calls: Calls = Counter()
    for labels, value in _TOTAL.findall(metrics):
        label = dict(_LABEL.findall(labels))
        if resource := label.get("resource"):
            calls[label["verb"], f"{resource}/{label['subresource']}".rstrip("/")] += int(float(value))
    return calls
