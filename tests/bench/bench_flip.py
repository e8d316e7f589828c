"""Flips of a real runtime under load: four clients ask without a pause while versions 1 and 2 take turns."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from reconciler.serving import endpoint, process
from reconciler.serving.process import RuntimeProcess
from tests.bench import Figure
from tests.digits import Client, digest, digits, question, spec

CLIENTS = 4


def figures(small: bool) -> Iterator[Figure]:
    """Failed requests, and how much slower clients are answered while it flips."""
    flips = 20 if small else 200
    with tempfile.TemporaryDirectory() as place:
        runtime = process.start(spec(Path(place)))
        try:
            yield from _measured(runtime, Path(place), flips)
        finally:
            runtime.stop()


def _measured(runtime: RuntimeProcess, place: Path, flips: int) -> Iterator[Figure]:
    versions = {version: digits(version, place) for version in ("1", "2")}
    asked = question(versions["1"])
    expected = {}
    for version, directory in versions.items():
        _flip(runtime, directory, version)
        expected[version] = digest(directory), endpoint.infer(runtime.spec.url, asked)["outputs"][0]["data"]
    clients = [Client(runtime.spec, json.dumps(asked).encode(), expected) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        calm = _rate(clients, lambda: _let_ask(clients, 10 * flips))
        busy = _rate(clients, lambda: _take_turns(runtime, versions, clients, flips))
    finally:
        for client in clients:
            client.enough.set()
        for client in clients:
            client.join()
    failed = sum(len(client.failed) for client in clients)
    seen = {version for client in clients for version in client.versions}
    yield Figure(f"flip: requests failed in {flips} flips", failed, "requests", "lower", "limit: none", 0)
    yield Figure("flip: versions that clients saw, each with its digest", len(seen), "versions", "higher", "both", 2)
    yield Figure(
        "flip: requests answered while it flips", busy, "1/s", "higher", "the same load without flips", calm, 0.5
    )


def _take_turns(runtime: RuntimeProcess, versions: dict[str, Path], clients: list[Client], flips: int) -> None:
    for number in range(flips):
        version = "12"[number % 2]
        _flip(runtime, versions[version], version)
        _let_ask(clients, 3)


def _flip(runtime: RuntimeProcess, directory: Path, version: str) -> None:
    runtime.load(directory, version)
    runtime.activate()
    runtime.settle()


def _let_ask(clients: list[Client], count: int) -> None:
    for client in clients:
        client.await_answers(count)


def _rate(clients: list[Client], work: Callable[[], None]) -> float:
    """Requests answered a second while `work` is done."""
    before, began = sum(len(client.versions) for client in clients), time.perf_counter()
    work()
    return (sum(len(client.versions) for client in clients) - before) / (time.perf_counter() - began)
