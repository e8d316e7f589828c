"""`reconciler rollback`: the files as they were at a point of the log, in one new commit."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import completing, forms, repository, state
from reconciler.cli.wait import committed, waits

if TYPE_CHECKING:
    from reconciler.history.state import State
    from reconciler.wiring.past import Past
    from reconciler.wiring.preview import Preview


@dataclass(frozen=True)
class PinChange:
    """One file that the rollback changes. action: `restore`, `remove` or `pin`."""

    path: str
    action: str
    detail: str


@dataclass(frozen=True)
class Way:
    """How to go back: the files (None: removed), what each change means, and what cannot be brought back."""

    files: Mapping[str, bytes | None]
    changes: tuple[PinChange, ...]
    left: tuple[str, ...] = ()


@click.command(epilog="Example: reconciler rollback --to 2026-11-30T14:00:00Z")
@click.option(
    "--to",
    "to",
    required=True,
    metavar="SEQ|TIME|COMMIT",
    shell_complete=completing("commits"),
    help="The point: `reconciler history` shows them.",
)
@click.option(
    "--edge",
    default="",
    shell_complete=completing("edges"),
    help="Only this edge, by pins in its file to the versions it had then.",
)
@click.option("--yes", is_flag=True, help="Do it without asking.")
@waits
@repository
@state
@forms
def command(
    *,
    to: str,
    edge: str,
    yes: bool,
    wait_s: float | None,
    state_dir: Path,
    form: str,
    **where: str | None,
) -> int:
    """Show which files change, ask, then restore them, byte for byte from the log, in one commit on top of the branch.

    Nothing is rewritten: `git revert` takes it back. In a local work tree the commit is made there, else it is pushed.
    """
    from reconciler.cli.followed import followed
    from reconciler.cli.verbs import answered
    from reconciler.sources.commit import Message
    from reconciler.sources.publish import publish
    from reconciler.web.moments import point, work_tree
    from reconciler.wiring.past import opened
    from reconciler.wiring.preview import preview

    settings = followed(state_dir, **where)
    with opened(state_dir) as past, preview(settings) as ahead:
        then = past.replay.at(point(to, past.log, work_tree(Path(settings.repo))))
        at = f"{f'commit {then.ref.commit[:7]}' if then.ref.commit else 'the beginning'} (entry {then.seq})"

        def way(head: str) -> Way:
            return to_pins(edge, then, ahead, head) if edge else to_files(then, past, ahead, head, settings.path)

        first = way(ahead.mirror.fetch())
        if form == "table" or not yes:
            _show(first, effects(then, ahead.state, edge))
        if not first.files:
            answered(form, "Rollback", {"commit": "", "changes": []}, f"nothing differs from {at}")
            return 0
        _agree(yes)
        what = f"Roll back{f' {edge}' if edge else ''} to {at}"
        commit = publish(ahead.mirror, lambda head: way(head).files, Message(what))
    changes = [{"path": one.path, "action": one.action, "detail": one.detail} for one in first.changes]
    answer = {"commit": commit, "changes": changes}
    words = f"{what}: commit {commit[:7]}"
    return committed(state_dir, wait_s, form=form, kind="Rollback", answer=answer, words=words)


def to_files(then: "State", past: "Past", ahead: "Preview", head: str, folder: str) -> Way:
    """Every manifest as it was. What was refused then was never recorded, and stays as it is; as do foreign files."""
    ours = {*then.files, *ahead.state.files, *ahead.declared().paths()}
    whole = ahead.mirror.changes(None, head, folder)
    there = {change.path: change.new_oid for change in whole if change.path in ours}
    files: dict[str, bytes | None] = {}
    changes, left = [], []
    for path in sorted(there.keys() | then.files.keys()):
        wanted = then.files.get(path)
        if wanted == there.get(path):
            continue
        content = past.log.blob(wanted) if wanted else None
        if wanted and content is None:
            left.append(f"{path} is not in the log as it was then: it was refused")
            continue
        files[path] = content
        changes.append(PinChange(path, "restore" if wanted else "remove", wanted[:7] if wanted else ""))
    return Way(files, tuple(changes), tuple(left))


def to_pins(edge: str, then: "State", ahead: "Preview", head: str) -> Way:
    """Pins in the Edge's file for what it was to have then and is not to have now."""
    from reconciler.cli.pins import edge_of, subjects, text_at
    from reconciler.history.keys import DELIVER, Key
    from reconciler.sources.edit import set_pin

    declared = ahead.declared()
    where = edge_of(declared, edge)
    there = {str(one.key): one for one in subjects(declared, where)}
    before = text = text_at(ahead.mirror, head, where.path)
    changes, left = [], []
    for key, served in sorted(then.stage(DELIVER).keys.items()):
        version = str(served.order.get("version", ""))
        if Key.parse(key).edge != edge or not version:
            continue
        now, subject = ahead.state.stage(DELIVER).keys.get(key), there.get(key)
        if now is not None and now.order.get("version") == version:
            continue
        if subject is None or version not in subject.versions:
            left.append(f"{key} cannot be pinned to {version}: the repository no longer offers that")
            continue
        reason = f"rolled back to entry {then.seq}"
        text = set_pin(text, edge=edge, **subject.words(), version=version, reason=reason, expires="")
        changes.append(PinChange(where.path, "pin", f"{subject.field} {subject.name} to {version}"))
    files: dict[str, bytes | None] = {} if text == before else {where.path: text.encode()}
    return Way(files, tuple(changes), tuple(left))


