"""`reconciler wait`: until a commit is live, or what holds it."""

import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.options import Duration, completing, forms, names, one_by_one, require_with, where
from reconciler.cli.where import Where

if TYPE_CHECKING:
    from reconciler.errors import ReconcilerError
    from reconciler.history.awaited import Awaited, Hold

Look = Callable[[float, "Awaited | None"], "Awaited"]
LOOK_S, LOOK_MOST_S = 0.3, 2.0  # between two looks, at first and at last
SHOWN: Final = 20
CODES: Final = {"live": 0, "failing": 1, "refused": 3, "under way": 4, "unread": 4, "waits": 5}


@click.command(epilog="Example: git push && reconciler wait --commit $(git rev-parse HEAD) --timeout 300")
@names
@click.option(
    "--commit",
    metavar="SHA",
    default="",
    shell_complete=completing("commits"),
    help="Which.  [default: HEAD of --repo, else the hub's newest]",
)
@click.option(
    "--timeout", "timeout_s", type=Duration(), default=300.0, show_default=True, help="For how long, as 90s or 5m."
)
@click.option("--repo", type=click.Path(path_type=Path, file_okay=False, exists=True), help="A work tree of it.")
@click.option("--branch", default="", help="What the hub follows, where it cannot say.  [default: main]")
@one_by_one
@where
@forms
def command(
    *,
    about: dict[str, str],
    commit: str,
    timeout_s: float,
    repo: Path | None,
    branch: str,
    each: bool,
    where: Where,
    form: str,
) -> int:
    """Wait until a commit is live, of EDGE and MODEL alone where they are given, or say what holds it.

    Live is a commit that is accepted, or a newer one that contains it, when nothing of its plan is still to be begun,
    open, waiting, refused or drifted, and a reconciler runs. It ends before --timeout where time alone does not bring
    it; a hub that does not run, or does not answer, is waited for, which is said at once.

    Ends with 0: live, 1: failing, 3: a document is refused, 4: not in time or no answer, 5: a person has to act.
    """
    from reconciler.errors import NameUnknown

    tree = _tree(repo) if repo else (Path.cwd() if (Path.cwd() / ".git").exists() else None)
    require_with("branch", other="--repo or a work tree", is_there=tree is not None)
    asked = _resolved(commit or ("HEAD" if repo is not None else ""), tree)
    said = {"commit": asked, **about}

    def look(patience_s: float, answer: "Awaited | None") -> "Awaited":
        known = {"after": str(answer.seq)} if answer is not None and answer.seq else {}
        found: Awaited = within(patience_s, lambda: where.ask("wait", said | known))
        if found.word == "unread" and tree is not None and found.commit:
            if found.read and _contains(tree, found.read, found.commit):  # older than what the log begins with
                said["commit"] = found.read
                return look(patience_s, None)
            followed = branch or _followed(where) or "main"
            if _is_elsewhere(tree, followed, found.commit):
                what = f"commit {found.commit[:12]} is not in {followed}, the branch that the hub follows"
                raise NameUnknown(what, hint="it is read when it is merged; or name the branch with --branch")
        return found

    answer = until_live(of_running(where, look), timeout_s, shows=form == "table")
    tell(answer, form, each=each)
    return CODES[answer.word]


def of_running(where: Where, look: Look) -> Look:
    """The same look, but by which nothing is live where no reconciler runs. It may come back, and is waited for."""
    from reconciler.edge.paths import StateDirectory
    from reconciler.eventlog.lock import is_held
    from reconciler.history.awaited import Awaited, unserved

    log = StateDirectory(where.state_dir).hub.log

    def looked(patience_s: float, before: Awaited | None) -> Awaited:
        if where.is_remote or is_held(log):
            return look(patience_s, before)
        there = log.exists()
        found = look(patience_s, before) if there else Awaited(commit="", accepted="", read="", word="", keys=0)
        return unserved(found, str(where.state_dir), has_log=there)

    return looked


