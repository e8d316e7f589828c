"""Whether an identity has the rights that it needs. May import: errors, kube.

In: an Api and rules of rights.py.  Out: the rules that are missing, each with just the verbs that are.
Asked is the API server itself (SelfSubjectAccessReview), so what grants a right does not matter. Nothing is written.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from reconciler.errors import ApiUnavailable
from reconciler.kube.client.api import Api
from reconciler.kube.client.resources import ACCESS_REVIEWS
from reconciler.kube.client.rights import HOME, RULES, PolicyRule

AT_ONCE: Final = 8


class _Verdict(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct, frozen=True):
    status: _Verdict


_REVIEW: Final = msgspec.json.Decoder(_Review)


def missing(api: Api, rules: Iterable[PolicyRule] = (*RULES, *HOME), *, namespace: str = "") -> list[PolicyRule]:
    """What of `rules` the identity lacks, in their order. `namespace`: where rules of one namespace are needed.

    One request a verb. Raises what Api raises: an answer that is not there is no missing right.
    """
    asking = Api(api.connection)  # a review changes nothing: it needs no Lease
    wanted = [(rule, verb) for rule in rules for verb in rule.verbs]
    with ThreadPoolExecutor(AT_ONCE, "access-review") as workers:
        granted = list(workers.map(lambda one: _may(asking, *one, namespace=namespace), wanted))
    lacking: dict[PolicyRule, tuple[str, ...]] = {}
    for (rule, verb), allowed in zip(wanted, granted, strict=True):
        if not allowed:
            lacking[rule] = (*lacking.get(rule, ()), verb)
    return [rule._replace(verbs=verbs) for rule, verbs in lacking.items()]


def _may(api: Api, rule: PolicyRule, verb: str, *, namespace: str) -> bool:
    plural, _, sub = rule.resource.partition("/")
    attributes = {"group": rule.group, "resource": plural, "subresource": sub, "verb": verb}
    attributes["namespace"] = namespace if rule.namespaced else ""
    body = {
        "apiVersion": ACCESS_REVIEWS.api_version,
        "kind": ACCESS_REVIEWS.kind,
        "spec": {"resourceAttributes": attributes},
    }
    try:
        return _REVIEW.decode(api.create(ACCESS_REVIEWS, "", msgspec.json.encode(body))).status.allowed
    except msgspec.DecodeError:
        raise ApiUnavailable("the answer to an access review cannot be read") from None
