"""The hub and every edge run one loop, and there is no other: read from the code itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import reconciler
from reconciler.controller.declare import Declare
from reconciler.controller.hub import Hub
from reconciler.controller.loop import Loop, Source, Target
from reconciler.edge.keeper import Keeper
from reconciler.kube.target import ClusterTarget

ROOT = Path(reconciler.__file__).parent
LOOP = "controller/loop.py"

# Every `while` that is not the loop, and why it may be one. A new one is added here with its reason, or is not written.
BYTES = "takes pieces of bytes until there are none left"
ALLOWED = {
    "artifacts/decode.py decode": BYTES,
    "artifacts/extract_tar.py TarExtractor.run": BYTES,
    "artifacts/extract_tar.py pax_records": BYTES,
    "artifacts/extract_zip.py _widen": BYTES,
    "artifacts/extract_zip.py _stored": BYTES,
    "artifacts/extract_zip.py _inflated": BYTES,
    "artifacts/fetch.py Download.run": "one request after another until a download is complete",
    "artifacts/fetch.py Download._body": BYTES,
    "artifacts/fetch.py Download._copy": BYTES,
    "artifacts/lanes.py Lane._run": "a thread that hashes or writes what it is handed",
    "artifacts/pace.py Watch.pause": "sleeps in slices, so that it can be cancelled",
    "artifacts/partial.py Partial.recall": BYTES,
    "artifacts/partial.py Partial._write": BYTES,
    "artifacts/receipt.py _sha256": BYTES,
    "artifacts/staging.py Staging._download": "one mirror after another",
    "artifacts/store.py Store._turn": "waits for a lock in slices, so that it can be cancelled",
    "artifacts/stream.py Stream.pieces": BYTES,
    "artifacts/stream.py Inflated._produce": BYTES,
    "artifacts/stream.py Inflated._next_member": BYTES,
    "artifacts/tree.py Tree._write": BYTES,
    "artifacts/unpack.py _listen": "reads what the unpacking child says until it ends",
    "artifacts/wire.py WatchedRaw.readinto": "waits for bytes in slices, so that it can be cancelled",
    "cli/demo_story.py _invite": "asks a person until there is an answer",
    "cli/demo_world.py Asker._ask": "the demo's client, which asks the models",
    "cli/demo_world.py World.wait": "the demo waits for what it shows",
    "cli/narrator.py Narrator._run": "a thread that prints what the log says",
    "controller/control.py ControlServer._run": "a thread that accepts connections",
    "controller/queue.py Queue.take": "waits for the next trigger, which it gives to the loop",
    "kube/deliveries.py Deliveries._run": "a thread that sends one order after another until it is closed",
    "kube/deliveries.py Deliveries.send": "takes answers of orders in flight until there are none left",
    "kube/deliveries.py _gathered": "takes the answers that have come already",
    "wiring/cluster.py ClusterStage.start": "waits for the Lease and the first lists, to a deadline",
    "edge/runtimes.py Runtimes._watch": "a thread that waits for processes to end, which becomes a trigger",
    "eventlog/audit.py _Audit.volume": "reads the log page by page",
    "eventlog/file_link.py FileLink.pull": "copies another log batch by batch",
    "eventlog/reader.py SqliteReader.seq_at": "a binary search",
    "eventlog/reader.py SqliteReader._pages": "reads the log page by page",
    "eventlog/snapshots.py Snapshots.nearest": "tries older snapshots where a newer one is damaged",
    "history/why.py _walk": "walks from effect to cause",
    "kube/lease.py Lease._run": "a thread that renews, one request at a time, until it is closed",
    "kube/api.py Api.pages": "reads a list page by page",
    "kube/install.py _await_gone": "waits until a kind is gone, to a deadline",
    "kube/install.py _await_served": "waits until a kind is served, to a deadline",
    "kube/wire.py Wire.head": "receives until the headers are whole",
    "kube/wire.py Wire.body": "receives until the body is whole",
    "kube/wire.py Wire.lines": "receives while a watch is open",
    "kube/watching.py ListWatch.run": "a thread that lists and watches one kind; what changed becomes a trigger",
    "serving/process.py _await_answer": "waits for a new process to answer, to a deadline",
    "sources/documents.py Reader.read": "takes the events of a YAML stream",
    "sources/watch.py Watcher._settle": "a thread that waits until a directory is quiet, which becomes a trigger",
    "web/api.py Site._followed": "sends entries as they come, to whoever follows the log over HTTP",
    "web/api.py _pieces": BYTES,
    "wiring/past.py Past.news": "prints entries as they come, for a person who follows the log",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def named(tree: ast.AST, kind: type[ast.AST], within: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every node of a kind, with the name of the class and function around it."""
    for child in ast.iter_child_nodes(tree):
        name = within
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{within}.{child.name}".strip(".")
        if isinstance(child, kind):
            yield within, child
        yield from named(child, kind, name)


def calls(tree: ast.Module, names: set[str]) -> list[str]:
    """Which of these functions or methods the module calls."""
    found = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    called = [func.id if isinstance(func, ast.Name) else getattr(func, "attr", "") for func in found]
    return sorted(set(called) & names)


def test_hub_and_keeper_are_source_and_target_of_the_same_loop() -> None:
    for stage, ports in (
        (Hub, (Source, Target)),
        (Keeper, (Source, Target)),
        (Declare, (Source,)),
        (ClusterTarget, (Target,)),
    ):
        for port in ports:
            wanted = [name for name in vars(port) if not name.startswith("_")]
            assert len(wanted) > 1
            assert [name for name in wanted if not callable(getattr(stage, name, None))] == []


def test_only_the_loop_compares_plans_and_takes_triggers() -> None:
    callers = {
        path: calls(tree, {"make_plan", "diff", "turn", "consider", "reconcile"})
        for path, tree in modules()
        if calls(tree, {"make_plan", "diff"}) or path == LOOP
    }
    assert callers == {LOOP: ["consider", "diff", "make_plan", "reconcile", "turn"]}


def test_every_while_is_the_loop_or_has_a_reason() -> None:
    found = {f"{path} {name}" for path, tree in modules() for name, _ in named(tree, ast.While)}
    loop = {where for where in found if where.startswith(LOOP)}
    assert loop == {f"{LOOP} Loop.until"}
    assert sorted(found - loop - ALLOWED.keys()) == []
    assert sorted(ALLOWED.keys() - found) == []  # a reason for what is gone goes too


def test_only_one_loop_takes_from_a_queue_of_triggers() -> None:
    takers = [
        f"{path} {name}"
        for path, tree in modules()
        for name, node in named(tree, ast.Call)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("queue.take")
    ]
    assert takers == [f"{LOOP} Loop.until"]


def test_the_same_class_is_wired_into_every_process() -> None:
    makers = {path for path, tree in modules() if calls(tree, {"Loop"})}
    assert makers
    assert all(path.startswith("wiring") for path in makers)
    assert Loop.__module__ == "reconciler.controller.loop"


@pytest.mark.parametrize("code", ["while True:\n    step()", "def run():\n    while busy():\n        step()"])
def test_a_new_loop_would_be_seen(code: str) -> None:
    assert len(list(named(ast.parse(code), ast.While))) == 1
