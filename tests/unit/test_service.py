"""What a flip does when the public endpoint contradicts the probe that ran before it."""

import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reconciler.errors import ProbeFailed, RuntimeUnavailable, WorldRefused
from reconciler.serving.golden import Arrays
from reconciler.serving.loaded import Loaded
from reconciler.serving.service import Service
from tests.digits import digits


def lying(inputs: Arrays) -> Arrays:
    count = len(inputs["image"])
    return {"label": np.full(count, 7), "probabilities": np.zeros((count, 10), np.float32)}


def silent(inputs: Arrays) -> Arrays:
    raise RuntimeUnavailable("timed out")


def refusing(inputs: Arrays) -> Arrays:
    raise WorldRefused("answers 404")


@pytest.mark.parametrize(
    ("public", "said"),
    [
        (lying, "version 2, golden case 1: output label: expected"),
        (silent, "version 2 does not answer: timed out"),
        (refusing, "version 2 does not answer: answers 404"),
    ],
)
def test_a_flip_that_the_public_endpoint_contradicts_is_undone(
    tmp_path: Path, public: Callable[[Arrays], Arrays], said: str
) -> None:
    service = Service("digits", public)
    first = Loaded(digits("1", tmp_path), "1")
    service.serving = first
    service.load(digits("2", tmp_path), "2", allow_signature_change=False)
    with pytest.raises(ProbeFailed, match=said):
        service.activate()
    assert service.serving is first
    assert service.status() == {"model": "digits", "serving": "1", "standby": "", "previous": ""}


def test_settling_frees_the_old_version(tmp_path: Path) -> None:
    two = Loaded(digits("2", tmp_path), "2")
    service = Service("digits", two.infer)
    service.serving = Loaded(digits("1", tmp_path), "1")
    first = weakref.ref(service.serving)
    service.load(two.directory, "2", allow_signature_change=False)
    service.activate()
    assert service.status()["previous"] == "1"
    service.settle()
    assert first() is None
    assert service.status() == {"model": "digits", "serving": "2", "standby": "", "previous": ""}
