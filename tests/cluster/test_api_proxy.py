"""The proxy that other tests bend: each fault once against the real API server, by a client that repeats nothing."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from reconciler.errors import ApiUnavailable
from reconciler.kube.client.connection import Connection, Reply
from tests.api_proxy import (
    GONE,
    ROOT,
    Answer,
    ApiProxy,
    BrokenTls,
    Cut,
    CutBody,
    CutLine,
    Delay,
    Fault,
    Hold,
    Insert,
    Repeat,
    Request,
    Rule,
    Shuffle,
    Swap,
    retry_after_date,
    verb_of,
)
from tests.control_plane.plane import ControlPlane
from tests.control_plane.plane import Rule as Rights

EVERYTHING: Rights = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}


class Client:
    """ConfigMaps of one namespace, by way of the proxy."""

    def __init__(self, proxy: ApiProxy, namespace: str) -> None:
        self.proxy, self.connection = proxy, Connection.open(kubeconfig=proxy.kubeconfig)
        self.path = f"/api/v1/namespaces/{namespace}/configmaps"

    def ask(self, method: str = "GET", name: str = "", body: object = None, **query: str) -> Reply:
        sent = b"" if body is None else json.dumps(body).encode()
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        path = f"{self.path}/{name}" if name else self.path
        return self.connection.exchange(method, path, query=query, body=sent, content_type=kind, timeout_s=20)

    def create(self, name: str) -> Reply:
        return self.ask("POST", body={"metadata": {"name": name}})

    def names(self, **query: str) -> list[str]:
        return [item["metadata"]["name"] for item in json.loads(self.ask(**query).body)["items"]]

    def watch(self) -> "Watch":
        return Watch(self, json.loads(self.ask().body)["metadata"]["resourceVersion"])


class Watch:
    """An open watch from a version on. `seen` takes the names of so many events."""

    def __init__(self, client: Client, version: str, silence_s: float = 20) -> None:
        self._stack = ExitStack()
        query = {"watch": "1", "resourceVersion": version}
        opened = client.connection.lines(client.path, query=query, silence_s=silence_s)
        self.lines = self._stack.enter_context(opened)

    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(next(self.lines))
        return found

    def seen(self, count: int) -> list[str]:
        return [self.event()["object"]["metadata"]["name"] for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def admin(control_plane: ControlPlane) -> Path:
    return control_plane.kubeconfig_for("proxied", EVERYTHING)


@pytest.fixture(scope="module")
def shared(admin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProxy]:
    with ApiProxy(admin, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


@pytest.fixture
def proxy(shared: ApiProxy) -> ApiProxy:
    shared.clear()
    shared.forget()
    return shared


@pytest.fixture
def client(proxy: ApiProxy, control_plane: ControlPlane) -> Iterator[Client]:
    client = Client(proxy, control_plane.fresh_namespace())
    client.names()  # the namespace has its own one meanwhile, or not: made by another controller
    proxy.forget()
    yield client
    proxy.clear()
    client.connection.close()


def statuses(proxy: ApiProxy, **wanted: str | int) -> list[int]:
    return [request.status for request in proxy.requests(**wanted)]


def test_everything_passes_and_is_recorded_in_order(client: Client, proxy: ApiProxy, admin: Path) -> None:
    before = time.monotonic()
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"size": "x" * 300_000}}
    answers = [
        client.create("a"),
        client.ask("PATCH", "b", applied, fieldManager="test"),
        client.ask("GET", "b"),
        client.ask("DELETE", "a"),
        client.ask("GET", "a"),
    ]
    assert [answer.status for answer in answers] == [201, 201, 200, 200, 404]
    assert json.loads(answers[2].body)["data"] == applied["data"]
    assert {"b"} <= set(client.names())
    found = proxy.requests()
    assert [(request.verb, request.status) for request in found] == [
        ("create", 201),
        ("patch", 201),
        ("get", 200),
        ("delete", 200),
        ("get", 404),
        ("list", 200),
    ]
    assert all(request.answered == request.status and request.fault == "" for request in found)
    times = [before, *(request.at for request in found), time.monotonic()]
    assert times == sorted(times)
    assert found[1].size > 300_000
    assert found[1].query == "fieldManager=test"
    assert {request.agent.partition("/")[0] for request in found} == {"reconciler"}
    assert all(request.token and request.token in admin.read_text() for request in found)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502, 503, 504])
def test_an_answer_of_its_own_and_the_server_is_not_asked(client: Client, proxy: ApiProxy, status: int) -> None:
    proxy.add(Rule(Answer(status, headers={"Retry-After": "7"}, message="bent"), verb="create", times=2))
    first = client.create("a")
    assert (first.status, first.headers["retry-after"], json.loads(first.body)["message"]) == (status, "7", "bent")
    assert json.loads(first.body)["code"] == status
    assert [client.create("a").status for _ in range(2)] == [status, 201]
    assert [(request.answered, request.status) for request in proxy.requests(verb="create")] == [
        (0, status),
        (0, status),
        (201, 201),
    ]


def test_retry_after_as_a_date_lies_ahead(client: Client, proxy: ApiProxy) -> None:
    proxy.add(Rule(Answer(429, headers={"Retry-After": retry_after_date(30)})))
    said = parsedate_to_datetime(client.ask().headers["retry-after"])
    assert said.timestamp() > time.time() + 20


def test_a_rule_fits_some_requests_and_lets_the_first_pass(client: Client, proxy: ApiProxy) -> None:
    rule = Rule(
        Answer(500), method="GET", path="/configmaps/b$", query="pretty", agent="^reconciler/", after=1, times=1
    )
    proxy.add(rule)
    asked = [("GET", "b", ""), ("GET", "b", "1"), ("GET", "a", "1"), ("GET", "b", "1"), ("GET", "b", "1")]
    found = [client.ask(method, name, **({"pretty": pretty} if pretty else {})) for method, name, pretty in asked]
    assert [reply.status for reply in found] == [404, 404, 404, 500, 404]
    token = proxy.requests()[0].token
    proxy.add(Rule(Answer(500), token=token[:-1], times=None), Rule(Answer(502), token=token))
    assert [client.ask("GET", "b").status for _ in range(2)] == [502, 404]


@pytest.mark.parametrize(("applied", "answered"), [(False, 0), (True, 201)])
def test_a_cut_before_the_server_or_after_it_has_applied(
    client: Client, proxy: ApiProxy, applied: bool, answered: int
) -> None:
    proxy.add(Rule(Cut(applied=applied), verb="create"))
    with pytest.raises(ApiUnavailable) as refused:
        client.create("a")
    assert refused.value.unknown
    (request,) = proxy.requests(verb="create")
    assert (request.answered, request.status, request.fault) == (answered, 0, "Cut")
    assert ("a" in client.names()) is applied


@pytest.mark.parametrize(("applied", "answered"), [(False, 0), (True, 201)])
def test_a_delay_holds_one_request_and_no_other(client: Client, proxy: ApiProxy, applied: bool, answered: int) -> None:
    proxy.add(Rule(Delay(1.5, applied=applied), verb="create"))
    thread = threading.Thread(target=client.create, args=["a"])
    thread.start()
    proxy.wait(lambda found: [request for request in found if request.answered == answered and request.fault])
    assert client.ask().status == 200
    assert statuses(proxy) == [0, 200]
    thread.join()
    assert statuses(proxy) == [201, 200]


@pytest.mark.parametrize("how", ["garbage", "cut", "untrusted"])
def test_a_broken_handshake_cuts_what_was_open(client: Client, proxy: ApiProxy, how: Any) -> None:
    assert client.ask().status == 200
    proxy.add(Rule(BrokenTls(how)))
    with pytest.raises(ApiUnavailable, match="trusted" if how == "untrusted" else None):
        client.ask()
    assert client.ask().status == 200
    assert statuses(proxy) == [200, 200]


def test_an_outage_cuts_watches_too_and_ends(client: Client, proxy: ApiProxy) -> None:
    with client.watch() as watch:
        proxy.outage()
        with pytest.raises(ApiUnavailable):
            watch.event()
    for _ in range(3):
        with pytest.raises(ApiUnavailable):
            client.ask()
    asked = len(proxy.requests())
    proxy.clear()
    assert client.ask().status == 200
    assert len(proxy.requests()) == asked + 1
    proxy.outage(0.3)
    until(lambda: answers(client))


def answers(client: Client) -> bool:
    try:
        return client.ask().status == 200
    except ApiUnavailable:
        return False


def until(condition: Callable[[], bool], deadline_s: float = 20) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_watch_passes_line_by_line(client: Client, proxy: ApiProxy) -> None:
    with client.watch() as watch:
        for name in "abc":
            client.create(name)
            assert watch.seen(1) == [name]
    (request,) = proxy.requests(verb="watch")
    assert (request.answered, request.status, request.fault) == (200, 200, "")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(Repeat(), ["a", "b", "b", "c"]), (Swap(), ["a", "c", "b"])],
)
def test_a_watch_says_a_line_twice_or_too_late(
    client: Client, proxy: ApiProxy, fault: Fault, expected: list[str]
) -> None:
    proxy.add(Rule(fault, verb="watch", after=1))
    with client.watch() as watch:
        for name in "abc":
            client.create(name)
        assert watch.seen(len(expected)) == expected


def test_a_watch_goes_silent_and_stays_open(client: Client, proxy: ApiProxy) -> None:
    proxy.add(Rule(Hold(), path="configmaps", after=1))
    version = json.loads(client.ask().body)["metadata"]["resourceVersion"]
    with Watch(client, version, silence_s=1) as watch:
        client.create("a")
        client.create("b")
        assert watch.seen(1) == ["a"]
        with pytest.raises(ApiUnavailable, match="silent"):
            watch.event()
    with Watch(client, version) as again:  # only that watch was held
        assert again.seen(2) == ["a", "b"]
    assert [request.fault for request in proxy.requests(verb="watch")] == ["Hold", ""]


def test_clearing_the_rules_cuts_a_watch_that_is_held(client: Client, proxy: ApiProxy) -> None:
    proxy.add(Rule(Hold()))
    with client.watch() as watch:
        client.create("a")
        proxy.wait(lambda found: [request for request in found if request.fault == "Hold"])
        proxy.clear()
        with pytest.raises(ApiUnavailable):
            watch.event()


def test_a_watch_ends_in_the_middle_of_a_line(client: Client, proxy: ApiProxy) -> None:
    proxy.add(Rule(CutLine(), after=1))
    with client.watch() as watch:
        client.create("a")
        client.create("b")
        assert watch.seen(1) == ["a"]
        with pytest.raises(ApiUnavailable):
            watch.event()


@pytest.mark.parametrize("opened_first", [False, True])
def test_a_watch_is_told_that_its_version_is_gone(client: Client, proxy: ApiProxy, opened_first: bool) -> None:
    rule = Rule(GONE, verb="watch")
    if not opened_first:
        proxy.add(rule)
    with client.watch() as watch:
        if opened_first:
            client.create("a")
            assert watch.seen(1) == ["a"]
            proxy.add(rule)
        event = watch.event()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        assert list(watch.lines) == []  # it ends in order
    assert client.ask().status == 200


def test_a_watch_is_refused_with_410(client: Client, proxy: ApiProxy) -> None:
    proxy.add(Rule(Answer(410), verb="watch"))
    reply = client.ask(watch="1", resourceVersion="1")
    assert (reply.status, json.loads(reply.body)["reason"]) == (410, "Expired")


def test_an_event_of_an_unknown_kind_is_inserted_and_the_watch_goes_on(client: Client, proxy: ApiProxy) -> None:
    event = {"type": "ADDED", "object": {"apiVersion": "example.com/v9", "kind": "Odd", "metadata": {"name": "odd"}}}
    with client.watch() as watch:
        proxy.add(Rule(Insert(event), verb="watch"))
        assert watch.event() == event
        client.create("a")
        assert watch.seen(1) == ["a"]


def test_a_list_in_another_order(client: Client, proxy: ApiProxy) -> None:
    for name in "abc":
        client.create(name)
    proxy.add(Rule(Shuffle(), verb="list"))
    ours = [[name for name in client.names() if name in {"a", "b", "c"}] for _ in range(2)]
    assert ours == [["c", "b", "a"], ["a", "b", "c"]]


def test_a_list_that_ends_in_the_middle(client: Client, proxy: ApiProxy) -> None:
    proxy.add(Rule(CutBody(), verb="list"))
    with pytest.raises(ApiUnavailable):
        client.names()
    assert [(one.answered, one.status, one.fault) for one in proxy.requests(verb="list")] == [(200, 200, "CutBody")]
    client.create("a")
    assert "a" in client.names()


def test_a_continue_token_that_is_over(client: Client, proxy: ApiProxy) -> None:
    for name in "abc":
        client.create(name)
    proxy.add(Rule(Answer(410), verb="list", query="continue="))
    first = json.loads(client.ask(limit="1").body)
    more = first["metadata"]["continue"]
    assert [client.ask(**{"limit": "1", "continue": more}).status for _ in range(2)] == [410, 200]


def test_connections_stay_alive_on_both_sides(client: Client, proxy: ApiProxy) -> None:
    def dialled() -> int:
        done: int = proxy._say("dialled")
        return done

    client.ask()
    before = dialled()
    for name in ("a", "b", "c"):
        client.create(name)
        client.names()
    assert dialled() == before


def test_a_client_certificate_is_refused(admin: Path, proxy: ApiProxy, tmp_path: Path) -> None:
    document = yaml.safe_load(admin.read_text())
    document["users"][0]["user"] = {"client-certificate-data": "", "client-key-data": ""}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document))
    with pytest.raises(ValueError, match="client certificate"):
        proxy.kubeconfig_for(tmp_path / "kubeconfig")


def test_it_ends_with_the_process_that_started_it(admin: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tests.api_proxy import ApiProxy\n"
        "proxy = ApiProxy(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print(proxy._process.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, admin, tmp_path / "proxy"], cwd=ROOT, capture_output=True, check=True
    )
    until(lambda: not Path(f"/proc/{int(done.stdout)}/fd").exists())


@pytest.mark.parametrize(
    ("method", "path", "query", "verb"),
    [
        ("GET", "/api/v1/namespaces", "", "list"),
        ("GET", "/api/v1/namespaces/a", "", "get"),
        ("GET", "/api/v1/namespaces/a/pods", "limit=5", "list"),
        ("GET", "/api/v1/namespaces/a/pods", "x=1&watch=true", "watch"),
        ("GET", "/apis/apps/v1/namespaces/a/deployments/b", "", "get"),
        ("GET", "/apis/ai.kubeedge.io/v1alpha1/models", "watch=1", "watch"),
        ("GET", "/readyz", "", "get"),
        ("POST", "/apis/apps/v1/namespaces/a/deployments", "", "create"),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", "", "update"),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/b/status", "", "patch"),
        ("DELETE", "/api/v1/namespaces/a", "", "delete"),
        ("DELETE", "/api/v1/namespaces/a/pods", "", "deletecollection"),
    ],
)
def test_verbs_are_those_of_kubernetes(method: str, path: str, query: str, verb: str) -> None:
    assert verb_of(method, path, query) == verb
    assert Rule(Cut(), verb=verb).fits(Request(0.0, method, path, query, verb, "", "", 0))
