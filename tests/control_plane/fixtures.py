"""pytest fixtures. A conftest imports them by name, and the two hooks with them.

In: nothing.  Out: `control_plane`, one a test run; `cluster`, the same with our CRDs and none of our objects.
"""

from collections.abc import Iterator

import pytest

from tests.control_plane.our_objects import OurObjects
from tests.control_plane.plane import ControlPlane
from tests.control_plane.start import prepare, start


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m "not cluster"` leaves out what needs a control plane."""
    for item in items:
        if "control_plane" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds before any test runs: a build takes minutes, and each test has two, its fixtures included."""
    if session.config.option.collectonly:
        return
    if any(item.get_closest_marker("cluster") for item in session.items):
        capture = session.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            prepare()


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """The machine's control plane, with an audit log where it is ours. Ended with the test run."""
    plane = start(audit=True)
    yield plane
    plane.stop()


@pytest.fixture(scope="session")
def our_objects(control_plane: ControlPlane) -> OurObjects:
    return OurObjects(control_plane)


@pytest.fixture
def cluster(control_plane: ControlPlane, our_objects: OurObjects) -> Iterator[ControlPlane]:
    """Our CRDs Established, all our objects deleted before and after."""
    our_objects.clean()
    yield control_plane
    our_objects.clean()
