"""The hub's settings: what the operator decides, outside of Git. May import: errors, state_directory, pydantic.

In: command-line options and RECONCILER_* variables; an option wins.  Out: `Settings`, to wiring. A field's description
is its documentation. Secrets are named, never given: a setting says which variable or file holds one.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from reconciler.errors import SettingInvalid
from reconciler.state_directory import default_state_dir

PREFIX: Final = "RECONCILER_"


class Settings(BaseModel):
    """What a hub follows, where it keeps its state, how often it looks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repo: str = Field(min_length=1, description="The Git repository to follow: an https or ssh URL, or a local path.")
    branch: str = Field("main", min_length=1, description="The branch to follow.")
    path: str = Field("", description="The folder of the repository that is read; empty is all of it.")
    state_dir: Path = Field(
        description="The directory of log, mirror and artifacts; absent, reconciler below $XDG_STATE_HOME."
    )
    poll_s: float = Field(
        30, ge=1, le=86_400, description="Seconds between two looks at the remote, +-20 %; 1 to 86400."
    )
    token_env: str = Field("", description="The environment variable that holds a token for https.")
    token_file: Path | None = Field(None, description="The file that holds a token for https, read anew each time.")
    ssh_key_file: Path | None = Field(None, description="The private key for ssh; absent, ssh's own.")

    kubeconfig: Path | None = Field(None, description="The kubeconfig of the cluster that is kept as Git says.")
    context: str = Field("", description="Its context; with neither this nor a kubeconfig, edges are kept directly.")
    in_cluster: bool = Field(False, description="Be the service account of the Pod that this runs in.")
    lease_namespace: str = Field("reconciler-system", description="Where the Lease is that only one reconciler holds.")
    lease: str = Field("reconciler", description="The name of that Lease.")
    install: str = Field(
        "",
        pattern=r"^([!-~]{1,253})?$",
        description="What its objects carry; absent, NAMESPACE/NAME of the Lease.",
    )

    listen: str = Field(
        "127.0.0.1:9484", description="HOST:PORT of the page, /api/v1, /metrics and health, or `off`; port 0 is any."
    )

    @field_validator("path")
    @classmethod
    def _inside(cls, value: str) -> str:
        parts = PurePosixPath(value).parts
        if value.startswith("/") or ".." in parts or not value.isprintable():
            raise ValueError("a folder is named from the repository's root, without `..`, as in fleets/berlin")
        return "/".join(parts)

    @field_validator("token_env")
    @classmethod
    def _variable(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
            raise ValueError("this is the name of a variable, never the token itself, as in GIT_TOKEN")
        return value

    @field_validator("listen")
    @classmethod
    def _place(cls, value: str) -> str:
        if value == "off":
            return value
        host, _, port = value.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not bare or bool(":" in bare) != (bare != host) or not (port.isascii() and port.isdigit()):
            raise ValueError("this is HOST:PORT, as in 127.0.0.1:9484 or [::1]:9484, or `off`")
        if int(port) > 65_535:
            raise ValueError("a port is at most 65535")
        return value

    @model_validator(mode="after")
    def _one_token(self) -> "Settings":
        if self.token_env and self.token_file:
            raise ValueError("token_env and token_file are both set: keep one of them")
        return self

    @property
    def has_cluster(self) -> bool:
        """Whether a cluster is kept, and not the edges of this machine."""
        return bool(self.kubeconfig or self.context or self.in_cluster)

    @property
    def install_name(self) -> str:
        """By what its objects are told from those of another install in the same cluster."""
        return self.install or f"{self.lease_namespace}/{self.lease}"

    @classmethod
    def load(cls, options: Mapping[str, Any], environ: Mapping[str, str]) -> "Settings":
        """The settings in force; None and an empty variable mean not set.

        Raises SettingInvalid naming every option or variable that is wrong, never its value: it may be a secret.
        """
        given: dict[str, Any] = {}
        origin = {name: f"--{name.replace('_', '-')}" for name in cls.model_fields}
        for name in cls.model_fields:
            variable = PREFIX + name.upper()
            if options.get(name) is not None:
                given[name] = options[name]
            elif environ.get(variable):
                given[name], origin[name] = environ[variable], variable
        if "state_dir" not in given:
            given["state_dir"] = default_state_dir(environ)
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise _invalid(error, origin) from None


def _invalid(error: ValidationError, origin: Mapping[str, str]) -> SettingInvalid:
    said, meant = [], []
    for one in error.errors(include_url=False, include_input=False):
        name = str(one["loc"][0]) if one["loc"] else ""
        message = "is not set" if one["type"] == "missing" else one["msg"].removeprefix("Value error, ")
        said.append(f"{origin[name]}: {message}" if name else message)
        if name:
            meant.append(f"{origin[name]} is: {Settings.model_fields[name].description}")
    return SettingInvalid("; ".join(said), hint=" ".join(meant))
