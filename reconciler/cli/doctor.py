"""`reconciler doctor`: what this machine lacks, and how it is mended."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.options import cluster, forms, one_by_one, require_with, state

if TYPE_CHECKING:
    from reconciler.cli.checks import Finding

BROKEN: Final = 4
_VARIES: Final = {  # what differs between findings of many edges that are otherwise the same
    "PID": re.compile(r"(?<=process )\d+|(?<=pid )\d+"),
    "ADDRESS:PORT": re.compile(r"[0-9a-f.:]*[0-9a-f.]:\d{1,5}\b"),
}


@click.command(epilog="Example: reconciler doctor --context kind-fleet")
@state
@cluster
@click.option(
    "--lease-namespace",
    envvar="RECONCILER_LEASE_NAMESPACE",
    default="reconciler-system",
    show_default=True,
    help="Where the Lease is, whose rights are looked at.",
)
@click.option(
    "--lease", envvar="RECONCILER_LEASE", default="reconciler", show_default=True, help="The name of that Lease."
)
@click.option(
    "--install", envvar="RECONCILER_INSTALL", default="", help="What its objects carry.  [default: the Lease]"
)
@one_by_one
@forms
def command(
    *, state_dir: Path, lease_namespace: str, lease: str, install: str, each: bool, form: str, **cluster: Any
) -> int:
    """Check this machine and its state directory; every line is ok, warn or fail, with what mends it. Changes nothing.

    With a cluster: whether it answers, has the kinds, and grants every right that is needed, who holds the Lease, until
    when the account is good, and what other installs have there.
    Exit code 4: something fails.
    """
    from reconciler.cli.checks import every

    is_cluster = any(cluster.values())
    for option in ("lease_namespace", "lease", "install"):
        require_with(option, other="--context, --kubeconfig or --in-cluster", is_there=is_cluster)
    findings = every(state_dir, in_cluster=is_cluster)
    if is_cluster:
        from reconciler.cli.checks_cluster import of_cluster

        findings += of_cluster(lease_namespace, lease, install, **cluster)
    if form == "table":
        from reconciler.cli.draw import table

        rows = _rows(findings, each=each)
        table(("", "CHECK", "FOUND, AND WHAT TO DO"), rows)
    else:
        from reconciler.cli.output import write

        write(form, "Findings", {"findings": findings})
    return BROKEN if Counter(one.verdict for one in findings)["fail"] else 0


def _rows(findings: "Sequence[Finding]", *, each: bool) -> Iterator[tuple[str, str, str]]:
    """Verdict, check, what was found and what to do; what is alike of many edges once, unless each is asked for."""
    from reconciler.wording import general, grouped, named_of

    def general_of(one: "Finding", text: str) -> str:
        text = general(text, {one.edge: "EDGE"})
        for name, varies in _VARIES.items():
            text = varies.sub(name, text) if one.edge else text
        return text

    said = [(tuple(general_of(one, text) for text in (one.verdict, *_texts(one))), one) for one in findings]
    for what, alike in grouped(said, each=each):
        verdict, check, found = what if len(alike) > 1 else (alike[0].verdict, *_texts(alike[0]))
        yield verdict, check.replace("EDGE", named_of(one.edge for one in alike)) if len(alike) > 1 else check, found


def _texts(one: "Finding") -> tuple[str, str]:
    return one.check, "; ".join(filter(None, (one.found, one.fix)))
