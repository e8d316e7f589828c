"""Every failure that the product can name. Imports only diagnostics.

    ReconcilerError              code   exit  retry
    |- UsageError                RX1xx     2  person
    |  |- SettingInvalid         RX102
    |  |- NameUnknown            RX103
    |  |- HubUnreachable         RX104
    |  |- SourceMissing          RX105
    |  |- MachineUnfit           RX106
    |  '- NameAmbiguous          RX107
    |- RepositoryRefused         RX2xx     3  person
    |- WorldUnavailable          RX3xx     4  soon
    |  |- GitUnavailable         RX301
    |  |- ArtifactUnavailable    RX302
    |  |- RuntimeUnavailable     RX303
    |  |- StorageExhausted       RX304
    |  |- ApiUnavailable         RX305
    |  |- CredentialsRefused     RX306
    |  '- LeaseLost              RX307
    |- WorldRefused              RX4xx     5  later
    |  |- DigestMismatch         RX401        rarely
    |  |- ArchiveRefused         RX402        content
    |  |- AddressRefused         RX403
    |  |- ProbeFailed            RX404        content
    |  |- PreflightRefused       RX405        content
    |  |- PortTaken              RX406        seen
    |  |- GitRefused             RX407
    |  |- PlanHeld               RX409        person
    |  |- ArtifactRefused        RX410
    |  |- ApiRefused             RX411
    |  |- FieldConflict          RX412
    |  |- RightMissing           RX413
    |  |- KindMissing            RX414
    |  '- AnswerRefused          RX420
    '- HistoryError              RX5xx     6  person
    |  |- WrongExpectedVersion   RX501        soon
    |  |- ChainBroken            RX502
    |  |- SecondWriter           RX503
    |  |- ForkFound              RX504
    |  |- GapFound               RX505        soon
    |  |- PointUnknown           RX506
    |  |- LogTooNew              RX507
    |  '- LogWriteFailed         RX508
    '- Defect                     RX6xx    70  later

A *diagnostic* (the user's files are wrong) is a value, listed in DIAGNOSTICS below; a *failure* is an exception from
this tree; anything else is a bug and keeps its traceback. An adapter translates: no foreign exception passes a port.
"""

import re
import traceback
from collections.abc import Sequence
from enum import Enum
from functools import cache
from typing import Any, ClassVar

from reconciler.diagnostics import Diagnostic

_NUMBERED = re.compile(r"\[Errno -?\d+\] ")  # what Python puts before the words of the operating system


class Retry(Enum):
    """When a running reconciler tries again what failed so (decision 8), in words. How soon: engine.retry."""

    SOON = "by itself within minutes, for ever, or at once by `reconciler reconcile`"
    LATER = "by itself when `reconciler status` says, or at once by `reconciler reconcile`, a restart or another commit"
    RARELY = "by itself, seldom, when `reconciler status` says, or at once by `reconciler reconcile` or a restart"
    SEEN = "by itself as soon as what is in the way is seen to be gone, or at once by `reconciler reconcile`"
    CONTENT = "only with other content, or when `reconciler release EDGE MODEL` lets it"
    PERSON = "only when somebody has acted"


class ReconcilerError(Exception):
    """A failure with a code, an exit code, when trying again can help, and a hint naming the next step."""

    code: ClassVar[str] = "RX000"
    exit_code: ClassVar[int] = 70
    retry: ClassVar[Retry] = Retry.LATER
    hint: ClassVar[str] = "run `reconciler doctor`"

    def __init__(self, message: str, *, hint: str = "") -> None:
        message = _NUMBERED.sub("", message)
        super().__init__(message)
        self.message = message
        self.advice = hint or type(self).hint

    @property
    def retryable(self) -> bool:
        """Whether the world may answer another time, so that nothing is over by this failure."""
        return self.retry is Retry.SOON

    def as_dict(self) -> dict[str, object]:
        """JSON form, as `--output json` prints it on stderr and events carry it."""
        return {"code": self.code, "error": self.message, "hint": self.advice, "retryable": self.retryable}


class UsageError(ReconcilerError):
    """A wrong argument or setting: what was typed cannot be meant."""

    code, exit_code, retry, hint = "RX101", 2, Retry.PERSON, "`--help` behind the command says what it takes"


class SettingInvalid(UsageError):
    """A setting (option, environment variable or file) has a value that it cannot have."""

    code, hint = "RX102", "see `reconciler run --help` for the settings and their units"


class NameUnknown(UsageError):
    """A name given on the command line (edge, model, plan digest) is not known here."""

    code, hint = "RX103", "see `reconciler status` for the names there are"


class HubUnreachable(UsageError):
    """The command needs a running reconciler or its log, and neither is at the state directory that was named."""

    code, hint = "RX104", "start one with `reconciler run --repo REPO`, or name its --state directory"


