"""The demo's steps: what is done, how it is verified, what is printed. Imports demo_world, eventlog.reader.

In: a directory and a port.  Out: the timeline on stdout; an exception at the first step that does not verify.
"""

import hashlib
import json
import shlex
import shutil
import sys
import tarfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from reconciler.cli.demo_world import EDGES, Asker, DemoArtifacts, World
from reconciler.edge.paths import StateDirectory
from reconciler.errors import WorldRefused
from reconciler.eventlog.reader import SqliteReader
from reconciler.history import events as ev

DEPLOYMENT: Final = "deployments/digits.yaml"


class Story:
    """The timeline: seconds since the start, and a line for each thing that was verified."""

    def __init__(self, world: World, artifacts: DemoArtifacts) -> None:
        self._world, self._artifacts = world, artifacts
        self._began = time.monotonic()
        self._question = world.question()
        self._digests = {version: _digest(world.fleet, version) for version in ("1", "2")}

    def line(self, text: str = "", *, verified: bool = False) -> None:
        """One line of the timeline."""
        stamp = f"{time.monotonic() - self._began:7.2f} s" if text else ""
        print(f"{stamp}  {'✓ ' if verified else ''}{text}".rstrip(), flush=True)

    def serve(self, version: str) -> float:
        """Seconds until every edge answered with this version, from the bytes that Git pins for it."""

        def all_answer() -> bool:
            answers = self._world.answers(self._question)
            return len(answers) == len(EDGES) and all(self._is(answer, version) for answer in answers.values())

        return self._world.wait(all_answer, f"every edge answers as version {version}")

    def _is(self, answer: dict[str, Any], version: str) -> bool:
        return (answer["model_version"], answer["parameters"]["digest"]) == (version, self._digests[version])

    def read(self) -> str:
        """How the first edge reads the digits of the question."""
        answer = self._world.answers(self._question)["edge-1"]
        labels = next(output["data"] for output in answer["outputs"] if output["name"] == "label")
        return " ".join(str(label) for label in labels)

    def noticed(self, commit: str, at: float) -> float:
        """Seconds from `at` (since 1970) until the hub recorded that it had seen the commit."""
        found: list[str] = []

        def is_seen() -> bool:
            reader = SqliteReader(StateDirectory(self._world.state).hub.log)
            try:
                entries = reader.read(stream="git")
                found[:] = [
                    e.event.time for e in entries if e.event.type == ev.REF_ADVANCED and e.event.gitcommit == commit
                ]
            finally:
                reader.close()
            return bool(found)

        self._world.wait(is_seen, f"the hub sees {commit[:7]}")
        return datetime.fromisoformat(found[0]).timestamp() - at

    def moved(self, version: str, commit: str, at: float) -> None:
        """A commit's effect, verified and timed."""
        sent, requests = self._artifacts.sent, self._artifacts.requests
        waited = self.serve(version)
        noticed = self.noticed(commit, at)
        fetched = self._artifacts.sent - sent
        self.line(f"commit {commit[:7]} noticed after {noticed:.2f} s", verified=True)
        what = (
            f"{fetched:,} bytes in {self._artifacts.requests - requests} downloads" if fetched else "nothing downloaded"
        )
        self.line(f"three edges answer as version {version} after {waited:.2f} s; {what}", verified=True)


def tell(directory: Path, port: int, *, stay: bool) -> None:
    """Run the demo in `directory`; with `stay`, leave it running afterwards until Ctrl-C.

    Raises a ReconcilerError at the first step that does not verify.
    """
    world = World(directory, port)
    world.check_machine()
    artifacts = DemoArtifacts(world.fleet / "artifacts")
    try:
        world.command("init", str(world.fleet), "--artifacts-url", artifacts.url, state=False)
        world.identify()
        if port != 8080:  # what the template says
            world.edit(DEPLOYMENT, "servingPort: 8080", f"servingPort: {port}")
            world.git("commit", "--quiet", "--all", "--message", f"Serve on port {port}")
        _tell(Story(world, artifacts), world, artifacts)
        if stay:
            _invite(world)
    except KeyboardInterrupt:
        print()
    finally:
        world.close()
        artifacts.shutdown()
        artifacts.server_close()


def _tell(story: Story, world: World, artifacts: DemoArtifacts) -> None:
    story.line(f"a repository of your own: {world.fleet} (3 edges, 1 model in 2 versions, 1 dataset)")
    world.start()
    story.line("reconciler run: one hub, three agents, three runtimes, all processes of their own")
    story.serve("1")
    story.line(f"three edges answer as version 1; a row of digits reads {story.read()}", verified=True)
    asker = Asker(world.question(), world.port)
    try:
        story.line()
        world.edit(DEPLOYMENT, "defaultVersion: '1'", "defaultVersion: '2'")
        at = time.time()
        world.git("commit", "--quiet", "--all", "--message", "Serve version 2")
        story.line("git commit -am 'Serve version 2'   (one line of deployments/digits.yaml)")
        story.moved("2", world.git("rev-parse", "HEAD"), at)
        story.line()
        requests, at = artifacts.requests, time.time()
        world.git("revert", "--no-edit", "HEAD")
        story.line("git revert HEAD")
        story.moved("1", world.git("rev-parse", "HEAD"), at)
        if artifacts.requests != requests:
            raise WorldRefused(f"the way back took {artifacts.requests - requests} downloads; it should need none")
    finally:
        asker.close()
    if asker.failed or not asker.asked:
        raise WorldRefused(f"{asker.failed} of {asker.asked} questions failed while versions changed")
    story.line()
    story.line(f"{asker.asked:,} questions asked meanwhile, 0 failed", verified=True)
    _explain(story, world)


def _explain(story: Story, world: World) -> None:
    """What the log says of it, as the commands print it."""
    logs = [(), *(("--edge", edge) for edge in EDGES)]
    entries = [json.loads(world.command("log", "verify", *log, "--output", "json"))["entries"] for log in logs]
    story.line(f"{len(logs)} logs verified, {sum(entries)} entries: every hash, column and id", verified=True)
    for words in (("status",), ("why", "edge-1", "digits-edge-1")):
        print(f"\n$ reconciler {' '.join(words)}\n{world.command(*words).rstrip()}")


def own_command() -> str:
    """What this very program is called by in a shell: `reconciler`, unless that is another one or none on the PATH."""
    script, found = Path(sys.executable).with_name("reconciler"), shutil.which("reconciler")
    if not script.exists():  # a package without its script
        return f"{shlex.quote(sys.executable)} -m reconciler"
    is_found = found is not None and script.samefile(found)
    return "reconciler" if is_found else shlex.quote(str(script))


def _invite(world: World) -> None:
    call = own_command()
    print(
        f"\nIt goes on running, until Ctrl-C; its page is {world.page}. In another terminal:\n"
        f"  cd {world.fleet}\n"
        f"  curl http://127.0.0.2:{world.port}/v2/models/digits\n"
        f"  export RECONCILER_STATE={world.state}\n"
        f"  {call} pin edge-3 digits@2 --reason 'edge 3 tries it'\n"
        f"  {call} history --follow\n"
        f"  git revert HEAD",
        flush=True,
    )
    world.outlast()


def _digest(fleet: Path, version: str) -> str:
    """sha256 of the model file that version pins, read from the archive, not from what an edge says."""
    with tarfile.open(fleet / "artifacts" / f"digits-{version}.tar.gz") as archive:
        model = archive.extractfile("model.onnx")
        assert model is not None
        return hashlib.sha256(model.read()).hexdigest()
