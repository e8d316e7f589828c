"""What an API server and the way to it do wrong, played by a server on loopback: requests counted, errors named."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest

from reconciler.errors import ApiRefused, ApiUnavailable, CredentialsRefused, KindMissing, LeaseLost
from reconciler.kube.client import connection as connection_module
from reconciler.kube.client import kubeconfig as identity
from reconciler.kube.client.api import Api, Expired
from reconciler.kube.client.connection import Connection, Reply
from reconciler.kube.client.resources import OURS
from tests.scripted_server import CLOSE, HOLD, RESET, ScriptedServer, answer, status

pytestmark = pytest.mark.enable_socket

MODELS = OURS["InferenceModel"]
BODY = b'{"kind":"InferenceModel"}'
CANARY = "canary-5ecre7"

Opened = Callable[..., Api]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as made:
        yield made


@pytest.fixture
def opened(server: ScriptedServer, tmp_path: Path) -> Iterator[Opened]:
    made: list[Connection] = []

    def open_(**user: str) -> Api:
        made.append(Connection.open(kubeconfig=server.kubeconfig(tmp_path, **user)))
        return Api(made[-1])

    yield open_
    for one in made:
        one.close()


def apply(api: Api) -> bytes:
    return api.apply(MODELS, "one", "default", BODY, manager="reconciler")


@pytest.mark.parametrize("code", [429, 503])
def test_fault_024_retry_after_in_seconds_is_told(server: ScriptedServer, opened: Opened, code: int) -> None:
    server.say(answer(code, {"Retry-After": "7"}, status(code, "busy")))
    with pytest.raises(ApiUnavailable, match="busy") as raised:
        apply(opened())
    assert raised.value.retry_after_s == 7
    assert len(server.requests) == 1


def test_fault_024_retry_after_as_a_date_is_told(server: ScriptedServer, opened: Opened) -> None:
    server.say(answer(429, {"Retry-After": formatdate(time() + 60, usegmt=True)}, status(429, "busy")))
    with pytest.raises(ApiUnavailable) as raised:
        apply(opened())
    assert raised.value.retry_after_s is not None
    assert 30 < raised.value.retry_after_s <= 60
    assert raised.value.unknown is False  # it says itself that it did nothing


@pytest.mark.parametrize("value", ["soon", "-5", "1e9", "", formatdate(0, usegmt=True)])
def test_fault_024_a_wrong_retry_after_does_no_harm(server: ScriptedServer, opened: Opened, value: str) -> None:
    server.say(answer(429, {"Retry-After": value}, b"no status"))
    with pytest.raises(ApiUnavailable) as raised:
        apply(opened())
    assert raised.value.retry_after_s in {None, 0}


def test_fault_045_a_refusal_before_the_body_was_read_is_heard(tmp_path: Path) -> None:
    """A proxy that takes no such body answers and hangs up, while it is still being sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            line, _ = listener.accept()
            with line:
                line.recv(1000)
                line.sendall(answer(413, {"Connection": "close"}, status(413, "too large")))

        thread = threading.Thread(target=refuse)
        thread.start()
        with ScriptedServer() as server:
            server.port, port = listener.getsockname()[1], server.port
            kubeconfig = server.kubeconfig(tmp_path)
            server.port = port
        with closing(Connection.open(kubeconfig=kubeconfig)) as connection:
            with pytest.raises(ApiRefused, match="too large"):
                Api(connection).apply(MODELS, "one", "default", b" " * (64 << 20), manager="reconciler")
            assert connection._idle == []
        thread.join()


def test_fault_025_connection_refused(opened: Opened, server: ScriptedServer) -> None:
    api = opened()
    server.close()
    with pytest.raises(ApiUnavailable, match="connection refused") as raised:
        apply(api)
    assert raised.value.unknown is False


CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"


