"""The guides are short, install what their tests have, and are followed by a reader that notices what is not so."""

import re
from pathlib import Path

import pytest

from tests.documentation import ROOT
from tests.e2e.guides import is_said

GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
SAME = {"tensorflow": "tensorflow-cpu"}  # with and without a GPU


def pins(lock: str) -> set[str]:
    """The packages of one of our locks, with their versions."""
    return set(re.findall(r"^(\S+==\S+)", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_installs_what_its_test_has(guide: Path) -> None:
    text = guide.read_text()
    told = [word for line in re.findall(r"`pip install ([^`]+)`", text) for word in line.split()]
    assert told
    lock = pins("dev.txt" if guide.stem == "scikit-learn" else "nightly.txt")
    assert {SAME.get(name, name) for name in told} <= {pin.partition("==")[0] for pin in lock}


def test_the_nightly_lock_has_every_other_package_in_the_same_version() -> None:
    assert pins("dev.txt") <= pins("nightly.txt")


@pytest.mark.parametrize(
    ("shown", "output", "is_there"),
    [
        ("answers 1 example", "takes x\nanswers 1 example\n", True),
        ("accuracy 0.9…", "accuracy 0.978", True),
        ("accuracy 0.9…", "accuracy 0.878", False),
        ('{"a":…,"b":[…]}', '{"a":1,"b":[2,3]}', True),
        ("takes x FP32[-1, 4]", "takes x FP32[-1, 4]; gives y", False),
    ],
)
def test_a_line_that_a_guide_shows_has_to_be_printed(shown: str, output: str, is_there: bool) -> None:
    assert is_said(shown, output) is is_there


@pytest.mark.parametrize("page", [ROOT / "docs" / "own-model.md", *GUIDES], ids=lambda path: path.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []
