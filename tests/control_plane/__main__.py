"""`python -m tests.control_plane`: builds what the tests need, so that no test waits for it."""

import sys

from tests.control_plane.programs import CannotBuild
from tests.control_plane.start import prepare

if __name__ == "__main__":
    try:
        choice = prepare()
    except (CannotBuild, FileNotFoundError) as error:
        sys.exit(f"control plane: {error}")
    print(f"control plane: {choice.origin}" + (f" (not kind: {choice.not_kind})" if choice.not_kind else ""))
