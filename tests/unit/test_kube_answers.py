"""What a refusal of the API server means: which error, in which words."""

import json
from typing import Any

import pytest

from reconciler.errors import (
    ApiRefused,
    ApiUnavailable,
    CredentialsRefused,
    FieldConflict,
    KindMissing,
    ReconcilerError,
    RightMissing,
)
from reconciler.kube.client.api_errors import CAUSES_MAX, TEXT_MAX, Request, failure
from reconciler.kube.client.connection import Reply
from reconciler.kube.client.resources import OURS

PATCH = Request("patch", OURS["InferenceModel"], "edge", "faces-berlin")


def said(
    code: int, message: str = "", *, asked: Request = PATCH, headers: dict[str, str] | None = None, **more: Any
) -> Any:
    document = {"kind": "Status", "code": code, "message": message, **more}
    return failure(asked, Reply(code, headers or {}, json.dumps(document).encode()))


def causes(*told: tuple[str, str, str]) -> dict[str, Any]:
    return {"causes": [{"reason": reason, "message": message, "field": field} for reason, message, field in told]}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (302, ApiUnavailable),
        (400, ApiRefused),
        (401, CredentialsRefused),
        (405, ApiRefused),
        (408, ApiUnavailable),
        (413, ApiRefused),
        (415, ApiRefused),
        (422, ApiRefused),
        (429, ApiUnavailable),
        (500, ApiUnavailable),
        (599, ApiUnavailable),
    ],
)
def test_a_status_is_an_error_even_without_words(code: int, kind: type[ReconcilerError]) -> None:
    for body in (b"", b"<html>", b"\xff\xfe", b"[]", b"{}", b'{"kind":"Status","details":null}', b'{"kind":1}'):
        found = failure(PATCH, Reply(code, {}, body))
        assert type(found) is kind
        assert str(found).startswith("InferenceModel edge/faces-berlin: ")


def test_a_field_that_others_own() -> None:
    managers = [
        ("FieldManagerConflict", 'conflict with "kubectl-edit" using ai.kubeedge.io/v1alpha1', ".spec.targetVersion"),
        ("FieldManagerConflict", 'conflict with "kubectl" with subresource "scale" using v1', ".spec.replicas"),
    ]
    found = said(409, "Apply failed with 2 conflicts", reason="Conflict", details=causes(*managers))
    assert isinstance(found, FieldConflict)
    assert found.fields == (("spec.targetVersion", "kubectl-edit"), ("spec.replicas", "kubectl"))
    assert "spec.targetVersion belongs to kubectl-edit; spec.replicas belongs to kubectl" in str(found)


def test_another_object_of_that_name_has_no_fields() -> None:
    found = said(409, "Precondition failed: UID", reason="Conflict", details={"name": "faces-berlin"})
    assert isinstance(found, FieldConflict)
    assert found.fields == ()


def test_a_right_that_is_missing_comes_with_the_rule_that_grants_it() -> None:
    words = (
        'inferencemodels.ai.kubeedge.io "faces-berlin" is forbidden: User "system:serviceaccount:a:b" cannot patch '
        'resource "inferencemodels/status" in API group "ai.kubeedge.io" in the namespace "edge"'
    )
    found = said(403, words.replace("a:b", "a:reconciler"), reason="Forbidden")
    assert isinstance(found, RightMissing)
    assert '{apiGroups: ["ai.kubeedge.io"], resources: ["inferencemodels/status"], verbs: [patch]}' in str(found)
    assert "may not patch inferencemodels/status in namespace edge; " in str(found)
    assert found.advice.startswith("`reconciler crds roles --namespace a | kubectl apply -f -` grants it")
    assert '{apiGroups: ["ai.kubeedge.io"], resources: ["inferencemodels/status"], verbs: [patch]}' in found.advice
    for user in ("bob", "system:serviceaccount:a:b"):  # whose namespace is not where a hub is
        found = said(403, words.replace("system:serviceaccount:a:b", user).partition(" in the namespace")[0])
        assert found.advice.startswith("`reconciler crds roles | kubectl apply -f -` grants it")
    lease = 'User "bob" cannot get resource "leases" in API group "coordination.k8s.io" in the namespace "home"'
    assert "crds roles --namespace home |" in said(403, lease).advice