class SourceMissing(UsageError):
    """The Git remote answered, and has no such repository, branch or folder. Where nothing was read of it yet, the
    reconciler ends with this; what was followed and vanishes is waited for, or its plan is held.
    """

    code, hint = "RX105", "name what there is, by --repo, --branch and --path"


class MachineUnfit(UsageError):
    """Something that the command needs of this machine is missing, full or not permitted: a directory, an
    output, a package.
    """

    code, hint = "RX106", "`reconciler doctor` looks at this machine"


class NameAmbiguous(UsageError):
    """A name given on the command line is that of an edge, and of a model, dataset or object too."""

    code, hint = "RX107", "write edge/NAME, model/NAME or dataset/NAME"


class RepositoryRefused(ReconcilerError):
    """One or more files in Git are wrong. Carries the diagnostics; what they declared keeps its last good state."""

    code, exit_code, retry, hint = "RX200", 3, Retry.PERSON, "mend the lines shown, commit and push"

    def __init__(self, problems: Sequence[Diagnostic], *, hint: str = "") -> None:
        super().__init__(f"{len(problems)} problem(s) in the repository", hint=hint)
        self.problems = tuple(problems)


class WorldUnavailable(ReconcilerError):
    """Git, a store, a server or a runtime did not answer. Tried again with back-off, for ever."""

    code, exit_code, retry = "RX300", 4, Retry.SOON
    hint = "it is tried again by itself; `reconciler status` shows when"


class GitUnavailable(WorldUnavailable):
    """The Git remote did not answer, cut the transfer, or refused the credentials. The last good commit stays."""

    code, hint = "RX301", "check the remote with `git ls-remote`; the last good commit stays in force meanwhile"


class ArtifactUnavailable(WorldUnavailable):
    """A download broke off, timed out, was too slow, or its server answered 5xx, 408 or 429. It resumes by itself."""

    code, hint = "RX302", "it resumes by itself; check that the downloadURL answers from the edge"


class RuntimeUnavailable(WorldUnavailable):
    """A model runtime did not start or did not answer in time. It is started again with back-off."""

    code, hint = (
        "RX303",
        "it is started again by itself; runtime.log in the edge's directory, which `reconciler doctor` names, says why",
    )


class StorageExhausted(WorldUnavailable):
    """Too little room for an artifact: bytes, inodes, or the quota of the store. What serves keeps serving."""

    code, hint = "RX304", "free the bytes named, or move the state directory to a larger disk"


class ApiUnavailable(WorldUnavailable):
    """The API server did not answer, asked to wait, or failed. What was sent may have been done: the object tells.

    retry_after_s: what it asked for, None where it asked for nothing.  unknown: the request may have had its effect.
    """

    code, hint = "RX305", "check the cluster with `kubectl get --raw /readyz`; it is tried again by itself"

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, unknown: bool = False, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s, self.unknown = retry_after_s, unknown


class CredentialsRefused(WorldUnavailable):
    """The API server does not know who asks: a token or certificate is wrong or over. They are read again each time."""

    code, hint = "RX306", "renew the credentials of the context, or the service account's token; they are read again"


class LeaseLost(WorldUnavailable):
    """Another reconciler holds the Lease of this cluster, or it was not renewed in time: nothing is sent."""

    code, hint = "RX307", "`kubectl get leases -A` names the holder; this one goes on by itself when that one ends"


class WorldRefused(ReconcilerError):
    """The world said no, and would until somebody acts. What stands is kept meanwhile."""

    code, exit_code, hint = "RX400", 5, "change what was asked for; `reconciler why` shows who asked"


class DigestMismatch(WorldRefused):
    """The bytes that arrived are not those that Git pinned. They were thrown away; the old version keeps serving."""

    code, retry = "RX401", Retry.RARELY
    hint = "compare `sha256sum` of the file with the manifest; publish a changed file under a new version"


class ArchiveRefused(WorldRefused):
    """An archive has a member that could harm (link, device, path outside, duplicate, bomb) or is damaged."""

    code, retry = "RX402", Retry.CONTENT
    hint = "pack regular files and directories only, for example with `tar czf model.tar.gz -C DIR .`"


class AddressRefused(WorldRefused):
    """A URL leads to a scheme or address that policy does not allow (file, loopback, link-local metadata)."""

    code, hint = "RX403", "Fleet.spec.artifacts.allowLoopback and allowFile open loopback addresses and file URLs"


class ProbeFailed(WorldRefused):
    """The new version answered its golden inputs wrongly, or ended its runtime. The edge keeps the version before."""

    code, retry = "RX404", Retry.CONTENT
    hint = (
        "mend the model and publish a new version; `reconciler package` tries one as an edge does; "
        "`reconciler release EDGE MODEL` tries this one again"
    )


