"""Which cluster it is: told by its own uid, never by an address; what cannot be read is no other cluster."""

import pytest

from reconciler.errors import ApiUnavailable, ReconcilerError, RightMissing, SettingInvalid
from reconciler.kube.client.api import Api
from reconciler.kube.client.identity import same_cluster
from reconciler.kube.client.resources import Resource


class Server(Api):
    """Answers for one namespace."""

    def __init__(self, answer: bytes | ReconcilerError | None) -> None:
        self.answer, self.asked = answer, list[str]()

    def get(self, resource: Resource, name: str, namespace: str = "") -> bytes | None:
        self.asked.append(resource.path(namespace, name))
        if isinstance(self.answer, ReconcilerError):
            raise self.answer
        return self.answer


def named(uid: str) -> bytes:
    return b'{"metadata":{"name":"kube-system","uid":"%s"}}' % uid.encode()


def test_a_cluster_is_known_by_the_uid_of_kube_system() -> None:
    server = Server(named("one"))
    assert [same_cluster(server, known) for known in ("", "one")] == ["one", "one"]
    assert server.asked[0] == "/api/v1/namespaces/kube-system"
    with pytest.raises(SettingInvalid, match=r"keeps another cluster: two .*, and this is one") as refused:
        same_cluster(server, "two")
    assert "--state" in refused.value.advice


@pytest.mark.parametrize("answer", [RightMissing("no"), None, b"{}", b'{"metadata":{}}'], ids=str)
def test_what_may_not_be_read_is_no_other_cluster(answer: bytes | ReconcilerError | None) -> None:
    assert same_cluster(Server(answer), "two") == ""


@pytest.mark.parametrize("answer", [ApiUnavailable("away"), b"<html>", b'{"metadata":7}'], ids=str)
def test_an_answer_that_is_none_is_asked_for_again(answer: bytes | ReconcilerError) -> None:

    with pytest.raises(ApiUnavailable):
        same_cluster(Server(answer), "")