def test_a_right_that_our_roles_do_not_give_is_not_promised_by_them() -> None:
    found = said(403, 'User "bob" cannot impersonate resource "users" in API group "" at the cluster scope')
    assert isinstance(found, RightMissing)
    assert "crds roles" not in found.advice
    assert '{apiGroups: [""], resources: ["users"], verbs: [impersonate]}' in found.advice


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("exceeded quota: objects, requested: count/inferencemodels=1, used: 3, limited: 3", "quota"),
        ("unable to create new content in namespace edge because it is being terminated", "namespace"),
        ('violates PodSecurity "restricted:latest"', ""),
        ('admission webhook "w" denied the request: User "x" cannot patch resource "y" in API group "z"', ""),
    ],
)
def test_other_refusals_by_403_are_no_missing_right(words: str, hint: str) -> None:
    found = said(403, words, reason="Forbidden")
    assert type(found) is ApiRefused
    assert words[:40] in str(found)
    assert hint in found.advice


def test_a_missing_namespace_and_a_missing_kind_are_told_apart() -> None:
    found = said(404, 'namespaces "edge" not found', reason="NotFound", details={"name": "edge", "kind": "namespaces"})
    assert type(found) is ApiRefused
    assert found.advice == "`kubectl create namespace edge`"
    found = said(404, "the server could not find the requested resource", reason="NotFound", details={})
    assert type(found) is KindMissing
    assert "inferencemodels of ai.kubeedge.io/v1alpha1" in str(found)


def test_what_is_wrong_with_fields_is_said_by_field() -> None:
    told = causes(("FieldValueInvalid", "Invalid value: 0: should be greater", "spec.servingPort"))
    found = said(422, "x is invalid: a long list", reason="Invalid", details=told)
    assert "spec.servingPort: Invalid value: 0: should be greater" in str(found)
    many = causes(*[("FieldValueInvalid", "is wrong", f"spec.f{number}") for number in range(50)])
    text = str(said(422, "", details=many))
    assert text.count("is wrong") == CAUSES_MAX
    assert f"and {50 - CAUSES_MAX} more" in text


def test_a_field_that_the_schema_lacks_is_no_failure_of_the_server() -> None:
    found = said(500, "failed to create typed patch object (a/b; x, Kind=y): .spec.foo: field not declared in schema")
    assert type(found) is ApiRefused
    assert "crds apply" in found.advice


def test_words_are_capped_and_printable() -> None:
    evil = "\x1b[2J\u202e\x00" + "a" * 100_000
    told = causes(("FieldManagerConflict", f'conflict with "{evil}" using v1', f".spec.{evil}"))
    for found in (
        said(500, evil),
        said(422, evil),
        said(422, "", details=causes(("x", evil, evil))),
        said(409, evil, details=told),
        said(403, f'User "{evil}" cannot {evil.replace(" ", "")} resource "{evil}" in API group "{evil}"'),
        said(404, "", reason="NotFound", details={"name": evil, "kind": "namespaces"}),
    ):
        for text in (str(found), found.advice, *sum(getattr(found, "fields", ()), ())):
            assert len(text) < 3 * TEXT_MAX
            assert text.isprintable(), found


def test_a_wait_is_taken_from_the_status_where_no_header_says_it() -> None:
    found = said(429, "slow down", details={"retryAfterSeconds": 3})
    assert found.retry_after_s == 3
    assert said(503, "", headers={"retry-after": "10"}, details={"retryAfterSeconds": 3}).retry_after_s == 10
    assert said(429, "", headers={"retry-after": "999999999"}).retry_after_s == 3600


@pytest.mark.parametrize("verb", ["get", "list", "watch"])
def test_a_read_that_failed_had_no_effect(verb: str) -> None:
    assert said(500, "x", asked=PATCH._replace(verb=verb)).unknown is False
    assert said(500, "x").unknown is True
    assert said(429, "x").unknown is False
