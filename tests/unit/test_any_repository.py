"""Repositories as people have them: others' files, an ignore file, JSON, lists, and slips like either."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from reconciler.diagnostics import BLOCKS_PRUNING
from reconciler.history import events as ev
from reconciler.history.keys import DELIVER
from reconciler.history.timeline import words
from reconciler.model.declaration import declare, identity_of, is_foreign
from reconciler.planning.kinds import models
from reconciler.sources.documents import read_documents
from tests.unit.test_repository import HEAD, Followed, edge, listed, model

FOREIGN: Mapping[str, str | bytes] = {
    "docker-compose.yml": "services: {web: {image: nginx, ports: ['80:80']}}\nx-common: &common {restart: always}\n",
    "charts/x/templates/deploy.yaml": "{{- if .Values.on }}\nkind: Deployment\nspec: {{ .Values }}\n{{- end }}\n",
    "charts/x/values.yaml": "image: {tag: !vault x}\nimage: {tag: twice}\n",
    "kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n",
    "mkdocs.yml": "plugins:\n  - x: !!python/name:pymdownx.emoji.to_svg\n",
    "k8s/role.yaml": "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r}\n"
    "rules: [{apiGroups: [ai.kubeedge.io], resources: ['*'], verbs: [get]}]\n",
    "k8s/fluid.yaml": "apiVersion: data.fluid.io/v1alpha1\nkind: Dataset\nmetadata: {name: faces}\nspec: {}\n",
    "k8s/gateway.yaml": "apiVersion: inference.networking.x-k8s.io/v1\nkind: InferenceModel\nmetadata: {name: m}\n",
    "k8s/nodes.yaml": "apiVersion: apps.kubeedge.io/v1alpha1\nkind: NodeGroup\nmetadata: {name: g}\nspec: {}\n",
    "ci/drone.yml": "kind: pipeline\nname: default\nsteps: []\n---\nkind: secret\nname: x\n",
    "tsconfig.json": '{\n  // comments\n  "compilerOptions": {"strict": true,},\n}\n',
    "package.json": '{"name": "x", "dependencies": {"kind-of": "^6"}}',
    "api/openapi.json": '{"openapi": "3.0.0", "paths": {}, "paths": {}}',
    "data/rows.json": "[1, 2, 3]",
    "data/list.yaml": "- a\n- b\n",
    "data/binary.yaml": bytes(range(256)) * 16,
    "data/utf16.yaml": "name: x\n".encode("utf-16"),
    "data/huge.json": b'{"rows": [' + b"1, " * 4_000_000 + b"1]}",
    ".github/workflows/ci.yml": "on: [push]\njobs: {a: {steps: [{run: 'kubectl get edges.ai.kubeedge.io'}]}}\n",
    ".config/edge.yaml": edge("hidden"),
    ".gitlab-ci.yml": "job: {script: [!reference [.x, y]]}\n",
}
OURS = {"edges/e1.yaml": edge("e1"), "models/m.yaml": model("m"), "models/p.yaml": model("p", 9000)}


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


def order(followed: Followed, name: str) -> str:
    return str(followed.hub.state.stage(DELIVER).known(f"InferenceModel/default/{name}@e1").order.get("version", ""))


def held(followed: Followed) -> str:
    plan = followed.hub.state.stage(DELIVER).held_plan
    return plan.reason if plan is not None else ""


def test_other_tools_files_are_no_error_keep_nothing_in_the_log_and_block_no_delete(followed: Followed) -> None:
    entries = followed.push({**FOREIGN, **OURS})
    assert followed.problems() == {}
    assert followed.declared() == {"Edge/e1", "InferenceModel/m", "InferenceModel/p"}
    assert set(followed.hub.state.files) == set(OURS)
    assert {path for entry in entries for path in entry.event.data.get("documents", ())} == set(OURS)
    left = followed.documents._mirror.left_out(followed.hub.state.ref.commit, "", followed.hub.state.files)
    assert set(left) == set(FOREIGN)
    assert followed.hub.orders(followed.push({"models/p.yaml": None, "mkdocs.yml": "a: *b\n"})) == {
        "InferenceModel/default/p@e1": "delete"
    }
    assert followed.problems() == {}


def test_a_manifest_beside_other_documents_in_one_file_is_read_and_goes_alone(followed: Followed) -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n"
    followed.push({**OURS, "mixed.yaml": f"{config}---\n{model('o', 9001)}---\n{{{{ broken }}}}: [\n"})
    assert (order(followed, "o"), followed.problems()) == ("1", {})
    assert followed.hub.orders(followed.push({"mixed.yaml": f"{{{{ broken }}}}: [\n---\n{config}"})) == {
        "InferenceModel/default/o@e1": "delete"
    }
    assert followed.problems() == {}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("models/p.yaml", model("p", 9000).replace("ai.kubeedge.io", "example.com")),
        ("models/p.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"),
        ("models/p.yaml", model("p", 9000).replace(HEAD, "")),
        ("models/p.yaml", "just words\n"),
        ("moved/p.yaml", model("p", 9000).replace("ai.kubeedge.io", "example.com")),
        ("moved/p.yaml", "a: b: c\n"),
        ("moved/p.json", b"\x00\x01\x02"),
        ("models/p.yaml", model("p", 9000).replace("ai.kubeedge.io", "ai.kubedge.io")),
        ("moved/p.yaml", model("p", 9000).replace("ai.kubeedge.io", "ai.kubedge.io")),
        ("models/p.yaml", model("p", 9000).replace("v1alpha1", "v1alpha2")),
        ("models/p.yaml", model("p", 9000).replace("InferenceModel", "InferenceModell")),
    ],
)
def test_what_was_declared_and_names_our_group_no_more_stands_and_blocks_pruning(
    followed: Followed, path: str, text: str | bytes
) -> None:
    followed.push(OURS)
    change: dict[str, str | bytes | None] = {"models/p.yaml": None, "models/m.yaml": None, path: text}
    assert followed.hub.orders(followed.push(change)) == {}
    assert (order(followed, "p"), order(followed, "m")) == ("1", "1")
    assert "error" in {problem.get("severity", "error") for problem in followed.hub.state.problems[path]}
    assert followed.hub.orders(followed.push({path: text + "\n" if isinstance(text, str) else text + b"\n"})) == {}
    assert followed.hub.orders(followed.push({path: None, "models/p.yaml": model("p", 9000)})) == {
        "InferenceModel/default/m@e1": "delete"
    }
    assert (order(followed, "p"), followed.problems()) == ("1", {})


def test_another_tools_object_of_the_same_kind_and_name_takes_nothing_of_ours(followed: Followed) -> None:
    followed.push(OURS)
    other = model("m").replace("ai.kubeedge.io", "example.com")
    assert followed.hub.orders(followed.push({"other.yaml": other})) == {}
    assert followed.problems() == {}


@pytest.mark.parametrize(
    "version",
    [
        *("ai.kubedge.io/v1alpha1", "ai.kubeegde.io/v1alpha1", "AI.kubeedge.io/v1alpha1", "ai.kubeedge.com/v1alpha1"),
        *("ai.kubeedge.io", "ai.kubeedge.iov1alpha1", "kubeedge.io/v1alpha1", "v1alpha1", "' ai.kubeedge.io/v1alpha1'"),
        *("'ai.kubeedge.io/v1alpha1 '", "ai.kubeedge.io/v1alpha2", "ai-kubeedge.io/v1alpha1"),
        "ai.kubeedge.io/v1alpha1/",
    ],
)
def test_a_group_or_version_one_slip_away_is_said_with_what_was_meant(version: str) -> None:
    (document,), _ = read_documents("a.yaml", edge("e1").replace("ai.kubeedge.io/v1alpha1", version).encode())
    assert not is_foreign(document, models())
    declaration, (problem,) = declare(document, models())
    assert declaration is None
    assert (problem.code in {"RX209", "RX213"}, problem.help) == (True, "did you mean ai.kubeedge.io/v1alpha1?")
    assert str(identity_of(document, models())) == "Edge//e1"


@pytest.mark.parametrize(
    "text",
    [
        "kind: Edge\nmetadata: {name: e1}\n",
        "apiversion: ai.kubeedge.io/v1alpha1\nkind: Edge\nmetadata: {name: e1}\n",
        "- apiVersion: ai.kubeedge.io/v1alpha1\n  kind: Edge\n",
        "apiVersion: ai.kubedge.io/v1alpha1\nspec: [\n",
        "{{ if }}\napiVersion: ai.kubeedge.io/v1alpha1\n",
    ],
)
def test_what_may_be_ours_is_an_error_and_blocks_pruning(followed: Followed, text: str) -> None:
    followed.push(OURS)
    followed.push({"new.yaml": text})
    assert followed.hub.orders(followed.push({"models/p.yaml": None})) == {}
    assert list(followed.problems()) == ["new.yaml"]


# ── suffixes, JSON, lists ─────────────────────────────────────────────────────────────────────────────────────────────


def as_json(text: str) -> dict[str, object]:
    data: dict[str, object] = yaml.safe_load(text)
    return data


def test_renaming_to_any_suffix_that_kubectl_reads_changes_nothing(followed: Followed) -> None:
    followed.push(OURS)
    text = json.dumps(as_json(OURS["models/p.yaml"]), indent="\t")
    for before, path, content in (
        ("models/p.yaml", "models/p.YAML", OURS["models/p.yaml"]),
        ("models/p.YAML", "models/q.Yml", OURS["models/p.yaml"]),
        ("models/q.Yml", "models/p.JSON", text),
    ):
        assert followed.hub.orders(followed.push({before: None, path: content})) == {}
        assert followed.get("InferenceModel", "p").path == path


def test_a_list_and_values_behind_each_other_are_their_items_each_at_its_place() -> None:
    items = [as_json(edge(f"e{n}")) for n in range(3)]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=1)
    text = f"{edge('first')}---\n{text}\n---\n{edge('last')}"
    documents, problems = read_documents("a.yaml", text.encode())
    found = {(one.index, str(identity_of(one, models()))) for one in documents if one.data}
    assert (found, problems) == (
        {(0, "Edge//first"), (2, "Edge//last"), (3, "Edge//e0"), (4, "Edge//e1"), (5, "Edge//e2")},
        [],
    )
    lines = text.split("\n")
    assert all(lines[one.line - 1].strip() == "{" for one in documents[3:])
    for between in ("\n", " ", "", "\n\n"):
        text = between.join(json.dumps(item) for item in items)
        documents, problems = read_documents("a.json", text.encode())
        assert [str(identity_of(one, models())) for one in documents] == ["Edge//e0", "Edge//e1", "Edge//e2"]
        assert (problems, [one.line for one in documents]) == ([], [1 + n * between.count("\n") for n in range(3)])
    wrong = json.dumps(items[0]) + "\n" + json.dumps({**items[1], "sepc": {}}) + "\n{"
    documents, (problem,) = read_documents("a.json", wrong.encode())
    assert (problem.line, len(documents)) == (3, 3)
    (said,) = declare(documents[1], models())[1]
    assert (said.code, said.line, said.snippet) == ("RX210", 2, wrong.split("\n")[1])


def test_characters_beyond_sixteen_bits_are_read_as_json_writes_them() -> None:
    item = {**as_json(edge("e1")), "metadata": {"name": "e1", "annotations": {"x": "😀\\ud83d\\ude00 / é"}}}
    (document,), problems = read_documents("a.json", json.dumps(item).replace("/ ", "\\/ ").encode())
    assert problems == []
    assert document.data["metadata"]["annotations"] == item["metadata"]["annotations"]  # type: ignore[index]


def test_what_is_broken_in_a_list_keeps_what_it_declared(followed: Followed) -> None:
    items = [as_json(model(name, port)) for name, port in (("m", 8080), ("p", 9000))]
    text = json.dumps({"apiVersion": "ai.kubeedge.io/v1alpha1", "kind": "InferenceModelList", "items": items}, indent=1)
    followed.push({"e.yaml": edge("e1"), "all.json": text})
    assert (order(followed, "m"), order(followed, "p")) == ("1", "1")
    assert followed.hub.orders(followed.push({"all.json": text[:-20]})) == {}
    assert followed.hub.orders(followed.push({"all.json": text.replace("9000", "90000")})) == {}
    assert followed.declared() == {"Edge/e1", "InferenceModel/m", "InferenceModel/p"}
    followed.reopened("none-yet.db")
    gone = json.dumps({"apiVersion": "v1", "kind": "List", "items": items[:1]})
    assert followed.hub.orders(followed.push({"all.json": gone})) == {"InferenceModel/default/p@e1": "delete"}


THREE = (model("m"), model("p", 9000), model("o", 9001))
STREAM, LIST = "---\n".join(THREE), listed(*THREE)
FLOWS = "---\n".join(json.dumps(as_json(text)) + "\n" for text in THREE).replace('"apiVersion"', "apiVersion")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *((STREAM, STREAM.replace("---", mark)) for mark in ("", "--", "----", " ---", "# ---", "\N{EM DASH}")),
        (STREAM, STREAM.replace("---\n", "", 1)),
        (STREAM, STREAM.replace("---\n", " ---\n", 1)),
        (FLOWS, FLOWS.replace("---\n", "")),
        (STREAM, LIST.replace("kind: List", "kind: list")),
        *((LIST, LIST.replace("kind: List", f"kind: {kind}")) for kind in ("list", "Lisst", "", "[List]")),
        *((LIST, LIST.replace("\nitems:", f"\n{items}:")) for items in ("itmes", "Items", "spec", "items: {}\nother")),
        (LIST, LIST.replace("- apiVersion", "- - apiVersion")),
        (LIST, "apiVersion: v1\nkind: List\nitems:\n"),
        (LIST, "apiVersion: v1\nkind: List\nitems: {}\n"),
        (LIST, LIST.replace("apiVersion: v1\n", f"{HEAD}").replace("items:", "items: {}\nrest:")),
        (LIST, LIST.replace("apiVersion: v1\n", "")),
        (LIST, "words\n---\nmore words\n"),
        (f"kind: ConfigMap\n---\n{STREAM}", "a: b: c\n"),
        (LIST, "a: b: c\n---\na: b\n"),
        (LIST, LIST.replace("Port: 8080", "Port: [")),
        (STREAM, STREAM.encode("utf-16")),
        (STREAM, STREAM + "#" * (11 << 20)),
    ],
)
def test_all_that_a_file_declared_stands_until_it_can_be_read(
    followed: Followed, before: str, after: str | bytes
) -> None:
    declared = {"Edge/e1", "InferenceModel/m", "InferenceModel/o", "InferenceModel/p"}
    followed.push({"e.yaml": edge("e1"), "all.yaml": before})
    assert followed.declared() == declared
    texts = [after + "\n" * n if isinstance(after, str) else after + b"\n\0" * n for n in range(3)]
    for text in texts[:2]:
        assert followed.hub.orders(followed.push({"all.yaml": text})) == {}
        assert followed.declared() == declared
        said = [one for one in followed.hub.state.problems["all.yaml"] if BLOCKS_PRUNING in one.get("notes", ())]
        assert [one["notes"] for one in said] == [[BLOCKS_PRUNING]]
    assert followed.hub.orders(followed.hub.turn("audit")) == {}
    followed.reopened("none-yet.db")
    assert followed.declared() == declared
    moved = {"all.yaml": texts[2], "p.yaml": model("p", 9005)}
    assert followed.hub.orders(followed.push(moved)) == {"InferenceModel/default/p@e1": "update 1"}
    assert followed.get("InferenceModel", "p").path == "p.yaml"
    mended: Mapping[str, str] = {"all.yaml": "---\n".join((THREE[0], model("o", 9006)))}
    assert followed.hub.orders(followed.push(mended)) == {"InferenceModel/default/o@e1": "update 1"}
    assert followed.problems() == {}


@pytest.mark.parametrize("item", ["null", "", "~", "text", "[]"])
def test_an_item_that_is_no_object_is_an_error_and_deletes_nothing(followed: Followed, item: str) -> None:
    followed.push({"e.yaml": edge("e1"), "all.yaml": LIST})
    texts = f"{listed(THREE[0])}- {item}\n{listed(THREE[2]).partition('items:')[2].lstrip()}"
    assert followed.hub.orders(followed.push({"all.yaml": texts})) == {}
    (problem,) = followed.hub.state.problems["all.yaml"]
    assert (problem["code"], problem["line"], problem["notes"]) == (
        "RX207",
        texts[: texts.index(f"\n- {item}\n")].count("\n") + 2,
        [BLOCKS_PRUNING],
    )
    assert followed.declared() == {"Edge/e1", "InferenceModel/m", "InferenceModel/o", "InferenceModel/p"}


@pytest.mark.parametrize("head", ["apiVersion: v1\n", HEAD])
def test_a_list_within_a_list_is_an_error_that_says_where_lists_are_read(followed: Followed, head: str) -> None:
    inner = listed(model("m")).replace("apiVersion: v1\n", head, 1)
    followed.push({"e.yaml": edge("e1"), "all.yaml": listed(inner)})
    problem = followed.hub.state.problems["all.yaml"][0]
    assert (problem["code"], problem["notes"]) == ("RX209", [BLOCKS_PRUNING])
    assert problem["help"].endswith("stands in no other List")
    assert followed.declared() == {"Edge/e1"}


# ── the ignore file, and what vanishes beside what is not read ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", ["models/p.txt", "models/p.yaml.disabled", ".off/models/p.yaml", "off/p.yaml", "models/.p.yaml"]
)
def test_what_moved_to_where_nothing_is_read_is_a_held_delete_that_names_it(followed: Followed, path: str) -> None:
    followed.push({**OURS, ".reconcilerignore": "/off/\n"})
    entries = followed.push({"models/p.yaml": None, path: OURS["models/p.yaml"]})
    assert followed.hub.orders(entries) == {}
    assert path in held(followed)
    entries = followed.push({"README.md": "next"})  # another commit does not let it pass
    assert followed.hub.orders(entries) == {}
    assert path in held(followed)
    digest = followed.hub.state.stage(DELIVER).held_plan.digest  # type: ignore[union-attr]
    followed.hub.verb("approve", digest=digest)
    assert order(followed, "p") == ""
    followed.push({"README.md": "more"})
    assert followed.problems() == {}


def test_a_moved_file_that_is_back_holds_nothing(followed: Followed) -> None:
    followed.push(OURS)
    followed.push({"models/p.yaml": None, "models/p.txt": OURS["models/p.yaml"]})
    assert followed.hub.orders(followed.push({"models/p.yaml": OURS["models/p.yaml"], "models/p.txt": None})) == {}
    assert (held(followed), followed.problems(), order(followed, "p")) == ("", {}, "1")


def test_the_ignore_file_hides_and_shows_what_has_not_changed_itself(followed: Followed) -> None:
    broken = {"old/a.yaml": f"{HEAD}kind: Edge\n", "old/keep.yaml": edge("e2")}
    followed.push({**OURS, **broken})
    assert list(followed.problems()) == ["old/a.yaml"]
    followed.push({".reconcilerignore": "# tried once\nold/*\n!old/keep.yaml\n", ":(top)*.yaml": edge("e4")})
    assert "Edge/e4" in followed.declared()
    assert (followed.problems(), "old/a.yaml" in followed.hub.state.files) == ({}, False)
    assert "Edge/e2" in followed.declared()
    left = followed.documents._mirror.left_out(followed.hub.state.ref.commit, "", followed.hub.state.files)
    assert left == {"old/a.yaml": ".reconcilerignore:2"}
    followed.push({"old/a.yaml": f"{HEAD}kind: [\n"})
    assert followed.problems() == {}
    followed.push({".reconcilerignore": None})
    assert list(followed.problems()) == ["old/a.yaml"]


def test_what_an_ignore_file_hides_goes_through_the_prune_guard_and_is_said(followed: Followed) -> None:
    followed.push(OURS)
    entries = followed.push({".reconcilerignore": "*\n"})
    assert followed.hub.orders(entries) == {}
    assert "it deletes 2 of 2" in held(followed)
    said = followed.hub.state.problems["models/p.yaml"]
    assert [(one["code"], one["severity"]) for one in said] == [("RX226", "warning")]
    assert ".reconcilerignore:1 hides what declared InferenceModel/default/p" in said[0]["message"]
    assert followed.hub.orders(followed.push({".reconcilerignore": "models/p.*\n"})) == {
        "InferenceModel/default/p@e1": "delete"
    }


def test_a_dotted_file_that_an_older_release_read_is_not_silently_kept_or_deleted(followed: Followed) -> None:
    followed.push({"edges/e1.yaml": edge("e1"), "fleet/p.yaml": model("p")})
    path, state = ".fleet/p.yaml", followed.hub.state
    state.files[path], state.documents[path] = state.files.pop("fleet/p.yaml"), state.documents.pop("fleet/p.yaml")
    followed.reopened()
    entries = followed.push({"fleet/p.yaml": None, path: model("p")})
    assert followed.hub.orders(entries) == {}
    assert "its name begins with a dot" in held(followed)


def test_a_revert_beside_another_tools_change_is_one(followed: Followed) -> None:
    followed.push({**OURS, "package.json": "{}"})
    first = followed.hub.state.ref.commit
    followed.push({"models/p.yaml": model("p", 9009), "package.json": '{"a": 1}'})
    entries = followed.push({"models/p.yaml": OURS["models/p.yaml"], "package.json": '{"a": 2}'})
    (advanced,) = [entry.event for entry in entries if entry.event.type == ev.REF_ADVANCED]
    assert advanced.data["reverts"] == first


def test_a_malformed_commit_is_read_shown_printable_and_named_once(followed: Followed) -> None:
    followed.push(OURS)
    git = followed.git
    tree, head = git.git("rev-parse", "HEAD^{tree}"), git.head()
    raw = f"tree {tree}\nparent {head}\nauthor \x1b[31mA<a@b>99999999999999999999 +051800\ncommitter x\n\nold\n"
    odd = git.git("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=raw.encode())
    git.git("update-ref", "refs/heads/main", odd)
    (entry,) = [entry for entry in followed.hub.turn("commit") if entry.event.type == ev.REF_ADVANCED]
    assert entry.event.gitcommit == odd
    assert followed.hub.state.ref.time.startswith("1970-01-01T")
    said = words(entry.event)
    assert said.isprintable()
    assert "; malformed, and read all the same: " in said
    assert f"missingEmail in {odd[:12]}" in said
    entries = followed.push({"models/p.yaml": model("p", 9001)})
    assert followed.hub.orders(entries) == {"InferenceModel/default/p@e1": "update 1"}
    assert not any("malformed" in entry.event.data for entry in entries)