class PreflightRefused(WorldRefused):
    """The model cannot run here: no model file, an unsupported framework, opset or output type, changed inputs."""

    code, retry = "RX405", Retry.CONTENT
    hint = "export the model to ONNX with tensor outputs (scikit-learn: zipmap=False)"


class PortTaken(WorldRefused):
    """The serving port on the edge's address belongs to another process, or needs rights that the agent lacks."""

    code, retry = "RX406", Retry.SEEN
    hint = "choose another servingPort or --listen, or stop what listens there (`ss -ltnp`)"


class GitRefused(WorldRefused):
    """A repository, URL, ref or setting could make Git run or read something else, or Git has no name to commit by."""

    code, hint = "RX407", "use an https or ssh URL, or a local path given on the command line"


class PlanHeld(WorldRefused):
    """A plan waits for a person: it deletes more than Fleet allows, or follows rewritten history."""

    code, retry, hint = "RX409", Retry.PERSON, "`reconciler plan` shows it; `reconciler approve DIGEST` releases it"


class ArtifactRefused(WorldRefused):
    """The server answered that the artifact is not to be had (404, 403), or sent something that cannot be it."""

    code, hint = "RX410", "check the downloadURL with `curl -I`"


class ApiRefused(WorldRefused):
    """The API server, its schema, a quota or a webhook refused an object. Others go on; this one waits for a change."""

    code, hint = "RX411", "mend the line named, or what refused it; `kubectl apply --dry-run=server` says the same"


