"""What is refused before Git runs, and what every Git command is told."""

import os
from pathlib import Path

import pytest

from reconciler.errors import GitRefused, GitUnavailable
from reconciler.sources.git_safety import (
    Credentials,
    Remote,
    checked_branch,
    checked_folder,
    environment,
    path_problem,
    redacted,
    ssh_command,
)

TOKEN = "canary-5ecre7"

FOLLOWED = {
    "https://git.example.com/team/fleet.git": "https",
    "https://git.example.com:8443/fleet": "https",
    "https://[2001:db8::1]/fleet": "https",
    "HTTPS://git.example.com/fleet": "https",
    "ssh://git@git.example.com:2222/team/fleet.git": "ssh",
    "git@git.example.com:team/fleet.git": "ssh",
    "/srv/git/fleet.git": "file",
    "file:///srv/git/fleet.git": "file",
    "./a:b": "file",
}

REFUSED = [
    "",
    " https://git.example.com/fleet",
    "-u",
    "--upload-pack=touch x",
    "ext::sh -c 'touch x'",
    "fd::17",
    "http://git.example.com/fleet",
    "git://git.example.com/fleet",
    "ftp://git.example.com/fleet",
    "file://host/share",
    "https://-oProxyCommand=x/fleet",
    "ssh://-oProxyCommand=touch/fleet",
    "ssh://git@-oProxyCommand=touch/fleet",
    "ssh://-l@git.example.com/fleet",
    "ssh://git.example.com/-u",
    "git@-oProxyCommand=touch:fleet",
    "-git@git.example.com:fleet",
    "git@git.example.com:-u",
    "git@ext::sh",
    "host:path",
    "https://git.example.com",
    "https://git.example.com/fleet?service=x",
    "https://git.example.com/fleet#main",
    "https://git.example.com:99999/fleet",
    "https://git.example.com/fleet\nx",
    "https://git.example.com/fl\x1b[31meet",
    "https:///fleet",
    "~nobody-by-this-name/fleet",
]


@pytest.mark.parametrize(("text", "transport"), FOLLOWED.items())
def test_what_is_followed(text: str, transport: str) -> None:
    remote = Remote.parse(text)
    assert remote.transport == transport
    assert environment(remote)["GIT_ALLOW_PROTOCOL"] == transport


@pytest.mark.parametrize("text", REFUSED)
def test_fault_062_injection_into_the_url_is_refused_before_git_runs(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GitRefused) as caught:
        Remote.parse(text)
    assert caught.value.code == "RX407"
    assert "\x1b" not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("text", [f"https://{TOKEN}@host.example/f", f"https://me:{TOKEN}@host.example/f",
                                  f"ssh://me:{TOKEN}@host.example/f", f"http://me:{TOKEN}@host.example/f"])  # fmt: skip
def test_fault_149_credentials_in_the_url_are_refused_and_masked(text: str) -> None:
    with pytest.raises(GitRefused) as caught:
        Remote.parse(text)
    assert TOKEN not in caught.value.message + repr(caught.value)
    assert "***@" in caught.value.message


def test_a_local_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Remote.parse("fleet").path == tmp_path / "fleet"
    assert Remote.parse("https://git.example.com/fleet").path is None


@pytest.mark.parametrize("name", ["main", "release/1.2", "feature_x", "a@b", "ü"])
def test_branches(name: str) -> None:
    assert checked_branch(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "-u", "--force", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "/a", "a/", "a//b", "a."),
        *(".a", "a/.b", "a.lock", "a.lock/b", "a@{1}", "@", "HEAD", "a\x00", "a\n", "x" * 256),
    ],
)
def test_fault_062_injection_into_the_branch_is_refused(name: str) -> None:
    with pytest.raises(GitRefused):
        checked_branch(name)


@pytest.mark.parametrize("name", ["../x", "a/../b", "/etc", "-x", ".git", "a/.GIT/b", "a\tb", "."])
def test_fault_062_injection_into_the_folder_is_refused(name: str) -> None:
    with pytest.raises(GitRefused):
        checked_folder(name)


