"""Settings: an option wins over a variable, and what is wrong is named by where it was said."""

from pathlib import Path

import pytest

from reconciler.errors import SettingInvalid
from reconciler.settings import PREFIX, Settings

HOME = {"HOME": "/home/op"}


def test_defaults() -> None:
    found = Settings.load({"repo": "/srv/fleet.git", "branch": None}, HOME)
    assert found.model_dump() == {
        "repo": "/srv/fleet.git",
        "branch": "main",
        "path": "",
        "state_dir": Path("/home/op/.local/state/reconciler"),
        "poll_s": 30,
        "token_env": "",
        "token_file": None,
        "ssh_key_file": None,
        "kubeconfig": None,
        "context": "",
        "in_cluster": False,
        "lease_namespace": "reconciler-system",
        "lease": "reconciler",
        "install": "",
        "listen": "127.0.0.1:9484",
    }


def test_an_option_wins_over_a_variable() -> None:
    environ = HOME | {"RECONCILER_REPO": "https://h/a", "RECONCILER_POLL_S": "5", "RECONCILER_BRANCH": ""}
    found = Settings.load({"poll_s": 7.5}, environ)
    assert (found.repo, found.poll_s, found.branch) == ("https://h/a", 7.5, "main")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (HOME | {"XDG_STATE_HOME": "/var/state"}, "/var/state/reconciler"),
        (HOME | {"XDG_STATE_HOME": "relative"}, "/home/op/.local/state/reconciler"),
        (HOME | {"RECONCILER_STATE_DIR": "/data"}, "/data"),
    ],
)
def test_the_state_directory(environ: dict[str, str], expected: str) -> None:
    assert Settings.load({"repo": "r"}, environ).state_dir == Path(expected)


def test_the_folder_is_normalised() -> None:
    assert Settings.load({"repo": "r", "path": "./fleets/berlin/"}, HOME).path == "fleets/berlin"


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingInvalid) as refused:
        Settings.load({"path": "../x"}, HOME | {"RECONCILER_POLL_S": "often"})
    said = refused.value.message.split("; ")
    assert [one.partition(":")[0] for one in said] == ["--repo", "--path", "RECONCILER_POLL_S"]
    assert "--repo is: The Git repository to follow" in refused.value.advice
    assert "RECONCILER_POLL_S is: Seconds between" in refused.value.advice


@pytest.mark.parametrize("path", ["/etc", "a/../..", "a\nb"])
def test_a_folder_outside_the_repository_is_refused(path: str) -> None:
    with pytest.raises(SettingInvalid, match="--path: a folder is named from"):
        Settings.load({"repo": "r", "path": path}, HOME)


def test_fault_149_a_token_given_as_a_setting_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingInvalid) as refused:
        Settings.load({"repo": "r"}, HOME | {"RECONCILER_TOKEN_ENV": "ghp-hunter2"})
    assert "RECONCILER_TOKEN_ENV: this is the name of a variable" in refused.value.message
    assert "hunter2" not in refused.value.message + refused.value.advice


def test_one_token_only() -> None:
    with pytest.raises(SettingInvalid, match="both set"):
        Settings.load({"repo": "r", "token_env": "TOKEN", "token_file": "/t"}, HOME)


def test_every_setting_is_documented() -> None:
    assert PREFIX == "RECONCILER_"
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")] == []


@pytest.mark.parametrize("listen", ["off", "0.0.0.0:80", "[::1]:9484", "localhost:0"])
def test_where_the_hub_listens(listen: str) -> None:
    assert Settings.load({"repo": "r"}, HOME | {"RECONCILER_LISTEN": listen}).listen == listen


@pytest.mark.parametrize("listen", ["9484", ":9484", "::1:9484", "h:x", "h:65536", "h:-1", "[h]:1", "on"])
def test_what_is_no_place_to_listen_is_refused(listen: str) -> None:
    with pytest.raises(SettingInvalid, match="--listen: "):
        Settings.load({"repo": "r", "listen": listen}, HOME)