class FieldConflict(WorldRefused):
    """A field of an object belongs to another field manager, or the object is not the one that was seen.

    fields: (path, manager) of each contested field; empty where the object itself is another one.
    """

    code, hint = "RX412", "let Fleet.spec.drift say who has the field: `correct` takes it, `ignore` leaves it"

    def __init__(self, message: str, *, fields: Sequence[tuple[str, str]] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.fields = tuple(fields)


class RightMissing(WorldRefused):
    """The API server knows who asks and does not allow it. The message has the RBAC rule that would."""

    code, hint = "RX413", "grant the rule shown; `reconciler doctor` lists every right that is missing"
    right: Any = None  # (the rule, the namespace where it was asked for), where the answer says so


class KindMissing(WorldRefused):
    """The cluster has no CustomResourceDefinition of this kind, or not in this version."""

    code, hint = "RX414", "install the kinds with `reconciler crds apply`"


class AnswerRefused(WorldRefused):
    """A hub's answer cannot be used: it is of another release, too large, or no hub's at all."""

    code, hint = "RX420", "check that --hub names a reconciler of this release: `curl URL/healthz`"


class HistoryError(ReconcilerError):
    """The event log cannot be trusted or written as asked. Nothing is applied until a person has looked."""

    code, exit_code, retry, hint = "RX500", 6, Retry.PERSON, "run `reconciler log verify`"


class WrongExpectedVersion(HistoryError):
    """Somebody appended to this stream first. The caller reads again and plans again."""

    code, retry, hint = "RX501", Retry.SOON, "it is planned again by itself"


class ChainBroken(HistoryError):
    """An entry's bytes, columns or hash do not fit the chain: the log was altered or its disk is failing."""

    code, hint = "RX502", "restore the newest backup that verifies; the entry named is the first one that does not fit"


class SecondWriter(HistoryError):
    """Another process writes this log. One log file has one writer."""

    code, hint = "RX503", "end the process named first, or give this one a --state directory of its own"


class ForkFound(HistoryError):
    """One source sent two different events under the same sequence number: its log was put back from a backup, or two
    edges run with copies of one state directory. A log that was put back begins anew by itself within minutes.
    """

    code = "RX504"
    hint = (
        "after a restore wait some minutes: it begins anew by itself; "
        "if the edge was cloned, give one of the two a new state directory"
    )


class GapFound(HistoryError):
    """A source's events do not follow the last one held. Only this source waits until the gap is filled."""

    code, retry, hint = "RX505", Retry.SOON, "it is filled by itself once the source can be read"


class PointUnknown(HistoryError):
    """The sequence number, time or commit asked for is not in this log."""

    code, exit_code, hint = "RX506", 2, "`reconciler history` shows which points there are"


class LogTooNew(HistoryError):
    """The log was written by a newer release. It is not opened, so nothing in it is lost."""

    code, hint = "RX507", "upgrade the reconciler to the release that wrote the log"


class LogWriteFailed(HistoryError):
    """The disk refused a durable write. The process ends: after a failed fsync nothing may be assumed."""

    code, hint = (
        "RX508",
        "check the disk (`df -h`, `dmesg`), then start again; the log opens at its last complete entry",
    )


class Defect(ReconcilerError):
    """A bug of ours, met at one object: that one stays as it is and others go on. The output has its traceback."""

    code, exit_code, hint = "RX600", 70, "report it with the traceback in the reconciler's output; others go on"

    @classmethod
    def at(cls, what: object, bug: Exception) -> "Defect":
        """That `bug` was met at something."""
        traceback.print_exception(bug)
        return cls(f"{what}: this is a bug: {type(bug).__name__}: {bug}")

    def diagnostic(self, path: str) -> Diagnostic:
        """It, as a problem of what it was met at."""
        return Diagnostic(code=self.code, message=self.message, path=path, help=self.advice)


# What can be wrong in a repository: code -> (name, what it means and how it is mended). `reconciler explain` prints it.
DIAGNOSTICS: dict[str, tuple[str, str]] = {
    "RX201": ("yaml-syntax", "The file is not YAML. Tabs cannot indent, and a colon in plain text needs quotes."),
    "RX202": ("duplicate-key", "The same key stands twice in one mapping. Parsers disagree on which wins: keep one."),
    "RX203": ("alias", "Anchors (&a), aliases (*a) and merge keys (<<) are refused: write the value out."),
    "RX204": ("custom-tag", "A YAML tag (!x, !!python/...) is refused: every value is plain data."),
    "RX205": ("too-large", "A document may have 1 MiB and 64 levels. Split it, and keep artifacts out of manifests."),
    "RX206": ("encoding", "A manifest is UTF-8 text without NUL or control characters."),
    "RX207": ("not-an-object", "A document is a mapping with apiVersion, kind, metadata.name and spec."),
    "RX208": (
        "identity-unreadable",
        "apiVersion, kind or metadata.name cannot be read, so nothing is pruned meanwhile.",
    ),
    "RX209": (
        "kind-unknown",
        "The kind or group is nearly one of ours, or names it no more; what it declared stays, nothing is pruned.",
    ),
    "RX210": ("field-unknown", "The kind has no such field; the nearest name is suggested."),
    "RX211": ("field-missing", "A required field is not there."),
    "RX212": ("type-wrong", "The value cannot be read as this type. Numbers are plain digits, booleans true or false."),
    "RX213": ("value-wrong", "The value is readable, but not one that this field can have."),
    "RX214": ("declared-twice", "Two documents declare the same object. Both places are named; the object is frozen."),
    "RX215": ("reference-unknown", "A model, version, dataset or edge that is referred to does not exist."),
    "RX216": ("pin-unmatched", "A warning: the pin names something that nothing delivers to this edge."),
    "RX217": (
        "kubectl-reads-otherwise",
        "A warning: kubectl would read this text as a number, boolean or null: quote it.",
    ),
    "RX218": (
        "not-a-file",
        "A symlink, submodule or LFS pointer stands where a manifest should be. It is never followed.",
    ),
    "RX219": ("path-refused", "The path has a control character, `..`, or is not UTF-8."),
    "RX220": ("port-conflict", "Two models would listen on the same address and port of one edge."),
    "RX221": (
        "version-mutated",
        "A version's digest changed. Versions are immutable: publish the file as a new version.",
    ),
    "RX222": (
        "digest-missing",
        "An artifact without sha256sum is refused while Fleet.spec.artifacts.requireDigest is on.",
    ),
    "RX223": (
        "not-servable-here",
        "A warning: this target cannot serve it (cloud layer, image); nothing else is affected.",
    ),
    "RX224": ("node-mismatch", "nodeName and nodeSelector do not lead to exactly the edge that is meant."),
    "RX225": ("replicas-ignored", "A warning: an edge runs one replica of a model, whatever the number asked for."),
    "RX226": (
        "not-read-any-more",
        "A warning: a file that declared something was moved, or hidden, to where nothing is read.",
    ),
    "RX227": (
        "selects-nothing",
        "A warning: no edge has the labels that are selected; what was selected before would be deleted.",
    ),
    "RX230": (
        "unproven",
        (
            "A warning: the model serves, but its archive has no golden.json, so no edge can tell a right answer from "
            "a wrong one, and none goes back by itself. `reconciler package` packs it with one and tries it: publish "
            "that as a new version. docs/golden.md says what stands in the file."
        ),
    ),
}


def retry_of(code: str) -> Retry:
    """When what failed with this code is tried again; of a code that no class has, as of any failure."""
    if code in DIAGNOSTICS:
        return RepositoryRefused.retry
    return _retries().get(code, ReconcilerError.retry)


@cache
def _retries() -> dict[str, Retry]:
    return {cls.code: cls.retry for cls in reversed(error_classes())}


def error_classes() -> list[type[ReconcilerError]]:
    """Every class of the tree, parents before children, in the order in which they are written."""
    found: list[type[ReconcilerError]] = []

    def walk(cls: type[ReconcilerError]) -> None:
        found.append(cls)
        for child in cls.__subclasses__():
            walk(child)

    walk(ReconcilerError)
    return found
