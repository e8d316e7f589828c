"""The guides are true: what they say is done as written, from training to an answer, with the real libraries."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.guides import Reader

pytestmark = pytest.mark.e2e

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Somebody with an empty directory."""
    somebody = Reader(tmp_path)
    try:
        yield somebody
    finally:
        somebody.close()


def guide(name: str) -> str:
    """The page."""
    return (GUIDES / name).read_text()


def test_from_scikit_learn_to_an_answer(reader: Reader) -> None:
    assert '"benign"' in reader.follow(guide("scikit-learn.md"))[-1]


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_from_pytorch_to_an_answer(reader: Reader) -> None:
    assert '"datatype":"FP32"' in reader.follow(guide("pytorch.md"))[-1]


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_from_keras_to_an_answer(reader: Reader, backend: str) -> None:
    reader.environment["KERAS_BACKEND"] = backend
    assert '"datatype":"FP32"' in reader.follow(guide("keras.md"))[-1]
