"""Diagnostics of declared objects that cannot be had, at their lines. May import: diagnostics, model.secrets, planning.

In: objects and what was looked for.  Out: problems, to expansion. What is refused keeps what was ordered last.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.diagnostics import Diagnostic
from reconciler.model.secrets import masked
from reconciler.planning.declared import Object, node_labels, template_of

WIDEST: Final = 240
# What a problem of this code is about: by the first of these fields that stands on its line, that is pointed at.
ABOUT: Final[Mapping[str, tuple[str, ...]]] = {
    "RX214": ("name",),
    "RX215": ("modelRef", "defaultVersion", "targetVersion", "version"),
    "RX216": ("model", "dataset"),
    "RX220": ("servingPort",),
    "RX221": ("sha256sum", "digest"),
    "RX227": ("edgeSelector", "edges"),
    "RX224": ("nodeName", "nodeSelector"),
    "RX225": ("replicas",),
}
SERVABLE = {"onnx": 8080}  # frameworks that the embedded runtime serves, with their default port


def port_of(source: Object | None) -> int | None:
    """The port that a model asks for on its edge; None when nothing is declared or it cannot be served here."""
    if source is None or unservable(source) is not None:
        return None
    template = template_of(source)
    return int(template.get("servingPort") or SERVABLE[template["frameworkType"]])


def unservable(source: Object) -> Diagnostic | None:
    """What an edge without Kubernetes cannot serve; it stays declared and blocks nothing."""
    template = template_of(source)
    if template.get("deployToLayer") != "edge":
        what = f"{source.kind} {source.name} is for the cloud layer"
    elif template.get("image"):
        what = f"{source.kind} {source.name} is a container image"
    elif template.get("frameworkType") not in SERVABLE:
        what = f"{source.kind} {source.name} needs {template.get('frameworkType')}"
    else:
        return None
    served = ", ".join(sorted(SERVABLE))
    advice = f"edges without Kubernetes serve model files of: {served}; it stays declared and blocks nothing"
    return _refusal(source, "template", "RX223", f"{what}: not servable here", advice, is_warning=True)


def unplaced(model: Object, named: Object | None) -> Diagnostic:
    """An InferenceModel that leads to no edge. named: the edge of its nodeName, where there is one."""
    node, selector = model.spec.get("nodeName"), model.spec.get("nodeSelector") or {}
    if node and named is not None:
        labels = node_labels(named)
        wrong = [f"{name}={labels.get(name, '(none)')}" for name in selector if labels.get(name) != selector[name]]
        message = f"{named.name} is the edge of {node}, but nodeSelector does not match it: {', '.join(wrong)}"
        field = "nodeSelector"
    elif node:
        message, field = f"no Edge is on the node {node}", "nodeName"
    else:
        wanted = ", ".join(f"{name}={value}" for name, value in selector.items())
        message, field = f"no Edge has the labels {wanted}", "nodeSelector"
    return _refusal(model, field, "RX224", message, "name a declared Edge; what was ordered last stays")


def port_conflict(source: Object, edge: Object, port: int, other: Object, taken: Iterable[int]) -> Diagnostic:
    """Two models on one edge would listen on one port, and `other` has it. taken: what is asked for on that edge."""
    message = f"{other.name} already serves on port {port} of {edge.name} ({other.path}:{other.line})"
    free = next((one for one in range(port + 1, 65_536) if one not in set(taken)), None)
    advice = "give one of them another servingPort" + (f": {free} is asked for by nothing there" if free else "")
    return _refusal(source, "servingPort", "RX220", message, advice, edge=edge.name)


def unknown_model(source: Object, name: str, models: Iterable[str]) -> Diagnostic:
    """A modelRef that leads to no Model."""
    near = difflib.get_close_matches(name, models, 1)
    advice = f"did you mean {near[0]}" if near else "declare the Model"
    message = f"{source.kind} {source.name} refers to Model {name}, which does not exist"
    return _refusal(source, "modelRef", "RX215", message, f"{advice}; what was ordered last stays")


def unknown_version(
    source: Object, edge: Object, pin: dict[str, Any] | None, version: str, *, known: list[str], asked_by: str
) -> Diagnostic:
    """Somebody asks for a version that is not there. asked_by: the field, where no pin does."""
    asker, who = (edge, f"the pin on {edge.name}") if pin is not None else (source, f"{source.kind} {source.name}")
    reference = template_of(source).get("modelRef")
    catalogue = f"Model {reference}" if reference else f"{source.kind} {source.name}"
    there = f"has {', '.join(known)}" if known else "has none"
    field = f"pins/{edge.spec['pins'].index(pin)}" if pin is not None else asked_by
    message = f"{who} asks for version {version or '(none)'}, but {catalogue} {there}"
    return _refusal(asker, field, "RX215", message, "name a version that exists; what was ordered last stays")


def digest_missing(holder: Object, version: str, url: str) -> Diagnostic:
    """An entry without sha256sum, while policy wants one. holder: the object in which the entry stands."""
    field = next((name for name in ("versions", "manifest") if name in holder.lines), "template")
    message = f"version {version} of {holder.name} has no sha256sum"
    advice = f"add the output of `sha256sum` for {url}, or set Fleet.spec.artifacts.requireDigest: false"
    return _refusal(holder, field, "RX222", message, advice)


def pin_unmatched(edge: Object, n: int) -> Diagnostic:
    """A pin that acts on nothing."""
    pin = edge.spec["pins"][n]
    what = f"dataset {pin['dataset']}" if pin.get("dataset") else f"model {pin['model']}"
    message = f"{edge.name} pins {what}, but nothing delivers it there"
    advice = "name a Model (or the modelName where there is no modelRef) of a set, or a Dataset, that reaches this edge"
    return _refusal(edge, f"pins/{n}", "RX216", message, advice, is_warning=True)


def replicas_ignored(source: Object, edge: Object, replicas: int) -> Diagnostic:
    """An edge runs one."""
    message = f"{source.name} asks for {replicas} replicas; {edge.name} runs one"
    advice = "an edge has one address for a port: leave replicas out"
    return _refusal(source, "replicas", "RX225", message, advice, is_warning=True, edge=edge.name)


def pointed(problem: Diagnostic, text: str) -> Diagnostic:
    """A problem with the text of its line, and a caret under what of it is meant."""
    shown = masked(text.rstrip("\r\n"))[:WIDEST]
    if problem.snippet or not shown.strip():
        return problem
    for field in ABOUT.get(problem.code, ()):
        found = re.search(rf"(?<![\w-]){field}\s*:\s*(\"[^\"]*\"|'[^']*'|[^\s,}}#][^,}}#]*)", shown)
        if found:
            return replace(problem, snippet=shown, column=found.start(1) + 1, width=len(found[1].rstrip()))
    begins = len(shown) - len(shown.lstrip(" -"))
    return replace(problem, snippet=shown, column=begins + 1, width=len(shown[begins:].rstrip()) or 1)


def _refusal(
    source: Object, field: str, code: str, message: str, advice: str, *, is_warning: bool = False, edge: str = ""
) -> Diagnostic:
    """field: the line of which is named; in a set, what stands in its template has its line there."""
    lines = (source.lines.get(name) for name in (field, f"template/{field}", "template"))
    return Diagnostic(
        code=code,
        message=message,
        path=source.path,
        line=next((line for line in lines if line), source.line),
        column=1,
        edge=edge,
        help=advice,
        severity="warning" if is_warning else "error",
    )
