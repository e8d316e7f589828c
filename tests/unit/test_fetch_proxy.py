"""Downloads whose way out is a proxy, by the usual variables; a real proxy on loopback, names that only it knows."""

import hashlib
import random
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.artifacts.address import parse
from reconciler.artifacts.limits import FetchLimits
from reconciler.artifacts.proxy import CREDENTIALS, CREDENTIALS_FILE, described, proxy_of
from reconciler.errors import AddressRefused, ArtifactUnavailable, SettingInvalid
from tests.artifact_server import ArtifactServer, Bend, Stager
from tests.proxy_server import ProxyServer

pytestmark = pytest.mark.enable_socket

DATA = random.Random(1).randbytes(300_007)
SHA256 = hashlib.sha256(DATA).hexdigest()
NAME = "models.corp.invalid"
SECRET = "ada:s3cret"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http", "https", "all", "no"):
        for name in (f"{scheme}_proxy", f"{scheme}_PROXY".upper()):
            monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[ArtifactServer]:
    with ArtifactServer({"/model.onnx": DATA}) as server:
        yield server


@pytest.fixture
def proxy(server: ArtifactServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProxyServer]:
    with ProxyServer({NAME: server.port, f"other.{NAME}": server.port}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        yield proxy


@pytest.fixture
def stager(tmp_path: Path) -> Stager:
    return Stager(tmp_path / "store", FetchLimits(attempts=1))


def test_a_name_that_only_the_proxy_knows_is_fetched_through_it(
    server: ArtifactServer, proxy: ProxyServer, stager: Stager
) -> None:
    assert stager.stage(f"http://{NAME}/model.onnx?token=1", SHA256, len(DATA)).size == len(DATA)
    assert proxy.seen == [f"GET http://{NAME}/model.onnx?token=1 HTTP/1.1"]
    assert server.requests[0].headers["host"] == NAME
    assert "proxy-authorization" not in server.requests[0].headers


def test_without_the_variable_such_a_name_is_not_known(stager: Stager) -> None:
    with pytest.raises(ArtifactUnavailable, match=NAME):
        stager.stage(f"http://{NAME}/model.onnx", SHA256)


def test_a_redirect_takes_the_proxy_too_and_a_broken_body_is_gone_on_with(
    server: ArtifactServer, proxy: ProxyServer, stager: Stager
) -> None:
    stager.limits = FetchLimits(attempts=2)
    server.bend(Bend(status=302, headers=(("Location", f"http://other.{NAME}/model.onnx"),)), Bend(cut_at=100_000))
    assert stager.stage(f"http://{NAME}/model.onnx", SHA256, len(DATA)).size == len(DATA)
    assert [line.split("/")[2] for line in proxy.seen] == [NAME, f"other.{NAME}", NAME]
    assert server.requests[-1].headers["range"] == "bytes=100000-"


@pytest.mark.parametrize("url", ["http://169.254.169.254/m", "http://[fe80::1]/m", "http://0.0.0.0/m"])
def test_what_is_known_here_is_judged_as_without_one(proxy: ProxyServer, stager: Stager, url: str) -> None:
    with pytest.raises(AddressRefused):
        stager.stage(url, SHA256)
    assert proxy.seen == []


def test_a_redirect_of_the_proxy_to_a_metadata_address_is_refused(
    server: ArtifactServer, proxy: ProxyServer, stager: Stager
) -> None:
    server.bend(Bend(status=302, headers=(("Location", "http://169.254.169.254/latest"),)))
    with pytest.raises(AddressRefused, match="metadata"):
        stager.stage(f"http://{NAME}/model.onnx", SHA256)
    assert len(proxy.seen) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_goes_straight_and_needs_leave_as_ever(
    server: ArtifactServer, proxy: ProxyServer, stager: Stager, host: str
) -> None:
    url = server.url("/model.onnx", host=host)
    with pytest.raises(AddressRefused, match="loopback"):
        stager.stage(url, SHA256, allow_loopback=False)
    stager.stage(url, SHA256)
    assert proxy.seen == []


def test_https_is_tunnelled_and_verified_end_to_end(
    tmp_path: Path, stager: Stager, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout {key} -out {cert}"
    )
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with ArtifactServer({"/model.onnx": DATA}, tls=context) as server, ProxyServer({NAME: server.port}) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(ArtifactUnavailable, match=f"by the proxy {proxy.url}.*certificate"):
            stager.stage(f"https://{NAME}/model.onnx", SHA256)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        stager.stage(f"https://{NAME}/model.onnx", SHA256, len(DATA))
        assert set(proxy.seen) == {f"CONNECT {NAME}:443 HTTP/1.1"}
        assert server.requests[0].headers["host"] == NAME


@pytest.mark.parametrize("by", ["variable", "file", "url"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_credentials_are_sent_to_the_proxy_and_shown_to_nobody(
    server: ArtifactServer,
    proxy: ProxyServer,
    stager: Stager,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
    scheme: str,
) -> None:
    proxy.wants = f"Basic {b64encode(SECRET.encode()).decode()}"
    monkeypatch.setenv(f"{scheme}_proxy", proxy.url)
    with pytest.raises(ArtifactUnavailable, match=f"the proxy {proxy.url} asks for credentials: put .* {CREDENTIALS}"):
        stager.stage(f"{scheme}://{NAME}/model.onnx", SHA256)
    match by:
        case "variable":
            monkeypatch.setenv(CREDENTIALS, SECRET)
        case "file":
            (tmp_path / "secret").write_text(f"{SECRET}\n")
            monkeypatch.setenv(CREDENTIALS_FILE, str(tmp_path / "secret"))
        case _:
            monkeypatch.setenv(f"{scheme}_proxy", proxy.url.replace("//", f"//{SECRET}@"))
    if scheme == "http":
        stager.stage(f"http://{NAME}/model.onnx", SHA256)
        assert "proxy-authorization" not in server.requests[0].headers
    else:  # what is behind it speaks no TLS
        with pytest.raises(ArtifactUnavailable) as told:
            stager.stage(f"https://{NAME}/model.onnx", SHA256)
        assert "credentials" not in str(told.value)
        assert SECRET not in str(told.value)
    assert not any("s3cret" in line for line in described())
    assert any(line.endswith("with credentials") for line in described())


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("says", "told"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "502 Bad Gateway"),
        (b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", "asks for credentials"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
        (b"", "closed|disconnect|Remote end|reset|EOF"),
    ],
)
def test_a_proxy_that_refuses_or_lies_is_no_crash_and_said_to_be_it(
    proxy: ProxyServer, stager: Stager, monkeypatch: pytest.MonkeyPatch, *, scheme: str, says: bytes, told: str
) -> None:
    proxy.says = says or b"\r\n"
    monkeypatch.setenv(f"{scheme}_proxy", proxy.url)
    with pytest.raises(ArtifactUnavailable, match=told if says else NAME):
        stager.stage(f"{scheme}://{NAME}/model.onnx", SHA256)


def test_a_proxy_that_is_not_there_is_said(stager: Stager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(ArtifactUnavailable, match=r"by the proxy http://127\.0\.0\.1:1.*refused"):
        stager.stage(f"http://{NAME}/model.onnx", SHA256)


@pytest.mark.parametrize(
    ("url", "environ", "found"),
    [
        ("http://a.example/m", {"http_proxy": "p:1"}, "http://p:1"),
        ("http://a.example/m", {"HTTP_PROXY": "http://p"}, "http://p:8080"),
        ("http://a.example/m", {"HTTP_PROXY": "http://big", "http_proxy": "http://p:1"}, "http://p:1"),
        ("http://a.example/m", {"HTTPS_PROXY": "http://p:1"}, "None"),
        ("https://a.example/m", {"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ("http://a.example/m", {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, "None"),
        ("http://a.example/m", {"http_proxy": "p:1", "no_proxy": "b.example, .example"}, "None"),
        ("http://a.example/m", {"http_proxy": "p:1", "NO_PROXY": "*"}, "None"),
        ("http://a.example:81/m", {"http_proxy": "p:1", "no_proxy": "a.example:81"}, "None"),
        ("http://a.example/m", {"http_proxy": "p:1", "no_proxy": "le"}, "http://p:1"),
        ("http://10.1.2.3/m", {"http_proxy": "p:1", "no_proxy": "10.0.0.0/8"}, "None"),
        ("http://11.1.2.3/m", {"http_proxy": "p:1", "no_proxy": "10.0.0.0/8"}, "http://p:1"),
        ("http://a.example/m", {"http_proxy": "", "HTTP_PROXY": "p:1"}, "None"),
        ("http://a.example/m", {"http_proxy": "http://[fd00::1]:3128"}, "http://[fd00::1]:3128"),
    ],
)
def test_which_proxy_is_taken(url: str, environ: dict[str, str], found: str) -> None:
    assert str(proxy_of(parse(url), environ)) == found


@pytest.mark.parametrize("value", ["socks5://p:1", "https://p:1", "http://", "http://p:99999", "http://[::1"])
def test_a_proxy_that_cannot_be_used_is_an_error_with_the_name_of_the_variable(value: str) -> None:
    with pytest.raises(SettingInvalid, match="http_proxy"):
        proxy_of(parse("http://a.example/m"), {"http_proxy": value})
