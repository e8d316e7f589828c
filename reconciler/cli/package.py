"""`reconciler package`: your own model, tried as an edge tries it, packed, and declared."""

import math
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.options import completing, forms
from reconciler.diagnostics import printable

if TYPE_CHECKING:
    from reconciler.wiring.entries import Change, Deployment, Placed, Tree, Version
    from reconciler.wiring.package import Package

EVERY: Final = frozenset({"*", "all"})


def _number(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """The option's value; NaN is within every range of click's."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is no number", ctx, param)
    return value


@click.command(epilog="Example: reconciler package model.onnx --name faces --version 1 --write --deploy site=demo")
@click.argument("source", metavar="DIR|FILE", type=click.Path(path_type=Path, exists=True))
@click.option("--name", required=True, help="The model's name: of its Model, and in URLs.")
@click.option("--version", required=True, help="Its version; one that is published keeps its bytes for ever.")
@click.option(
    "--example",
    "examples",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A question that it must answer: .npz, .npy or .json; may be repeated.  [default: one that is found]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0.0, max=1e30),
    callback=_number,
    help="How far an answer's numbers may be off on an edge.  [default: 0.001]",
)
@click.option(
    "--archive",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What is written.  [default: NAME-VERSION.tar.gz]",
)
@click.option("--force", is_flag=True, help="Replace an archive that has other bytes, and an entry not committed yet.")
@click.option("--url", help="Where the archive will lie; a URL that ends in / is its directory.  [default: file URL]")
@click.option("--write", "writes", is_flag=True, help="Write the entry into the work tree, and the set of --deploy.")
@click.option(
    "--deploy",
    metavar="LABELS",
    shell_complete=completing("labels"),
    help="The edges that serve it, as site=demo,ring=canary; '*' is every edge.",
)
@click.option("--port", metavar="auto|PORT", help="Where they serve it.  [default: auto, the first that is free]")
@click.option("--framework", default="onnx", show_default=True, help="What runs it on the edge: its frameworkType.")
@click.option("--repo", metavar="DIR", envvar="RECONCILER_REPO", help="The work tree.  [default: the one you are in]")
@click.option("--path", envvar="RECONCILER_PATH", help="The folder of it that is read.  [default: all]")
@forms
def command(
    *,
    source: Path,
    name: str,
    version: str,
    examples: tuple[Path, ...],
    tolerance: float | None,
    archive: Path | None,
    force: bool,
    url: str | None,
    writes: bool,
    deploy: str | None,
    port: str | None,
    framework: str,
    repo: str | None,
    path: str | None,
    form: str,
) -> None:
    """Make an archive of the model in DIR or FILE, with a golden question, and its entry in a repository.

    The model is loaded and asked as an edge does it, in a process of its own; then it is packed, and the archive is
    unpacked and asked once more. Without --write the entry is printed. Nothing is committed, and nothing uploaded.
    """
    from reconciler.errors import UsageError
    from reconciler.planning.refusals import SERVABLE
    from reconciler.wiring.entries import Version, checked, set_document
    from reconciler.wiring.package import packaged, publish

    if framework not in SERVABLE:
        raise UsageError(f"--framework {framework}: no edge runs it", hint=f"edges run {', '.join(sorted(SERVABLE))}")
    if port is not None and deploy is None:
        raise UsageError("--port is where --deploy serves it", hint="add --deploy LABELS, or leave out --port")
    if archive is not None and not archive.name:
        raise UsageError("--archive: '' names no file", hint="name one, or leave it out")
    named = archive or Path(f"{name.replace('/', '-')}-{version.replace('/', '-')}.tar.gz")
    target = named.parent.resolve() / named.name
    lies_at = _url(url, target)
    draft = Version(name, version, framework, lies_at, "0" * 64, 0)
    checked(draft.document())
    wanted = None if deploy is None else _deployment(deploy, port)
    if wanted is not None:
        checked(set_document(draft, wanted, wanted.port))
    tree = _tree(repo, path)
    if tree is None and (writes or wanted):
        option = "--write" if writes else "--deploy"
        raise UsageError(f"{option}: which work tree?", hint="add --repo DIR, or call this in your work tree")
    placed = tree.placed(name, framework, wanted) if tree is not None and wanted is not None else None
    if writes and tree is not None:
        tree.require_writable(name, wanted)
    with (
        _narrated() as told,
        packaged(source, version, target, examples, tolerance=tolerance, doing=told.doing, progress=told.progress) as (
            package,
            made,
        ),
    ):
        told.close()
        ready = Version(name, version, framework, lies_at, package.sha256, package.size)
        changes = _changes(tree, ready, wanted, placed, force=force)
        is_new = publish(made, package, force=force)
    if writes and tree is not None:
        _write(tree, changes)
    _tell(package, is_new=is_new)
    answer = Answer(
        ready,
        package,
        wanted=wanted,
        placed=placed,
        changes=changes,
        tree=tree,
        writes=writes,
    )
    answer.show(form)


class Answer:
    """What was made, and what comes next."""

    def __init__(
        self,
        version: "Version",
        package: "Package",
        *,
        wanted: "Deployment | None",
        placed: "Placed | None",
        changes: "list[Change]",
        tree: "Tree | None",
        writes: bool,
    ) -> None:
        self.version, self.package, self.wanted, self.placed = version, package, wanted, placed
        self.changes, self.tree, self.writes = changes, tree, writes

    def show(self, form: str) -> None:
        """On stdout what was asked for, on stderr what to do with it."""
        from reconciler.cli import draw

        next_ = list(self.next())
        if form != "table":
            from reconciler.cli.output import write

            write(form, "Package", self.as_dict([command for command, _ in next_]))
            return
        if self.writes:
            for change in self.changes:
                draw.line(f"{change.path}: {change.what}")
            if not self.changes:
                draw.line(f"{self.version.name} {self.version.version} is declared so already: no file is changed")
        else:
            click.echo(self._yaml(), nl=False)
        for remark in self.remarks():
            draw.line(f"note: {remark}", at=draw.screen(sys.stderr))
        click.echo("\nNext:", err=True)
        for command, why in next_:
            click.echo(f"  {command}  # {why}" if why else f"  {command}", err=True)

    def as_dict(self, next_: list[str]) -> dict[str, Any]:
        """For --output json."""
        package, trial, placed = self.package, self.package.trial, self.placed
        return {
            "name": self.version.name,
            "version": self.version.version,
            "archive": str(package.archive),
            "url": self.version.url,
            "sha256": package.sha256,
            "size": package.size,
            "files": package.files,
            "leftOut": package.left_out,
            "inputs": trial.inputs,
            "outputs": trial.outputs,
            "golden": {"cases": trial.cases, "asked": trial.asked, "tries": trial.tries, "given": package.is_given},
            "remarks": [*trial.remarks, *self.remarks()],
            "entry": self.version.entry(),
            "edges": list(placed.edges) if placed else [],
            "port": placed.port if placed else None,
            "changes": [{"path": change.path, "what": change.what} for change in self.changes],
            "written": self.writes,
            "next": next_,
        }

    def _yaml(self) -> str:
        """The entry for the Model that there is, else a Model; and the set."""
        from reconciler.wiring.entries import set_document, written

        is_there = self.tree is not None and self.tree.declares(self.version.name)
        text = written([self.version.entry()]) if is_there else written(self.version.document())
        if self.wanted is not None and self.placed is not None:
            text += "---\n" + written(set_document(self.version, self.wanted, self.placed.port))
        return text

    def remarks(self) -> Iterator[str]:
        """What is to be known before it is committed."""
        scheme = self.version.url.partition(":")[0]
        fleet = (self.tree.declared.fleet() if self.tree is not None else None) or {}
        policy = fleet.get("artifacts") or {}
        if scheme == "file":
            yield "downloadURL is a file of this machine, for edges of this machine; --url names a server"
            if self.version.url == self.package.archive.as_uri():
                yield (
                    f"edges fetch {self.package.archive.name} from where it lies now: keep it there, and out of Git "
                    "(.gitignore), or write it elsewhere with --archive FILE"
                )
            if self.tree is not None and not policy.get("allowFile"):
                yield "Fleet.spec.artifacts.allowFile is off, so edges refuse file URLs: set it, or give --url"

    def next(self) -> Iterator[tuple[str, str]]:
        """Commands, and what each is for."""
        name, version, archive = self.version.name, self.version.version, shlex.quote(str(self.package.archive))
        if self.version.url != self.package.archive.as_uri():
            yield f"# put {archive} to {self.version.url}", ""
        if not self.writes:
            yield "# the same command with --write puts this into your work tree", ""
            return
        if self.changes:
            paths = " ".join(shlex.quote(change.path) for change in self.changes)
            message = shlex.quote(f"{'Serve' if self.placed else 'Declare'} {name} {version}")
            yield "reconciler plan --check", "what would change, and whether the file can be had"
            yield f"git add {paths} && git commit -m {message}", ""
        if self.placed is None:
            serving = self.tree.serving(name) if self.tree is not None else "*"
            yield f"# the same command with --deploy {shlex.quote(serving)} has edges serve it", ""
            return
        from reconciler.serving.endpoint import model_url

        yield "reconciler wait --commit HEAD", "until it is live; where the hub follows a remote, push first"
        url = model_url(self.placed.address, self.placed.port, name)
        first = " | python3 -c 'import json, sys; json.dump(json.load(sys.stdin)[\"cases\"][0], sys.stdout)'"
        golden = next(name for name in self.package.files if PurePosixPath(name).name == "golden.json")
        pick = first if self.package.trial.cases > 1 else ""
        yield f"tar xOzf {archive} {shlex.quote(golden)}{pick} | curl -s -d @- {url}/infer", ""


def _tell(package: "Package", *, is_new: bool) -> None:
    """What was tried and made, on stderr."""
    from reconciler.cli import draw
    from reconciler.wording import names

    at, trial = draw.screen(sys.stderr), package.trial
    how = f"found after {trial.tries} tries" if trial.tries > 1 else "the first that was tried"
    asked = (
        f"{trial.cases} question{'s' * (trial.cases != 1)} of its golden.json"
        if package.is_given
        else "without a question, as it has no input"
        if trial.tries and not trial.inputs
        else f"{trial.asked} ({how}; --example gives a real one)"
        if trial.tries
        else f"{trial.cases} example{'s' * (trial.cases != 1)}"
    )
    lines = [f"note: {remark}" for remark in trial.remarks]
    if package.left_out:
        lines.append(f"left out: {names(package.left_out)}")
    lines.append(f"takes {', '.join(trial.inputs) or 'nothing'}; gives {', '.join(trial.outputs)}")
    lines.append(f"answers {asked}; unpacked as an edge does it, it answers the same")
    made = "" if is_new else "already there: "
    lines.append(f"{made}{package.archive} ({package.size:,} bytes, sha256 {package.sha256[:12]})")
    for line in lines:
        draw.line(printable(line), at=at)  # one each, also where a name has a line's end in it


def _changes(
    tree: "Tree | None", version: "Version", wanted: "Deployment | None", placed: "Placed | None", *, force: bool
) -> "list[Change]":
    """What the work tree lacks. Raises UsageError, RepositoryRefused."""
    if tree is None:
        return []
    tree.require_own_archive(version)
    found = [tree.with_version(version, force=force)]
    if wanted is not None and placed is not None:
        found.append(tree.deployed(version, wanted, placed.port))
    return [change for change in found if change is not None]


def _write(tree: "Tree", changes: "list[Change]") -> None:
    from reconciler.sources.worktree import replace_file

    for change in changes:
        replace_file(tree.root / change.path, change.text.encode())


def _url(url: str | None, target: Path) -> str:
    if url is None:
        return target.as_uri()
    from urllib.parse import quote, urlsplit, urlunsplit

    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path + quote(target.name))) if parts.path.endswith("/") else url


def _deployment(labels: str, port: str | None) -> "Deployment":
    """What --deploy and --port say. Raises UsageError."""
    from reconciler.errors import UsageError
    from reconciler.wiring.entries import Deployment

    selector: dict[str, str] = {}
    for part in () if labels in EVERY else labels.split(","):
        key, equals, value = part.strip().partition("=")
        if not key or not equals or key in selector:
            raise UsageError(
                f"--deploy {labels!r} is no selector", hint="write site=demo,ring=canary; '*' is every edge"
            )
        selector[key] = value
    number = 0 if port in {None, "auto"} else int(port) if port and port.isascii() and port.isdigit() else -1
    if not (number == 0 and port in {None, "auto"}) and not 1 <= number <= 65_535:
        raise UsageError(f"--port {port} is no port", hint="write auto, or a number from 1 to 65535")
    return Deployment(selector, number)


def _tree(repo: str | None, path: str | None) -> "Tree | None":
    """The work tree that is meant, as it is on disk; None where this is none."""
    from reconciler.cli.followed import settings_of
    from reconciler.errors import UsageError
    from reconciler.sources.place import root_of
    from reconciler.wiring.entries import Tree

    if repo and "://" in repo and not repo.startswith("file://"):  # a remote, by the variable
        return None
    root = Path(repo.removeprefix("file://")) if repo else root_of(Path.cwd())
    if root is None:
        return None
    if not root.is_dir():
        raise UsageError(f"{root} is no directory of this machine", hint="name a work tree by --repo DIR")
    with tempfile.TemporaryDirectory() as scratch:
        return Tree.read(settings_of({"repo": str(root), "path": path, "state_dir": scratch}))


class Progress:
    """Tells how far it is: on a terminal one line, or a bar; elsewhere nothing but what takes long."""

    LINE_S: Final = 10.0

    def __init__(self) -> None:
        from reconciler.cli.draw import Bars, screen

        self._screen = screen(sys.stderr)
        self._bars = Bars(self._screen)
        self._status: Any = None
        self._since: dict[str, float] = {}
        self._told = 0.0

    def doing(self, words: str) -> None:
        """Something whose end is not known: how long it has taken."""
        self._bars.close()
        now = time.monotonic()
        if words not in self._since:
            self._since, self._told = {words: now}, now
        seconds = now - self._since[words]
        text = f"{words}: {seconds:.0f} s" if seconds >= 1 else words
        if self._screen.terminal:
            if self._status is None:
                self._status = self._screen.console().status(text)
                self._status.start()
            self._status.update(text)
        elif now - self._told >= self.LINE_S:
            self._told = now
            click.echo(text, err=True)

    def progress(self, stage: str, done: int, total: int | None) -> None:
        """Something in bytes."""
        if not self._screen.terminal:
            self.doing(stage)
            return
        self._end_status()
        self._bars.show([{"key": stage, "done": done, "total": total}] if done != total else [], time.monotonic())

    def close(self) -> None:
        """Leave the screen as it should stay."""
        self._end_status()
        self._bars.close()

    def _end_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


@contextmanager
def _narrated() -> Iterator[Progress]:
    progress = Progress()
    try:
        yield progress
    finally:
        progress.close()