def effects(then: "State", now: "State", edge: str = "") -> list[str]:
    """What becomes of what was ordered: `digits on 20 edges (edge-1 … edge-20): version 2 → 1`. edge: of it alone."""
    from reconciler.history.keys import DECLARE, DELIVER, Key, spoken
    from reconciler.history.timeline import labelled, named
    from reconciler.natural import in_order
    from reconciler.wording import grouped, names

    pairs: list[tuple[tuple[str, str], Key]] = []
    for stage in (DELIVER, DECLARE):
        orders, before = now.stage(stage), then.stage(stage)
        for text in in_order(orders.keys.keys() | before.keys.keys()):
            is_, was, key = orders.known(text).order, before.known(text).order, Key.parse(text)
            if is_ != was and edge in {"", key.edge}:
                what = labelled(key.kind, named(key, is_ or was)) if key.edge else key.kind
                pairs.append(((what, _becomes(is_, was)), key))
    told = []
    for (what, becomes), keys in grouped(pairs):
        if keys[0].edge:
            on = keys[0].edge if len(keys) == 1 else f"{len(keys)} edges ({names(key.edge for key in keys)})"
            told.append(f"{what} on {on}: {becomes}")
        else:
            many = f"{len(keys)} of {what} ({names(spoken(key) for key in keys)})"
            told.append(f"{spoken(keys[0]) if len(keys) == 1 else many}: {becomes}")
    return told


def _becomes(is_: Mapping[str, Any], was: Mapping[str, Any]) -> str:
    """What becomes of an order that is as it was then."""
    if not was:
        return "it goes"
    old, new = (str(one.get("version") or one.get("spec", {}).get("targetVersion") or "") for one in (is_, was))
    if not is_:
        return f"it comes back{f', in version {new}' if new else ''}"
    return f"version {old or '(none)'} → {new}" if new and old != new else "it changes"


def _show(way: Way, told: Sequence[str]) -> None:
    """The preview: talk, on stderr."""
    from reconciler.cli.draw import line, screen, table

    at = screen(sys.stderr)
    if way.changes:
        said = ((one.action, one.path, one.detail if one.action == "pin" else "") for one in way.changes)
        table(("CHANGE", "FILE", ""), said, at)
        for words in told or ["nothing that was ordered then differs from what is ordered now"]:
            line(words, at=at)
    for words in way.left:
        line(f"note: {words}", at=at)


def _agree(yes: bool) -> None:
    from reconciler.errors import UsageError

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nothing was changed: nobody is here to be asked", hint="add --yes to do what is shown")
    click.confirm("Make this one commit?", abort=True, err=True)
