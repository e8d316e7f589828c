"""`reconciler` and `python -m reconciler`: the guard that covers even the imports, for Python's own exit code is 1."""

import os
import sys
import traceback


def main() -> int:
    """The exit code of a command (see cli.main)."""
    try:
        from reconciler.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `reconciler history | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception:  # noqa: BLE001  # a bug keeps its traceback, and is never mistaken for "differences"
        traceback.print_exc()
        return 70


if __name__ == "__main__":
    sys.exit(main())
