"""Who asks whom, as files say it; what is wrong with them is said without what they hold."""

import json
import logging
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.errors import SettingInvalid
from reconciler.kube.client.connection import Connection
from reconciler.kube.client.kubeconfig import IdentityWanted, authorization, read

CANARY = "canary-5ecre7"


def kubeconfig(path: Path, **changes: Any) -> Path:
    document: dict[str, Any] = {
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:7/base"}}],
        "users": [{"name": "u", "user": {"token": CANARY}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "edge"}}],
    }
    path.write_text(yaml.safe_dump(document | changes))
    return path


def opened(path: Path | None, context: str = "") -> Connection:
    return Connection.open(kubeconfig=path, context=context)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def test_what_a_kubeconfig_says(tmp_path: Path) -> None:
    line = opened(kubeconfig(tmp_path / "k"))
    assert (line.server, line.context, line.namespace) == ("http://127.0.0.1:7/base", "here", "edge")
    found = read(IdentityWanted(tmp_path / "k", "", in_cluster=False))
    assert (found.host, found.port, found.base) == ("127.0.0.1", 7, "/base")
    assert found.authorization == f"Bearer {CANARY}"


def test_kubectls_places_are_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(SettingInvalid, match=r"no kubeconfig at ~/\.kube/config"):
        opened(None)
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube" / "config")
    assert opened(None, "here").context == "here"
    second = tmp_path / "second"
    kubeconfig(second, contexts=[{"name": "there", "context": {"cluster": "c", "user": "u"}}])
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{second}:{tmp_path}/.kube/config")
    assert opened(None, "there").namespace == "default"
    assert opened(None, "here").namespace == "edge"


