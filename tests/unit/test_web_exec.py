"""How a command in a Pod ended, by the Status that a kubelet sends last."""

import json

import pytest

from reconciler.errors import ApiUnavailable
from reconciler.kube.admin.hub_pod import UNKNOWN, exit_code

FAILED = {
    "metadata": {},
    "status": "Failure",
    "message": "command terminated with non-zero exit code: exit status 5",
    "reason": "NonZeroExitCode",
    "details": {"causes": [{"reason": "ExitCode", "message": "5"}]},
}


def test_a_kubelet_says_the_exit_code() -> None:
    assert exit_code('{"metadata":{},"status":"Success"}', "x") == (0, "")
    assert exit_code(json.dumps(FAILED), "x") == (5, FAILED["message"])
    assert exit_code('{"status":"Failure","message":"no such container"}', "x") == (UNKNOWN, "no such container")


@pytest.mark.parametrize("said", ["", "{", "[]", "null", '{"status":"Failure","details":[]}'])
def test_an_end_without_a_status_may_have_had_its_effect(said: str) -> None:
    with pytest.raises(ApiUnavailable, match="the Pod a/b broke off before the command ended") as error:
        exit_code(said, "the Pod a/b broke off")
    assert error.value.unknown
