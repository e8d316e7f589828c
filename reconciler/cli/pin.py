"""`reconciler pin`: one edge stays at a version, by a line in its file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import completing, forms, repository, state
from reconciler.cli.wait import committed, waits

if TYPE_CHECKING:
    from reconciler.cli.pins import Pinnable
    from reconciler.wiring.preview import Preview


@click.command(epilog='Example: reconciler pin edge-1 digits@1 --reason "2 misreads sevens" --expires 2026-12-31')
@click.argument("edge", shell_complete=completing("edges"))
@click.argument("model", metavar="MODEL[@VERSION]", shell_complete=completing("pinnable"))
@click.option("--remove", is_flag=True, help="Remove the pin: the edge follows the others again.")
@click.option("--reason", help="Why, for whoever reads the file or `status`.  [default: as the pin says already]")
@click.option(
    "--expires", metavar="TIME", help="When it ends: 2d, a date (to its end) or RFC 3339.  [default: likewise]"
)
@waits
@repository
@state
@forms
def command(
    *,
    edge: str,
    model: str,
    remove: bool,
    reason: str | None,
    expires: str | None,
    wait_s: float | None,
    state_dir: Path,
    form: str,
    **where: str | None,
) -> int:
    """Write a pin for MODEL (a model, or a dataset) into the file of EDGE, and commit it; without VERSION, what it has.

    In a local work tree the commit is made there, refused while the file has changes of its own; else it is pushed.
    """
    from reconciler.cli.followed import followed
    from reconciler.cli.pins import edge_of, pinned_until, subject_of, text_at
    from reconciler.errors import UsageError
    from reconciler.sources.commit import Files, Message
    from reconciler.sources.edit import remove_pin, set_pin
    from reconciler.sources.publish import publish
    from reconciler.wiring.preview import preview

    name, at, version = model.partition("@")
    if at and not version:
        raise UsageError(f"{model}: no version behind the @", hint=f"write {name}@VERSION, or {name} for what it has")
    if remove and (version or reason is not None or expires is not None):
        raise UsageError("--remove takes a name and nothing else")
    with preview(followed(state_dir, **where)) as ahead:
        declared = ahead.declared()
        home = edge_of(declared, edge)
        subject = subject_of(declared, home, name, version)
        version = version or ("" if remove else _standing(ahead, subject))
        if not remove:
            expires = _spelled(expires)
            _require_ahead(pinned_until(home, subject) if expires is None else expires)

        def edit(head: str) -> Files:
            text, words = text_at(ahead.mirror, head, home.path), subject.words()
            if remove:
                return {home.path: remove_pin(text, edge=home.name, **words).encode()}
            pinned = set_pin(text, edge=home.name, **words, version=version, reason=reason, expires=expires)
            return {home.path: pinned.encode()}

        what = (
            f"Unpin {subject.called} on {home.name}" if remove else f"Pin {subject.called} on {home.name} to {version}"
        )
        commit = publish(ahead.mirror, edit, Message(f"{what}\n\n{reason or ''}"))
    answer = {"commit": commit, "path": home.path, "edge": home.name, **subject.words(), "version": version}
    words = f"{what}: {home.path} in commit {commit[:7]}"
    return committed(state_dir, wait_s, form=form, kind="Pin", answer=answer, words=words)


def _spelled(expires: str | None) -> str | None:
    """A date or a time, as the file has it; `2d` and `tomorrow` become the time that they mean now."""
    from reconciler.errors import UsageError
    from reconciler.model.expiry import expires_at
    from reconciler.web.moments import SPELLINGS, moment

    if not expires:
        return expires
    try:
        expires_at(expires)
    except ValueError:
        try:
            return f"{moment(expires, ahead=True)[:19]}Z"
        except UsageError as error:
            raise UsageError(f"--expires: {error.message}", hint=f"write it as {SPELLINGS}") from error
    return expires


def _require_ahead(expires: str) -> None:
    """Refuse a pin that would end before it begins: said so now, or by the pin that stands. Raises UsageError."""
    from reconciler.errors import UsageError
    from reconciler.history.events import rfc3339
    from reconciler.model.expiry import expires_at
    from reconciler.web.moments import ahead

    if expires:
        try:
            end = expires_at(expires)
        except ValueError as error:
            raise UsageError(f"--expires: {error}", hint="write it as 2026-11-30 or 2026-11-30T14:02:00Z") from error
        ahead(rfc3339(end), f"--expires {expires}")


def _standing(ahead: "Preview", subject: "Pinnable") -> str:
    """The version that the edge serves, by the log, else the one that was ordered."""
    from reconciler.errors import UsageError
    from reconciler.history.keys import DELIVER

    served = ahead.state.stage(DELIVER).known(subject.key)
    version = str(served.live.get("version") or served.order.get("version") or "")
    if not version:
        raise UsageError(
            f"which version? {subject.key.edge} has none of {subject.called} yet", hint=f"write {subject.name}@VERSION"
        )
    return version