def until_live(look: Look, timeout_s: float, *, shows: bool) -> "Awaited":
    """The last answer: that it is live, or what holds it when time is over or does not help.

    look: (seconds it may take, the answer before) -> an answer. What it raises because nobody answered well is tried
    again until the time is over, and raised then, as WorldUnavailable.  shows: whom it waits for where nobody answers,
    and a line of progress on a terminal.
    """
    from reconciler.errors import ReconcilerError, UsageError, WorldUnavailable

    begun, pause_s, answer = time.monotonic(), LOOK_S, None
    line = _Progress(is_told=shows, is_shown=shows and sys.stderr.isatty())
    try:
        while True:
            left_s = begun + timeout_s - time.monotonic()
            failure: ReconcilerError | None = None
            try:
                answer = look(max(left_s, LOOK_MOST_S), answer)
                line.show(_summed(answer))
                if answer.word == "live" or not _may_come(answer, time.time() + begun + timeout_s - time.monotonic()):
                    return answer
            except ReconcilerError as error:
                if not _may_answer(error):
                    raise
                failure = error
                line.show(f"{error.code}: {error.message}")
            left_s = begun + timeout_s - time.monotonic()
            if left_s <= 0:
                if isinstance(failure, UsageError):  # that nobody listens is no answer, and not what was typed
                    raise WorldUnavailable(failure.message, hint=failure.advice) from failure
                if failure is not None:
                    raise failure
                assert answer is not None
                return answer
            if failure is not None:
                line.tell(f"waiting: {failure.message}")
            elif answer is not None and answer.word == "unread":
                line.tell(f"waiting: {answer.holds[0].why}")
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, LOOK_MOST_S)
    finally:
        line.end()


def _may_come(answer: "Awaited", end: float) -> bool:
    """Whether time may bring it until then (seconds since 1970): something moves, or is tried again before."""
    from datetime import datetime

    def helps(hold: "Hold") -> bool:
        return hold.by_itself and (not hold.until or datetime.fromisoformat(hold.until).timestamp() <= end)

    return any(helps(hold) for hold in answer.holds)


def _may_answer(error: "ReconcilerError") -> bool:
    """Whether another answer may come by waiting: nobody listens yet, or what listens is of another release."""
    from reconciler.errors import HubUnreachable, UsageError

    is_older = "nothing is at /api/v1" in error.message
    return is_older or isinstance(error, HubUnreachable) or not isinstance(error, UsageError)


def within(patience_s: float, ask: Callable[[], Any]) -> Any:
    """What `ask` says. Raises what it raised; WorldUnavailable where that takes longer, however it trickles."""
    from reconciler.errors import ReconcilerError, WorldUnavailable

    found: list[Any] = []

    def run() -> None:
        try:
            found.append((ask(), None))
        except ReconcilerError as failure:
            found.append((None, failure))
        except Exception as odd:  # noqa: BLE001  # risen again where it is waited for
            found.append((None, odd))

    asking = threading.Thread(target=run, name="ask", daemon=True)
    asking.start()
    asking.join(patience_s)
    if not found:
        raise WorldUnavailable(f"no answer within {patience_s:.0f} s", hint="`reconciler status` asks the same hub")
    answer, failure = found[0]
    if isinstance(failure, (TypeError, ValueError, AttributeError, LookupError)):
        hint = "is it a hub that is asked, and of this release?"
        raise WorldUnavailable(f"what was answered is no hub's answer: {failure}", hint=hint) from failure
    if failure is not None:
        raise failure
    return answer


def waits(command: Callable[..., Any]) -> Callable[..., Any]:
    """--wait and --timeout of a command that makes a commit, as `wait_s`: None where it does not wait."""

    @functools.wraps(command)
    def waiting(*, wait: bool, timeout_s: float, **options: Any) -> Any:
        require_with("timeout_s", other="--wait", is_there=wait)
        return command(**options, wait_s=timeout_s if wait else None)

    seconds = click.option(
        "--timeout", "timeout_s", type=Duration(), default=300.0, help="How long --wait waits: 90s, 5m."
    )
    return click.option("--wait", is_flag=True, help="Until that commit is live; ends as `reconciler wait` does.")(
        seconds(waiting)
    )


def committed(
    state_dir: Path, wait_s: float | None, *, form: str, kind: str, answer: dict[str, Any], words: str
) -> int:
    """Say what was committed, and wait until that is live, where that is asked. The exit code."""
    from reconciler.cli.verbs import answered
    from reconciler.web.document import plain

    if wait_s is None or form == "table":
        answered(form, kind, answer, words)
    if wait_s is None:
        return 0
    place, said = Where(state_dir), {"commit": str(answer["commit"])}

    def look(patience_s: float, _: "Awaited | None") -> "Awaited":
        found: Awaited = within(patience_s, lambda: place.ask("wait", said))
        return found

    seen = until_live(of_running(place, look), wait_s, shows=form == "table")
    if form == "table":
        tell(seen, form)
    else:
        answered(form, kind, {**answer, "word": seen.word, "holds": plain(seen.holds)}, words)
    return CODES[seen.word]


