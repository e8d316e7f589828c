"""`reconciler log`: the log as files: verified, exported, sealed, copied."""

import sys
from pathlib import Path

import click

from reconciler.cli.options import completing, forms, state

edge_option = click.option(
    "--edge",
    default="",
    shell_complete=completing("edges"),
    help="The log of this edge of this machine.  [default: the hub's]",
)


@click.group()
def command() -> None:
    """Look after the event log."""


@command.command(
    short_help="Compare every entry with its hash.",
    epilog="Example: reconciler log verify && echo the whole chain holds",
)
@edge_option
@state
@forms
def verify(*, edge: str, state_dir: Path, form: str) -> None:
    """Read every entry and source file again and compare hashes, columns, ids. Exit code 6 names the first misfit."""
    from reconciler.cli.verbs import answered
    from reconciler.wiring.past import opened

    with opened(state_dir, edge) as past:
        found = past.log.verify()
    head, files, readers = found.head.hash.hex(), found.segments, found.readers
    answer = {"entries": found.entries, "head": head, "files": files, "readers": readers}
    among = f"{files} file{'s' * (files != 1)} hold, for {readers} reader{'s' * (readers != 1)}"
    answered(form, "Verification", answer, f"{found.entries} entries in {among}; head {head}")


@command.command(
    short_help="Write every entry as one line of JSON.", epilog="Example: reconciler log export | gzip > log.jsonl.gz"
)
@edge_option
@click.option("--after", type=click.IntRange(min=0), default=0, show_default=True, help="Only entries behind this one.")
@state
@forms
def export(*, edge: str, after: int, state_dir: Path, form: str) -> None:  # noqa: ARG001  # for errors
    """Write every entry as one line of JSON: its sequence number, its hash and its stored bytes."""
    from reconciler.eventlog.backup import export as lines
    from reconciler.wiring.past import opened

    with opened(state_dir, edge) as past:
        for line in lines(past.log, after):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


@command.command(short_help="Close the live file, and go on in a new one.", epilog="Example: reconciler log seal")
@state
@forms
def seal(*, state_dir: Path, form: str) -> None:
    """Close the live file of the hub's log under its final name, read-only, and go on in a new one."""
    from reconciler.cli.verbs import answered, ask_here

    answer = ask_here(state_dir, "seal")
    answered(form, "Seal", answer, f"sealed {answer['sealed']}")


@command.command(
    short_help="Copy the log, and verify the copy.", epilog="Example: reconciler log backup /backup/log.db"
)
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@edge_option
@state
@forms
def backup(*, target: Path, edge: str, state_dir: Path, form: str) -> None:
    """Copy the log with its sealed files to TARGET, a log again, and verify the copy. The writer may go on."""
    from reconciler.cli.verbs import answered
    from reconciler.eventlog.backup import backup as copy
    from reconciler.wiring.past import opened

    with opened(state_dir, edge) as past:
        found = copy(past.home.log, target.absolute())
    answer = {"target": str(target.absolute()), "entries": found.entries, "head": found.head.hash.hex()}
    answered(form, "Backup", answer, f"{found.entries} entries at {target}; head {answer['head']}")
