"""What a package says in a repository: the entry of a Model, and the set that deploys it. May import: what wiring may.

In: a work tree as it is on disk, and a packaged version.  Out: new texts of files, none of them written yet; every byte
that is not about this version stays. Nothing is guessed where two places could be meant.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reconciler.diagnostics import Diagnostic
from reconciler.errors import NameUnknown, PortTaken, RepositoryRefused, UsageError
from reconciler.model.declaration import declare, identity_of
from reconciler.model.fields import nearest
from reconciler.model.identity import API_VERSION, CATALOGUE, EDGE, SET
from reconciler.planning.declared import Declared, Object, template_of
from reconciler.planning.kinds import models
from reconciler.planning.reach import keys_on
from reconciler.planning.refusals import SERVABLE, port_of
from reconciler.serving.holder import is_taken
from reconciler.sources.documents import read_documents
from reconciler.sources.edit import add_version, replace_version, scalar, set_default
from reconciler.sources.git import Git
from reconciler.sources.git_safety import Remote
from reconciler.sources.place import is_work_tree
from reconciler.wiring.preview import preview
from reconciler.wording import names

MODELS: Final = "models"
DEPLOYMENTS: Final = "deployments"
LAST_PORT: Final = 65_535


@dataclass(frozen=True)
class Version:
    """One packaged version of a model, as a Model declares it."""

    name: str
    version: str
    framework: str
    url: str
    sha256: str
    size: int

    def entry(self) -> dict[str, str | int]:
        """The entry in `versions`."""
        return {"version": self.version, "downloadURL": self.url, "sha256sum": self.sha256, "size": self.size}

    def document(self) -> dict[str, Any]:
        """A Model that has this version alone."""
        spec = {"frameworkType": self.framework, "versions": [self.entry()]}
        return _document(CATALOGUE, self.name, spec)


@dataclass(frozen=True)
class Deployment:
    """Which edges get it. selector: {} is all.  port: 0 where it is to be chosen."""

    selector: dict[str, str]
    port: int = 0

    @property
    def words(self) -> str:
        """As the command line has it."""
        return ",".join(f"{name}={value}" for name, value in self.selector.items()) or "*"


@dataclass(frozen=True)
class Change:
    """A file of the work tree with its new text. what: in words."""

    path: str
    text: str
    what: str


@dataclass(frozen=True)
class Placed:
    """Where a deployed version is asked. edges: that are selected.  address: of the first of them."""

    edges: tuple[str, ...]
    address: str
    port: int


@dataclass(frozen=True)
class Tree:
    """A work tree. path: the folder of it that is read.  declared: what its files on disk declare."""

    root: Path
    path: str
    declared: Declared

    @classmethod
    def read(cls, settings: Any) -> "Tree":
        """The one that the settings name, as it is on disk. Raises GitRefused, GitUnavailable, SettingInvalid."""
        settings = settings.model_copy(update={"kubeconfig": None, "context": "", "in_cluster": False})
        with preview(settings, uncommitted=True) as ahead:  # no cluster is asked: it is about files
            return cls(Path(settings.repo), settings.path, ahead.declared())

    def with_version(self, version: Version, *, force: bool = False) -> Change | None:
        """The Model with one more version; None where it has it. Raises UsageError, RepositoryRefused.

        force: replace what it says of this version, where that is not committed yet.
        """
        model = self._sole(CATALOGUE, version.name)
        if model is None:
            what = f"Model {version.name} with version {version.version}"
            return self._new(MODELS, version.name, version.document(), what)
        same = next((each for each in model.spec["versions"] if each["version"] == version.version), None)
        if same is None:
            text = add_version(self._text(model), model=model.identity, entry=version.entry())
            return Change(model.path, text, f"version {version.version} of {version.name}")
        is_same = (same.get("sha256sum"), same["downloadURL"]) == (version.sha256, version.url)
        if not is_same and not self._is_committed(model, version.version):
            if not force:
                raise UsageError(
                    f"{model.place('versions')} has another version {version.version}, which is not committed yet",
                    hint="--force replaces it, and the archive; or give another --version",
                )
            text = replace_version(self._text(model), model=model.identity, entry=version.entry())
            return Change(model.path, text, f"version {version.version} of {version.name}, in place of another one")
        if same.get("sha256sum") != version.sha256:
            raise RepositoryRefused([_published(model, version)], hint="give a new --version")
        if same["downloadURL"] != version.url:
            raise UsageError(
                f"version {version.version} of {version.name} is published already, at {same['downloadURL']}",
                hint=f"add --url {same['downloadURL']}, or change it by hand at {model.place('versions')}",
            )
        return None

    def require_own_archive(self, version: Version) -> None:
        """Refuse the URL of another version's archive, which has other bytes: it would be lost. Raises UsageError."""
        for model in self.declared.of_kind(CATALOGUE):
            for each in model.spec["versions"]:
                is_it = (model.name, each["version"]) == (version.name, version.version)
                if not is_it and each["downloadURL"] == version.url and each.get("sha256sum") != version.sha256:
                    raise UsageError(
                        f"{version.url} is the archive of {model.name} {each['version']}: {model.place('versions')}",
                        hint="give this one another name: --archive FILE",
                    )

    def placed(self, name: str, framework: str, wanted: Deployment) -> Placed:
        """The edges that a deployment means, and the port: that of the set that is there, else the one asked for,
        else the first that is free on each of them. Raises NameUnknown, PortTaken, UsageError.
        """
        edges = list(self.declared.edges_matching({"matchLabels": wanted.selector}))
        if not edges:
            raise _no_edge(self.declared, wanted)
        there = self._set(name, wanted)
        port = self._kept_port(there, wanted) if there is not None else self._port(edges, framework, wanted.port)
        return Placed(tuple(edge.name for edge in edges), str(edges[0].spec.get("address") or "127.0.0.1"), port)

    def deployed(self, version: Version, wanted: Deployment, port: int) -> Change | None:
        """The set with this version as its default; None where it is. Raises UsageError."""
        there = self._set(version.name, wanted)
        if there is None:
            document = set_document(version, wanted, port)
            what = f"InferenceModelSet {version.name}: version {version.version} on port {port} of {wanted.words}"
            return self._new(DEPLOYMENTS, version.name, document, what)
        if there.spec.get("defaultVersion") == version.version:
            return None
        text = set_default(self._text(there), of=there.identity, version=version.version)
        return Change(there.path, text, f"defaultVersion {version.version} of {there.name}")

    def require_writable(self, name: str, wanted: Deployment | None) -> None:
        """Refuse what could not be written when all is tried and packed. Raises UsageError, RepositoryRefused."""
        if not is_work_tree(self.root):
            raise UsageError(
                f"{self.root} is a repository without a work tree, so it has no files to write into",
                hint="clone it, and name the clone by --repo DIR",
            )
        objects = [(CATALOGUE, MODELS, self._sole(CATALOGUE, name))]
        if wanted is not None:
            objects.append((SET, DEPLOYMENTS, self._set(name, wanted)))
        for kind, folder, there in objects:
            self._require_own(there.path if there is not None else self._free(kind, folder, name))

    def _require_own(self, path: str) -> None:
        """Refuse a path of the tree that is a link, leads out of it, or is below a file. Raises UsageError."""
        place, root = self.root / path, self.root.resolve()
        if place.is_symlink():
            raise UsageError(f"{path} is a link to {place.readlink()}, and only a file is written", hint=BY_HAND)
        if not place.parent.resolve().is_relative_to(root):
            raise UsageError(f"{path} leads out of {self.root}, to {place.parent.resolve()}", hint=BY_HAND)
        above = next(one for one in place.parents if one.exists())
        if not above.is_dir():
            where = above.relative_to(self.root)
            raise UsageError(f"{path} cannot be written: {where} is a file", hint=f"rename {where}; or {BY_HAND}")

    def serving(self, name: str) -> str:
        """The edges of the set that serves this Model, as --deploy takes them; '*' where none or several do."""
        found = [_selector(obj).words for obj in self.declared.of_kind(SET) if name in _served_by(obj)]
        return found[0] if len(found) == 1 else "*"

    def declares(self, name: str) -> bool:
        """Whether there is a Model of this name."""
        return self._sole(CATALOGUE, name) is not None

    def _is_committed(self, model: Object, version: str) -> bool:
        """Whether the commit that is checked out has this version of a Model."""
        git = Git(directory=self.root, remote=Remote.parse(str(self.root)))
        answer = git.ask("cat-file", "blob", f"HEAD:{model.path}")
        documents = [] if answer.status else read_documents(model.path, answer.output)[0]
        said = [one.data for one in documents if identity_of(one, models()) == model.identity]
        entries = [entry for data in said for entry in (data.get("spec") or {}).get("versions") or ()]
        return any(entry.get("version") == version for entry in entries)

    def _sole(self, kind: str, name: str) -> Object | None:
        """The object of this name, in whatever namespace. Raises UsageError where there are several."""
        found = [obj for obj in self.declared.of_kind(kind) if obj.name == name]
        if len(found) > 1:
            places = ", ".join(f"{obj.path}:{obj.line}" for obj in found)
            raise UsageError(f"{kind} {name} is declared in several namespaces: {places}", hint="edit one by hand")
        return found[0] if found else None

    def _set(self, name: str, wanted: Deployment) -> Object | None:
        """The set that serves this Model on exactly these edges; None where none serves it. Raises UsageError."""
        serving = [obj for obj in self.declared.of_kind(SET) if name in _served_by(obj)]
        for obj in serving:
            if (obj.spec["edgeSelector"].get("matchLabels") or {}) == wanted.selector:
                if template_of(obj).get("modelRef") != name:
                    at = obj.place("template")
                    raise UsageError(f"{obj.name} has a manifest of its own, at {at}", hint="add the version there")
                return obj
        if serving:
            places = ", ".join(f"{obj.path}:{obj.line} ({_selector(obj).words})" for obj in serving)
            raise UsageError(
                f"{name} is deployed already, but not to {wanted.words}: {places}",
                hint=f"give --deploy '{_selector(serving[0]).words}', or write a second set by hand",
            )
        other = self._sole(SET, name)
        if other is not None:
            raise UsageError(f"InferenceModelSet {name} serves another model: {other.path}:{other.line}", hint=BY_HAND)
        return None

    def _kept_port(self, there: Object, wanted: Deployment) -> int:
        port = port_of(there) or 0
        if wanted.port not in {0, port}:
            raise UsageError(
                f"{there.name} serves on port {port} ({there.place('template')})",
                hint="leave out --port, or change servingPort by hand",
            )
        return port

    def _port(self, edges: list[Object], framework: str, wanted: int) -> int:
        addresses = {edge.spec.get("address") for edge in edges}
        users: dict[int, str] = {}
        for edge in self.declared.of_kind(EDGE):
            if edge.spec.get("address") in addresses:
                for _, source in keys_on(self.declared, edge):
                    port = port_of(source)
                    if port is not None:
                        users.setdefault(
                            port, f"{source.name} serves there, on {edge.name} ({source.path}:{source.line})"
                        )
        for port in range(SERVABLE.get(framework, 8080), LAST_PORT + 1):
            if port not in users and not any(is_taken(str(address), port) for address in addresses):
                break
        else:
            raise PortTaken(f"no port of {wanted} is free on every edge")
        if wanted in users:
            raise PortTaken(f"port {wanted}: {users[wanted]}", hint=f"--port auto would take {port}")
        return wanted or port

    def _text(self, obj: Object) -> str:
        return (self.root / obj.path).read_bytes().decode()

    def _new(self, folder: str, name: str, document: dict[str, Any], what: str) -> Change:
        return Change(self._free(document["kind"], folder, name), written(document), what)

    def _free(self, kind: str, folder: str, name: str) -> str:
        """The path of a new file. Raises UsageError where there is one; RepositoryRefused where that is wrong."""
        path = "/".join(part for part in (self.path, folder, f"{name}.yaml") if part)
        place = self.root / path
        if place.is_file():
            problems = read_documents(path, place.read_bytes())[1]
            if any(problem.severity == "error" for problem in problems):
                raise RepositoryRefused(problems, hint=f"mend {path}, which is where {kind} {name} would be written")
        if place.exists():
            raise UsageError(f"{path} is there, and does not declare {kind} {name}", hint=BY_HAND)
        return path


