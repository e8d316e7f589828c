"""What `doctor` looks at in a cluster, before anything is applied. May import: kube, errors.

In: which cluster, as whom.  Out: findings. A check only reads, and never raises: what it meets is a finding.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.cli.checks import Finding
from reconciler.diagnostics import printable
from reconciler.errors import ReconcilerError, RightMissing
from reconciler.history.events import rfc3339
from reconciler.history.times import shown
from reconciler.kube.client.api import Api
from reconciler.kube.client.connection import Connection

SOON_S: Final = 3 * 86_400.0  # before the end of credentials, that they are spoken of


def of_cluster(
    home: str, lease: str, install: str, *, kubeconfig: Path | None, context: str | None, in_cluster: bool | None
) -> list[Finding]:
    """Every check, in order; those behind a failure that they need are left out. home: the namespace of the Lease.

    install: the name of this one; "" is that of the Lease.
    """
    try:
        connection = Connection.open(kubeconfig=kubeconfig, context=context or "", in_cluster=bool(in_cluster))
    except ReconcilerError as error:
        return [_failed("cluster", error)]
    try:
        api = Api(connection)
        found = [_answers(api)]
        if found[0].verdict == "ok":
            found += [*_trust(connection), *_expiry(connection), *_kinds(api), *_rights(api, home)]
            found += [_lease(api, home, lease), *_installs(api, install or f"{home}/{lease}")]
        return found
    finally:
        connection.close()


def _failed(check: str, error: ReconcilerError) -> Finding:
    return Finding("fail", check, f"{error.code}: {error.message}", error.advice)


def _answers(api: Api) -> Finding:
    """Whether it can be reached, and which release it is."""
    from reconciler.kube.admin.installed import decoded

    line = api.connection
    try:
        version = decoded(api.raw("/version")).get("gitVersion", "without a version")
    except ReconcilerError as error:
        return _failed("cluster", error)
    acting = f", acting for {line.acts_for}" if line.acts_for else ""
    return Finding("ok", "cluster", f"{line.server}, {version}, as {line.context}{acting}")


def _trust(connection: Connection) -> Iterator[Finding]:
    if not connection.verified:
        fix = "give the cluster's certificate-authority in the kubeconfig"
        yield Finding("warn", "certificate", "nobody checks whether the server is the one that is meant", fix)


def _expiry(connection: Connection) -> Iterator[Finding]:
    """When a token says that it ends (RFC 7519, `exp`). What is renewed by itself is not spoken of."""
    ends = connection.expires
    if ends is None:
        return
    left_s, fix = ends - time.time(), "`reconciler crds kubeconfig FILE --replace` makes a new one"
    soon = left_s < SOON_S
    said = f"good until {shown(rfc3339(ends))}"
    yield Finding("warn" if soon else "ok", "credentials", said, fix if soon else "")


def _installs(api: Api, install: str) -> Iterator[Finding]:
    """What other installs have in this cluster, by the label that each object carries; nothing where none is there."""
    from reconciler.kube.client.resources import OURS
    from reconciler.kube.watch.object import annotations_of
    from reconciler.model.identity import INSTALL, install_label

    others = f"{INSTALL},{INSTALL}!={install_label(install)}"
    found: Counter[str] = Counter()
    try:
        for resource in OURS.values():
            found.update(annotations_of(one).get(INSTALL, "") for one in api.everything(resource, others))
    except ReconcilerError:  # told above: of the kinds, or of the rights
        return
    for name, count in sorted(found.items()):
        said = f"{printable(name)[:253]} has {count} object{'s' * (count != 1)} here, which {install} leaves alone"
        yield Finding("ok", "install", said)


def _kinds(api: Api) -> Iterator[Finding]:
    """Each kind: installed, current, served."""
    from reconciler.kube.admin.installed import look

    fix = "`reconciler crds apply`"
    try:
        found = look(api)
    except ReconcilerError as error:
        yield _failed("kinds", error)
        return
    for one in found:
        name = f"kind {one.resource.kind}"
        match one.state:
            case "missing":
                yield Finding("fail", name, "not installed", fix)
            case "other":
                yield Finding("warn", name, "not what this release brings", f"{fix}, unless a newer one is at work")
            case "current":
                yield Finding("ok", name, "installed, current")
            case _:
                words = "being removed" if one.state == "leaving" else f"not served: {one.trouble or 'no reason given'}"
                yield Finding("fail", name, words, f"`kubectl describe crd {one.name}`")


def _rights(api: Api, home: str) -> Iterator[Finding]:
    """One line a rule that is not granted; one line where all are."""
    from reconciler.kube.admin.access import missing
    from reconciler.kube.client.rights import HOME, RULES

    try:
        lacking = missing(api, namespace=home)
    except ReconcilerError as error:
        yield _failed("rights", error)
        return
    for rule in lacking:
        place = f" in namespace {home}" if rule.namespaced else ""
        said = f"may not {', '.join(rule.verbs)} {rule.resource}{place}, {rule.why}"
        said += ", where Git declares any" if rule.optional else ""
        yield Finding("warn" if rule.optional else "fail", "right", said, rule.fix(home))
    if not lacking:
        count = sum(len(rule.verbs) for rule in (*RULES, *HOME))
        yield Finding("ok", "rights", f"all {count} that are needed")


def _lease(api: Api, home: str, name: str) -> Finding:
    """Who holds the Lease; where there is none, whether there could be one."""
    from reconciler.kube.admin.installed import decoded
    from reconciler.kube.client.resources import LEASES

    try:
        body = api.get(LEASES, name, home)
        if body is None:
            return _home(api, home, name)
    except ReconcilerError as error:
        return _failed("lease", error)
    spec = decoded(body).get("spec") or {}
    holder = printable(str(spec.get("holderIdentity") or ""))[:200]
    since = f" since {printable(str(spec.get('acquireTime') or ''))[:40]}" if holder else ""
    renewed = f", renewed {printable(str(spec.get('renewTime') or 'never'))[:40]}" if holder else ""
    return Finding("ok", "lease", f"{home}/{name} is held by {holder or 'nobody'}{since}{renewed}")


def _home(api: Api, home: str, name: str) -> Finding:
    """Whether the Lease's namespace is there. The hub's account may not read it, so a dry run may have to tell.

    Raises what Api raises.
    """
    from reconciler.kube.admin.installed import decoded
    from reconciler.kube.client.resources import LEASES, NAMESPACES

    free = Finding("ok", "lease", f"{home}/{name} is held by nobody: there is none yet")
    try:
        body = api.get(NAMESPACES, home)
    except RightMissing:
        made = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": {"name": name, "namespace": home}}
        api.create(LEASES, home, json.dumps(made).encode(), dry_run=True)
        return free
    if body is None:
        return Finding("fail", "lease", f"there is no namespace {home} for it", f"`kubectl create namespace {home}`")
    if decoded(body).get("status", {}).get("phase") == "Terminating":
        fix = f"wait until it is gone, then `kubectl create namespace {home}`"
        return Finding("fail", "lease", f"its namespace {home} is being deleted", fix)
    return free
