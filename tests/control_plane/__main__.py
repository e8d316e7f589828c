"""`python -m tests.control_plane`: builds what the tests need, so that no test waits for it.

With `--start` it runs until it is interrupted: `KUBECONFIG=...`, which it prints, leads to a cluster to try things on.
"""

import argparse
import signal
import sys

from tests.control_plane.programs import CannotBuild
from tests.control_plane.start import prepare, start

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.control_plane", description="Build what the tests need.")
    parser.add_argument("--start", action="store_true", help="and run it until it is interrupted")
    options = parser.parse_args()
    try:
        choice = prepare()
    except (CannotBuild, FileNotFoundError) as error:
        sys.exit(f"control plane: {error}")
    print(f"control plane: {choice.origin}" + (f" (not kind: {choice.not_kind})" if choice.not_kind else ""))
    if options.start:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        with start() as plane:
            print(f"export KUBECONFIG={plane.kubeconfig}", flush=True)
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