BY_HAND: Final = "call it without --write, and put in by hand what it prints"


def checked(document: dict[str, Any]) -> None:
    """Refuse names and versions that no document can have. Raises UsageError."""
    read, problems = read_documents("", written(document).encode())
    problems = [*problems, *(problem for one in read for problem in declare(one, models())[1])]
    wrong = next((problem for problem in problems if problem.severity == "error"), None)
    if wrong is not None:
        raise UsageError(wrong.message, hint=wrong.help)


def set_document(version: Version, wanted: Deployment, port: int) -> dict[str, Any]:
    """A set that serves this version on these edges."""
    service = {
        "modelRef": version.name,
        "modelName": version.name,
        "deployToLayer": "edge",
        "frameworkType": version.framework,
        "servingPort": port,
    }
    selector = {"matchLabels": wanted.selector} if wanted.selector else {}
    spec = {"edgeSelector": selector, "defaultVersion": version.version, "template": {"spec": service}}
    return _document(SET, version.name, spec)


def written(value: Any) -> str:
    """A document, or a part of one, as YAML, in the style of the template."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Mapping[str, Any] | list[Any]) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            first, *rest = _lines(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        return
    for name, each in value.items():
        key = scalar("", name)
        if isinstance(each, Mapping | list) and each:
            yield f"{key}:"
            yield from (f"  {line}" for line in _lines(each))
        elif isinstance(each, Mapping | list):
            yield f"{key}: {'{}' if isinstance(each, Mapping) else '[]'}"
        else:
            yield f"{key}: {each if isinstance(each, int) else scalar(name, each)}"


def _document(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _served_by(obj: Object) -> set[str]:
    template = template_of(obj)
    return {str(template.get(name) or "") for name in ("modelRef", "modelName")}


def _selector(obj: Object) -> Deployment:
    return Deployment(dict(obj.spec["edgeSelector"].get("matchLabels") or {}))


def _published(model: Object, version: Version) -> Diagnostic:
    return Diagnostic(
        code="RX221",
        message=f"version {version.version} of {version.name} is published already, with other content",
        path=model.path,
        line=model.lines.get("versions", model.line),
        column=1,
        help="a version is one file for ever: use a new one",
    )


def _no_edge(declared: Declared, wanted: Deployment) -> NameUnknown:
    """That nothing matches, with the labels that there are."""
    edges = list(declared.of_kind(EDGE))
    labels = sorted({f"{name}={value}" for edge in edges for name, value in edge.labels.items()})
    if not edges:
        return NameUnknown("the repository declares no edge", hint="declare one first: a document of kind Edge")
    parts = wanted.words.split(",")
    near = [one if one in labels else _near(one, labels) for one in parts]
    meant = f"did you mean {','.join(near)}? " if near != parts and all(near) else ""
    shown = names(labels, most=12)
    return NameUnknown(
        f"no edge has the labels {wanted.words}", hint=f"{meant}there are {shown or 'none; * is every edge'}"
    )


def _near(label: str, labels: list[str]) -> str:
    """The label that may be meant: one alike, or with the same name where that has one value; "" for none."""
    same = [one for one in labels if one.partition("=")[0] == label.partition("=")[0]]
    return nearest(label, labels) or (same[0] if len(same) == 1 else "")