@pytest.mark.parametrize(
    "how", [CLOSE, RESET, CUT, b"220 mail ready\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
def test_fault_025_a_write_that_may_have_arrived_is_never_sent_again(
    server: ScriptedServer, opened: Opened, how: bytes
) -> None:
    server.say(answer(200), how)
    line = opened().connection
    line.exchange("GET", "/readyz")  # the write goes out on a socket that was used before
    with pytest.raises(ApiUnavailable) as raised:
        line.exchange("PATCH", "/x", body=b"{}", timeout_s=0.3)
    assert raised.value.unknown is True
    assert [asked.method for asked in server.requests] == ["GET", "PATCH"]


@pytest.mark.parametrize("code", [500, 502, 503, 504])
def test_fault_025_a_failed_write_may_have_had_its_effect(server: ScriptedServer, opened: Opened, code: int) -> None:
    server.say(answer(code, body=b"<html>bad gateway</html>", form="text/html"))
    with pytest.raises(ApiUnavailable) as raised:
        apply(opened())
    assert raised.value.unknown is True
    assert len(server.requests) == 1


def test_fault_025_no_answer_in_time(server: ScriptedServer, opened: Opened) -> None:
    server.say(HOLD)
    with pytest.raises(ApiUnavailable, match="no answer in time") as raised:
        opened().connection.exchange("PATCH", "/x", body=b"{}", timeout_s=0.2)
    assert raised.value.unknown is True


def test_fault_025_nothing_is_sent_once_the_time_is_over(server: ScriptedServer, opened: Opened) -> None:
    line = opened().connection
    for _ in range(2):  # on a new socket, then with one at hand
        count = len(server.requests)
        with pytest.raises(ApiUnavailable) as raised:
            line.exchange("PATCH", "/x", body=b"{}", timeout_s=0.0)
        assert raised.value.unknown is False
        assert len(server.requests) == count
        line.exchange("GET", "/readyz")


def test_fault_025_a_kept_socket_that_was_closed_costs_no_error(server: ScriptedServer, opened: Opened) -> None:
    api = opened()
    apply(api)
    server.drop()
    wait_until(lambda: not api.connection._idle[0][0].idle())
    apply(api)
    assert [asked.connection for asked in server.requests] == [1, 2]


def test_fault_025_a_get_on_a_socket_closed_meanwhile_is_asked_once_more(
    server: ScriptedServer, opened: Opened
) -> None:
    server.say(answer(200), CLOSE, CLOSE)
    api = opened()
    assert api.get(MODELS, "one", "default") == b"{}"
    with pytest.raises(ApiUnavailable):  # once on a new socket, and no more
        api.get(MODELS, "one", "default")
    assert [asked.connection for asked in server.requests] == [1, 1, 2]
    assert api.get(MODELS, "one", "default") == b"{}"


def test_fault_025_a_server_without_tls(server: ScriptedServer, tmp_path: Path) -> None:
    path = server.kubeconfig(tmp_path, token=CANARY)
    path.write_text(path.read_text().replace("http://", "https://"))
    with pytest.raises(ApiUnavailable) as raised:
        Connection.open(kubeconfig=path).exchange("PATCH", "/x", body=b"{}", timeout_s=0.5)
    assert raised.value.unknown is False
    assert CANARY not in str(raised.value)
    assert server.requests == []


def test_fault_029_gone_in_both_forms(server: ScriptedServer, opened: Opened) -> None:
    gone = b'{"type":"ERROR","object":%s}\n' % status(410, "too old", reason="Expired")
    stream = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(gone), gone)
    server.say(answer(410, body=status(410, "too old")), stream, answer(410, body=status(410, "too old")))
    api = opened()
    for _ in range(2):
        with pytest.raises(Expired), api.watch(MODELS, "1") as lines:
            list(lines)
    with pytest.raises(Expired):
        list(api.pages(MODELS))


def test_fault_030_a_silent_watch_is_given_up(server: ScriptedServer, opened: Opened) -> None:
    event = b'{"type":"ADDED","object":{}}\n'
    server.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(event), event))
    with opened().watch(MODELS, "1", silence_s=0.3) as lines:
        assert next(lines) == event.strip()
        with pytest.raises(ApiUnavailable, match="silent"):
            next(lines)
    assert len(server.requests) == 1