def tell(answer: "Awaited", form: str, *, each: bool = False) -> None:
    """Say how it stands: for people what holds it, else the answer itself."""
    if form != "table":
        from reconciler.cli.output import write

        write(form, "Awaited", answer)
        return
    from reconciler.cli.draw import line

    line(_summed(answer), "green" if answer.word == "live" else "red")
    show_holds(answer.holds, each=each)


def show_holds(holds: "Sequence[Hold]", *, each: bool = False) -> None:
    """What holds it, for people: a line for those that are held alike. each: a line for each."""
    from reconciler.cli.draw import line
    from reconciler.diagnostics import printable
    from reconciler.history.awaited import alike

    said = alike(holds, each=each)
    most = len(said) if each else SHOWN
    for hold in said[:most]:
        line(printable(f"  {hold.words}"))
    if len(said) > most:
        line(f"  and {len(said) - most} more: `reconciler status`")


def _summed(answer: "Awaited") -> str:
    what = f"commit {answer.commit[:7]}" if answer.commit else "it"
    if answer.word == "live":
        newer = f", in {answer.accepted[:7]}" if answer.accepted != answer.commit else ""
        keys = answer.keys
        many = f"{keys} of {keys} as Git says" if keys else "nothing is left to do"
        other = "" if answer.concerns else "; it changes nothing of what was asked about"
        return f"{what} is live{newer}: {many}{other}"
    held = "1 thing holds it" if len(answer.holds) == 1 else f"{len(answer.holds)} things hold it"
    words = {"under way": "is under way", "unread": "is not known to be live", "waits": "waits", "failing": "fails"}
    return f"{what} {words.get(answer.word, 'is refused')}: {held}"


class _Progress:
    """One line on a terminal, written over; and what is told once, wherever stderr goes."""

    def __init__(self, *, is_told: bool, is_shown: bool) -> None:
        self._is_told, self._is_shown, self._has_written = is_told, is_shown, False
        self._told: set[str] = set()

    def tell(self, words: str) -> None:
        from reconciler.diagnostics import printable

        if self._is_told and words not in self._told:
            self._told.add(words)
            self.end()
            click.echo(printable(words), err=True)

    def show(self, words: str) -> None:
        from reconciler.diagnostics import printable

        if self._is_shown:
            width = max(10, os.get_terminal_size(sys.stderr.fileno()).columns - 1)
            click.echo(f"\r\x1b[K{printable(words)[:width]}", err=True, nl=False)
            self._has_written = True

    def end(self) -> None:
        if self._has_written:
            click.echo("\r\x1b[K", err=True, nl=False)


def _tree(repo: Path) -> Path:
    """The work tree that is named. Raises UsageError where there is none."""
    from reconciler.errors import UsageError
    from reconciler.sources.place import root_of

    place = repo.resolve()
    root = root_of(place)
    if root is None:
        raise UsageError(f"{place} is no Git repository", hint="name a work tree of what the hub follows")
    return root


def _resolved(commit: str, tree: Path | None) -> str:
    """The full id of a commit that a work tree knows; as it was given where it does not. Raises UsageError."""
    from reconciler.errors import UsageError
    from reconciler.sources.revision import revision

    found = revision(commit, tree) if commit and tree is not None else ""
    if not commit or found:
        return found
    if not (4 <= len(commit) <= 40) or set(commit.lower()) - set("0123456789abcdef"):
        hint = "call this in the work tree that knows it, or give the id"
        raise UsageError(f"--commit {commit}: this is no commit's id", hint=hint)
    return commit.lower()


def _contains(tree: Path, newer: str, commit: str) -> bool:
    """Whether a work tree knows that one commit contains another one."""
    from reconciler.sources.revision import contains

    return contains(tree, newer, commit)


def _is_elsewhere(tree: Path, branch: str, commit: str) -> bool:
    """Whether a work tree knows the commit and the branch, here or as a remote's, and none of these has it."""
    from reconciler.sources.revision import contains, revision, tips

    ends = tips(tree, branch)
    return bool(ends and revision(commit, tree)) and not any(contains(tree, end, commit) for end in ends)


def _followed(where: Where) -> str:
    """The branch that the reconciler of this machine follows; "" where none runs or it is elsewhere."""
    from reconciler.cli.followed import running

    said: Mapping[str, str] = {} if where.is_remote else running(where.state_dir)
    return said.get("branch", "")