@pytest.mark.parametrize(
    ("change", "context", "words"),
    [
        ({"current-context": ""}, "", "no current context.*: here"),
        ({}, "elsewhere", "no context elsewhere.*there are: here"),
        ({"contexts": None}, "", "no context here.*there are: none"),
        ({"contexts": [{"name": "here", "context": None}]}, "", "is empty"),
        ({"contexts": [{"name": "here", "context": {"cluster": "x", "user": "u"}}]}, "", "names cluster x.*has c"),
        ({"clusters": [{"name": "c", "cluster": {}}]}, "", "."),
        ({"clusters": [{"name": "c", "cluster": {"server": "ftp://x"}}]}, "", "not an address"),
        ({"clusters": [{"name": "c", "cluster": {"server": "https://h:999999"}}]}, "", "not an address"),
        (
            {"clusters": [{"name": "c", "cluster": {"server": "https://h", "certificate-authority": "/no"}}]},
            "",
            "exist",
        ),
        (
            {"clusters": [{"name": "c", "cluster": {"server": "https://h", "certificate-authority-data": "////"}}]},
            "",
            "certificate authority",
        ),
        ({"clusters": [{"name": "c", "cluster": {"server": "http://h", "proxy-url": "socks5://p:1"}}]}, "", "proxy"),
        ({"users": [{"name": "u", "user": {"token": f"{CANARY}\nX: y"}}]}, "", "characters that a token cannot have"),
        ({"users": [{"name": "u", "user": {"tokenFile": "/no/such"}}]}, "", "."),
        ({"users": [{"name": "u", "user": CANARY}]}, "", "."),
        ({"users": [{"name": "u", "token": CANARY}]}, "", "incomplete"),  # the client's own words quote all of it
    ],
)
def test_a_broken_kubeconfig_is_named_with_its_fix(
    tmp_path: Path, change: dict[str, Any], context: str, words: str
) -> None:
    with pytest.raises(SettingInvalid) as raised:
        opened(kubeconfig(tmp_path / "k", **change), context)

    assert re.search(words, f"{raised.value.message} {raised.value.advice}"), raised.value
    assert CANARY not in json.dumps(raised.value.as_dict())
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"token: {CANARY}\n\t- x: [", "line 2 is not YAML"),
        (f"- {CANARY}", "is not a kubeconfig"),
        ("", "is not a kubeconfig"),
        ("\x00", "is not"),
    ],
)
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "k").write_text(text)
    with pytest.raises(SettingInvalid, match=words) as raised:
        opened(tmp_path / "k")
    assert CANARY not in str(raised.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for path in (tmp_path, tmp_path / "bytes"):
        with pytest.raises(SettingInvalid, match="cannot be read"):
            opened(path)
    with pytest.raises(SettingInvalid, match="there is no kubeconfig at"):
        opened(tmp_path / "none")


def test_an_exec_plugin_gives_the_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    api = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": api, "kind": "ExecCredential", "status": {"token": CANARY}}
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    user = {"exec": {"apiVersion": api, "command": str(plugin), "interactiveMode": "Never"}}
    path = kubeconfig(tmp_path / "k", users=[{"name": "u", "user": user}])
    assert read(IdentityWanted(path, "", in_cluster=False)).authorization == f"Bearer {CANARY}"
    plugin.write_text(f"#!/bin/sh\necho {CANARY} >&2; exit 1\n")
    with pytest.raises(SettingInvalid, match="gave no credentials") as raised:
        opened(path)
    assert CANARY not in str(raised.value)
    assert caplog.records == []
    logging.getLogger().warning("others are heard")
    assert len(caplog.records) == 1


def test_whom_a_kubeconfig_acts_for(tmp_path: Path) -> None:
    def of(**user: Any) -> Any:
        path = kubeconfig(tmp_path / "k", users=[{"name": "u", "user": {"token": CANARY, **user}}])
        return read(IdentityWanted(path, "", in_cluster=False)).acting

    assert of() == of(**{"as": "", "as-groups": []}) == ()
    more = {"as-groups": ["b", "a"], "as-uid": "7", "as-user-extra": {"example.com/x y": ["1", "2"]}}
    assert of(**{"as": "bob", **more}) == (
        ("Impersonate-User", "bob"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Extra-example.com%2Fx%20y", "1"),
        ("Impersonate-Extra-example.com%2Fx%20y", "2"),
    )
    line = opened(tmp_path / "k")
    assert line.acts_for == "bob"
    assert line._current.head.count(b"\r\nImpersonate-Group: ") == 2


@pytest.mark.parametrize(
    "user",
    [
        {"as": "bob\r\nImpersonate-Group: system:masters"},
        {"as": "bob\x00"},
        {"as": " bob"},
        {"as": 7},
        {"as": ["bob"]},
        {"as-groups": ["a"]},
        {"as-uid": "7"},
        {"as": "bob", "as-uid": "7\n"},
        {"as": "bob", "as-groups": "system:masters"},
        {"as": "bob", "as-groups": ["a\r\nX: y"]},
        {"as": "bob", "as-groups": [""]},
        {"as": "bob", "as-user-extra": ["a"]},
        {"as": "bob", "as-user-extra": {"a": "b"}},
        {"as": "bob", "as-user-extra": {"a\n": ["b"]}},
        {"as": "bob", "as-user-extra": {"a": ["b\n"]}},
    ],
)
def test_who_is_acted_for_cannot_carry_another_header(tmp_path: Path, user: dict[str, Any]) -> None:
    path = kubeconfig(tmp_path / "k", users=[{"name": "u", "user": {"token": CANARY, **user}}])
    with pytest.raises(SettingInvalid, match=r"the user of context here") as raised:
        opened(path)
    assert raised.value.message.isprintable()


def test_no_certificate_or_key_stays_in_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    user = {"client-certificate-data": "AAAA", "client-key-data": "AAAA"}
    cluster = {"server": "https://127.0.0.1:7", "insecure-skip-tls-verify": True}
    path = kubeconfig(tmp_path / "k", users=[{"name": "u", "user": user}], clusters=[{"name": "c", "cluster": cluster}])
    with pytest.raises(SettingInvalid, match="client certificate and key"):
        opened(path)
    assert list((tmp_path / "tmp").rglob("*")) == []


def test_what_is_not_verified_is_known(tmp_path: Path) -> None:
    for cluster, verified in (
        ({"server": "https://127.0.0.1:7"}, True),
        ({"server": "https://127.0.0.1:7", "insecure-skip-tls-verify": True}, False),
        ({"server": "http://127.0.0.1:7"}, False),
    ):
        line = opened(kubeconfig(tmp_path / "k", clusters=[{"name": "c", "cluster": cluster}]))
        assert line.verified is verified


def test_settings_of_tls_and_proxy_are_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = {"server": "https://10.0.0.1:6443", "tls-server-name": "kubernetes"}
    path = kubeconfig(tmp_path / "k", clusters=[{"name": "c", "cluster": cluster}])
    wanted = IdentityWanted(path, "", in_cluster=False)
    assert (read(wanted).tls_name, read(wanted).proxy) == ("kubernetes", "")
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{CANARY}@proxy.test:3128")
    found = read(wanted)
    assert found.proxy == "http://proxy.test:3128"
    assert found.proxy_headers.keys() == {"proxy-authorization"}
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")
    assert read(wanted).proxy == ""
    monkeypatch.delenv("NO_PROXY")
    cluster["server"] = "https://127.0.0.1:6443"
    kubeconfig(path, clusters=[{"name": "c", "cluster": cluster}])
    assert read(wanted).proxy == ""  # loopback is never asked through the environment's proxy
    cluster["proxy-url"] = "https://other.test"
    kubeconfig(path, clusters=[{"name": "c", "cluster": cluster}])
    assert read(wanted).proxy == "https://other.test:443"


def test_a_pods_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubernetes.config import incluster_config as pod

    with pytest.raises(SettingInvalid, match="does not run in a Pod"):
        Connection.open(in_cluster=True)
    from tests.git_server import make_certificate

    certificate = make_certificate(tmp_path)
    (tmp_path / "token").write_text(CANARY + "\n")
    (tmp_path / "namespace").write_text("edge\n")
    monkeypatch.setattr(pod, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(pod, "SERVICE_CERT_FILENAME", str(certificate))
    monkeypatch.setenv(pod.SERVICE_HOST_ENV_NAME, "10.0.0.1")
    monkeypatch.setenv(pod.SERVICE_PORT_ENV_NAME, "443")
    found = read(IdentityWanted(None, "", in_cluster=True))
    assert (found.server, found.namespace, found.token_file) == ("https://10.0.0.1:443", "edge", tmp_path / "token")
    assert found.authorization == f"Bearer {CANARY}"
    with pytest.raises(SettingInvalid, match="two identities"):
        Connection.open(in_cluster=True, context="x")


@pytest.mark.parametrize(
    ("value", "header"), [("bearer abc\n", "Bearer abc"), ("Basic eA==", "Basic eA=="), (None, ""), ("Bearer ", "")]
)
def test_the_header_that_tells_who_asks(value: str | None, header: str) -> None:
    assert authorization(value) == header


@pytest.mark.parametrize("value", ["Bearer a\r\nX: y", "Bearer ä", "Bearer a\x00"])
def test_a_token_cannot_carry_another_header(value: str) -> None:
    with pytest.raises(SettingInvalid) as raised:
        authorization(value)
    assert "X: y" not in str(raised.value)