def test_fault_030_a_watch_ends_at_once_when_the_connection_is_closed(server: ScriptedServer, opened: Opened) -> None:
    event = b'{"type":"ADDED","object":{}}\n'
    server.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(event), event))
    api = opened()
    with api.watch(MODELS, "1", silence_s=60) as lines:
        assert next(lines) == event.strip()
        threading.Timer(0.05, api.connection.close).start()
        with pytest.raises(ApiUnavailable):
            next(lines)


@pytest.mark.parametrize(
    "said",
    [
        answer(500, body=status(500, "etcd is away")),
        answer(403, body=status(403, "no", reason="Forbidden")),
        answer(404, body=b"404 page not found", form="text/plain"),
        answer(404, body=b"<html>wrong way</html>", form="text/html"),
        answer(404, body=status(404, "the server could not find the requested resource", reason="NotFound")),
        answer(404, body=status(404, "gone", reason="NotFound", name="two", kind=MODELS.plural, group=MODELS.group)),
        answer(404, body=status(404, "gone", reason="NotFound", name="one", kind="pods", group="")),
        answer(200, body=b"<html>log in</html>", form="text/html"),
        answer(302, {"Location": "/login"}, b""),
        CLOSE,
    ],
)
def test_fault_040_a_failed_read_is_never_an_absent_object(server: ScriptedServer, opened: Opened, said: bytes) -> None:
    server.say(said, said)
    with pytest.raises((ApiUnavailable, ApiRefused, KindMissing)):
        opened().get(MODELS, "one", "default")


def test_fault_040_only_this_object_not_found_is_absent(server: ScriptedServer, opened: Opened) -> None:
    gone = status(404, "gone", reason="NotFound", name="one", kind=MODELS.plural, group=MODELS.group)
    server.say(answer(404, body=gone), answer(404, body=gone))
    api = opened()
    assert api.get(MODELS, "one", "default") is None
    assert not api.delete(MODELS, "one", "default", uid="u")


LIST: dict[str, Any] = {"kind": "InferenceModelList", "metadata": {"resourceVersion": "7"}, "items": []}
NO_LISTS: list[dict[str, Any]] = [
    LIST | {"kind": "Status"},
    LIST | {"kind": "List"},
    LIST | {"kind": "EdgeList"},
    LIST | {"metadata": {}},
    {name: LIST[name] for name in ("kind", "metadata")},
]


@pytest.mark.parametrize(
    "said",
    [
        answer(200, body=b'{"items":[]}'),
        answer(200, body=b"[]"),
        answer(500),
        *(answer(200, body=json.dumps(one).encode()) for one in NO_LISTS),
    ],
)
def test_fault_040_a_list_that_is_none_is_not_empty(server: ScriptedServer, opened: Opened, said: bytes) -> None:
    server.say(said)
    with pytest.raises(ApiUnavailable):
        list(opened().pages(MODELS))


