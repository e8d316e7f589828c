"""Versions are immutable: what names one keeps its digest. May import: planning, diagnostics. Pure."""

from reconciler.diagnostics import Diagnostic
from reconciler.planning.declared import Object
from reconciler.planning.versions import entries_of


def mutated_version(old: Object | None, new: Object) -> Diagnostic | None:
    """The problem when a version that `old` had has another digest in `new`; None when there is none."""
    before = _digests(old) if old is not None else {}
    for n, (version, digest) in enumerate(_digests(new).items()):
        known = before.get(version)
        if known and digest and known != digest:
            fields = (f"versions/{n}", f"manifest/{n}", "versions", "manifest", "template")
            return Diagnostic(
                code="RX221",
                message=f"version {version} of {new.name} was {known[:12]}… and is now {digest[:12]}…",
                path=new.path,
                line=next((new.lines[name] for name in fields if name in new.lines), new.line),
                column=1,
                help="publish the changed file as a new version; what was declared before stays in force",
            )
    return None


def _digests(obj: Object) -> dict[str, str]:
    return {str(entry["version"]): entry.get("sha256sum") or "" for entry in entries_of(obj)}
