"""Which URLs and addresses are allowed, by text and by the address behind it."""

import ipaddress
import socket

import pytest

from reconciler.artifacts.address import file_name, follow, parse, refusal, resolve, shown
from reconciler.errors import AddressRefused


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "10.1.2.3", "192.168.0.7", "172.16.0.1", "fd12::1", "2606:4700::1111", "::ffff:8.8.8.8"]
)
def test_public_and_private_addresses_are_allowed(text: str) -> None:
    assert refusal(ipaddress.ip_address(text), allow_loopback=False) == ""


@pytest.mark.parametrize(
    "text",
    [
        "169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fe80::1",
        "fd00:ec2::254", "100.100.100.200", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "ff02::1", "255.255.255.255",
    ],
)  # fmt: skip
def test_metadata_unspecified_and_multicast_are_always_refused(text: str) -> None:
    assert refusal(ipaddress.ip_address(text), allow_loopback=True)


@pytest.mark.parametrize("text", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "2002:7f00:1::"])
def test_loopback_needs_leave(text: str) -> None:
    assert refusal(ipaddress.ip_address(text), allow_loopback=False)
    assert not refusal(ipaddress.ip_address(text), allow_loopback=True)


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "0x7f.1", "127.1", "[::ffff:7f00:1]"])
def test_other_spellings_of_an_address_are_judged_by_the_address(host: str) -> None:
    hop = parse(f"http://{host}/model")
    with pytest.raises(AddressRefused, match="loopback"):
        resolve(hop, allow_loopback=False)


def test_one_bad_address_of_many_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 80)) for text in ("93.184.216.34", "169.254.169.254")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(AddressRefused, match=r"169\.254\.169\.254"):
        resolve(parse("http://models.example.com/m"), allow_loopback=False)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/m", "s3://bucket/m", "gopher://host/", "http:///m", "http://host:99999/m", "http://host/a b",
        "http://host/a\nb", "http://user:word@host/m", "http://[::1/m", "m.tar.gz", "",
    ],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        parse(url)


def test_the_request_target_is_quoted_once() -> None:
    assert parse("https://host/a%20b/größe?x=1&sig=a%2Fb#part").target == "/a%20b/gr%C3%B6%C3%9Fe?x=1&sig=a%2Fb"


def test_redirects_are_relative_and_never_downgrade() -> None:
    assert follow(parse("https://host/a/b"), "../c").url == "https://host/c"
    assert follow(parse("http://host/a"), "https://other/c").scheme == "https"
    for location in ("http://host/c", "file:///etc/passwd", "//user@host/c"):
        with pytest.raises(AddressRefused):
            follow(parse("https://host/a"), location)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/a/model.onnx?x=1", "model.onnx"), ("http://h/a/m%20x.onnx", "m x.onnx"), ("http://h/", "artifact"),
        ("http://h/..", "artifact"), ("http://h/%2e%2e%2fpasswd", "artifact"), ("http://h/a%00b", "artifact"),
        ("http://h/" + "n" * 300, "artifact"), ("http://h/%ff", "artifact"),
    ],
)  # fmt: skip
def test_a_plain_file_is_named_after_its_url(url: str, name: str) -> None:
    assert file_name(url) == name


def test_what_is_shown_has_no_secrets() -> None:
    assert shown("https://user:word@host:8443/m.tar.gz?X-Signature=hush#part") == "https://host:8443/m.tar.gz"
