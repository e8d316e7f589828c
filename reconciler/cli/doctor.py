"""`reconciler doctor`: what this machine lacks, and how it is mended."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import click

from reconciler.cli.options import cluster, forms, require_with, state

BROKEN: Final = 4


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
@forms
def command(*, state_dir: Path, lease_namespace: str, lease: str, install: str, form: str, **cluster: Any) -> int:
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

        rows = ((one.verdict, one.check, "; ".join(filter(None, (one.found, one.fix)))) for one in findings)
        table(("", "CHECK", "FOUND, AND WHAT TO DO"), rows)
    else:
        from reconciler.cli.output import write

        write(form, "Findings", {"findings": findings})
    return BROKEN if Counter(one.verdict for one in findings)["fail"] else 0