def test_fault_041_a_token_that_was_rotated_is_read_again(
    server: ScriptedServer, opened: Opened, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    api = opened(tokenFile="token")
    apply(api)
    token.write_text("second")
    server.say(answer(401, body=status(401, "Unauthorized")))
    apply(api)
    said = [asked.headers["authorization"] for asked in server.requests]
    assert said == ["Bearer first", "Bearer first", "Bearer second"]


def test_fault_041_a_rotated_token_is_noticed_before_it_is_refused(
    server: ScriptedServer, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "LOOK_AGAIN_S", 0.0)
    token = tmp_path / "token"
    token.write_text("first")
    api = opened(tokenFile="token")
    apply(api)
    token.write_text("second, longer".replace(", ", "-"))
    apply(api)
    assert [asked.headers["authorization"] for asked in server.requests] == ["Bearer first", "Bearer second-longer"]


def test_fault_041_credentials_refused_twice_are_told(server: ScriptedServer, opened: Opened) -> None:
    server.say(*[answer(401, body=status(401, "Unauthorized"))] * 2)
    with pytest.raises(CredentialsRefused, match="does not know who asks") as raised:
        apply(opened(token=CANARY))
    assert len(server.requests) == 2
    assert CANARY not in json.dumps(raised.value.as_dict())


def test_fault_041_credentials_that_vanished_are_told(server: ScriptedServer, opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first")
    api = opened(tokenFile="token")
    (tmp_path / "token").unlink()
    server.say(answer(401, body=status(401, "Unauthorized")))
    with pytest.raises(CredentialsRefused, match="cannot be read again"):
        apply(api)


def test_fault_041_many_refused_at_once_read_the_credentials_once(
    server: ScriptedServer, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = opened(token="a")
    reads: list[object] = []
    real = identity.read

    def read(wanted: identity.IdentityWanted) -> identity.ClientIdentity:
        reads.append(wanted)
        return real(wanted)

    monkeypatch.setattr(identity, "read", read)
    number = api.connection.number
    for _ in range(16):
        api.connection.reload(number)
    assert len(reads) == 1


def test_fault_042_a_write_asks_for_its_permit_each_time_and_ends_within_it(
    server: ScriptedServer, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    bounds: list[float] = []
    real = Connection.exchange

    def exchange(*args: Any, timeout_s: float, **rest: Any) -> Reply:
        bounds.append(timeout_s)
        return real(*args, timeout_s=timeout_s, **rest)

    monkeypatch.setattr(Connection, "exchange", exchange)

    def permit() -> float:
        asked.append(0.2)
        return 0.2

    line = opened().connection
    server.say(answer(401, body=status(401, "Unauthorized")), HOLD)
    with pytest.raises(ApiUnavailable, match="no answer in time"):
        apply(Api(line, permit))
    assert len(asked) == 2  # the second one for the request as who we are now
    assert bounds == [0.2, 0.2]
    assert Api(line, permit).get(MODELS, "one", "default") == b"{}"
    assert len(asked) == 2

    def lost() -> float:
        raise LeaseLost("another one holds it")

    count = len(server.requests)
    for none in (lost, lambda: 0.0):
        with pytest.raises(LeaseLost):
            apply(Api(line, none))
    assert len(server.requests) == count


def test_every_answer_is_counted(server: ScriptedServer, opened: Opened) -> None:
    told: list[tuple[str, str, int]] = []
    api = Api(opened().connection, counted=lambda *one: told.append(one))
    server.say(answer(200), answer(429), CLOSE)
    api.get(MODELS, "one", "default")
    for _ in range(2):
        with pytest.raises(ApiUnavailable):
            apply(api)
    assert told == [("get", "InferenceModel", 200), ("patch", "InferenceModel", 429), ("patch", "InferenceModel", 0)]


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time() + 10
    while not done():
        assert time() < deadline


def test_a_proxy_is_asked_with_its_password_and_the_server_never_sees_it(
    server: ScriptedServer, tmp_path: Path
) -> None:
    path = server.kubeconfig(tmp_path, token=CANARY)
    document = json.loads(path.read_text())
    proxy = f"http://me:pass-{CANARY}@127.0.0.1:{server.port}"
    document["clusters"][0]["cluster"] = {"server": "http://api.example.test:6443/base", "proxy-url": proxy}
    path.write_text(json.dumps(document))
    line = Connection.open(kubeconfig=path)
    Api(line).get(MODELS, "one", "default")
    (asked,) = server.requests
    assert asked.target.startswith("http://api.example.test:6443/base/apis/")
    assert asked.headers["host"] == "api.example.test:6443"
    assert asked.headers["proxy-authorization"].startswith("Basic ")
    line.close()

    document["clusters"][0]["cluster"]["server"] = "https://api.example.test:6443"
    path.write_text(json.dumps(document))
    line = Connection.open(kubeconfig=path)
    server.say(answer(407, body=CANARY.encode()))
    with pytest.raises(ApiUnavailable) as raised:
        Api(line).get(MODELS, "one", "default")
    assert CANARY not in str(raised.value)
    assert (server.requests[1].method, server.requests[1].target) == ("CONNECT", "api.example.test:6443")
    assert "authorization" not in server.requests[1].headers
    assert server.requests[1].headers["proxy-authorization"].startswith("Basic ")