def test_folders() -> None:
    assert [checked_folder(name) for name in ("", "deploy", "a/b/", "ü x")] == ["", "deploy", "a/b", "ü x"]


@pytest.mark.parametrize(
    "path",
    [
        "../a",
        "a/../b",
        ".git/config",
        "a/.Git",
        "git~1/x",
        ".git. /x",
        ".git::$DATA",
        "a//b",
        "a\nb",
        "a\u202eb",
        "a\x7f",
    ],
)
def test_fault_061_harmful_paths_have_a_reason(path: str) -> None:
    assert path_problem(path)
    assert not path_problem("models/.github/a b.yaml")


def test_fault_149_the_token_is_in_the_environment_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_TOKEN", f" {TOKEN}\n")
    remote = Remote.parse("https://git.example.com:8443/fleet", Credentials(token_env="FLEET_TOKEN"))
    assert remote.credentials.token() == TOKEN
    variables = environment(remote, TOKEN)
    holding = {name for name, value in variables.items() if "Authorization" in value}
    assert len(holding) == 1
    number = holding.pop().rsplit("_", 1)[1]
    assert variables[f"GIT_CONFIG_KEY_{number}"] == "http.https://git.example.com:8443/.extraHeader"
    header = variables[f"GIT_CONFIG_VALUE_{number}"].split()[-1]
    said = redacted(f"cannot open https://x:{TOKEN}@host/ with {header}\n\x1b[31m{TOKEN}", remote, TOKEN)
    assert TOKEN not in said
    assert header not in said
    assert "\x1b" not in said
    assert TOKEN not in repr(remote) + str(remote)
    assert not any(header in value for value in environment(Remote.parse(str(tmp_path)), TOKEN).values())


def test_a_token_is_read_anew_and_its_absence_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    credentials = Credentials(token_file=file)
    with pytest.raises(GitUnavailable, match="token file"):
        credentials.token()
    file.write_text("first\n")
    assert credentials.token() == "first"
    file.write_text("second\n")
    assert credentials.token() == "second"
    file.write_text("\n")
    with pytest.raises(GitUnavailable, match="empty"):
        credentials.token()
    monkeypatch.delenv("FLEET_TOKEN", raising=False)
    with pytest.raises(GitUnavailable, match="FLEET_TOKEN"):
        Credentials(token_env="FLEET_TOKEN").token()
    assert Credentials().token() == ""


def test_every_command_is_told_to_run_nothing_and_ask_nobody() -> None:
    variables = environment(Remote.parse("https://git.example.com/fleet"))
    count = int(variables["GIT_CONFIG_COUNT"])
    config = {variables[f"GIT_CONFIG_KEY_{n}"]: variables[f"GIT_CONFIG_VALUE_{n}"] for n in range(count)}
    assert config["core.hooksPath"] == os.devnull
    assert config["core.fsmonitor"] == "false"
    assert config["transfer.fsckObjects"] == "true"
    assert config["http.followRedirects"] == "false"
    assert config["credential.helper"] == ""
    assert variables["GIT_TERMINAL_PROMPT"] == "0"
    assert variables["GIT_ASKPASS"] == ""
    assert variables["GIT_CONFIG_GLOBAL"] == os.devnull
    assert variables["GIT_CONFIG_NOSYSTEM"] == "1"


def test_a_local_path_is_trusted_and_no_other(tmp_path: Path) -> None:
    variables = environment(Remote.parse(str(tmp_path)))
    trusted = [
        variables[name.replace("KEY", "VALUE")] for name, value in variables.items() if value == "safe.directory"
    ]
    assert trusted == [str(tmp_path), str(tmp_path / ".git")]
    assert "safe.directory" not in environment(Remote.parse("https://git.example.com/fleet")).values()


def test_ssh_never_asks_and_quotes_its_files() -> None:
    command = ssh_command(Credentials(ssh_key=Path("/keys/it's here"), known_hosts=Path("/keys/hosts")))
    assert "'BatchMode=yes'" in command
    assert "'StrictHostKeyChecking=yes'" in command
    assert "'-i' '/keys/it'\\''s here'" in command
    assert "'UserKnownHostsFile=/keys/hosts'" in command
