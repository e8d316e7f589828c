"""`reconciler` and `python -m reconciler`: the guard that covers even the imports, for Python's own exit code is 1."""

import gc
import sys
import traceback

STAY = {"run", "agent", "demo"}  # commands that go on until they are told to stop


def main() -> int:
    """The exit code of a command (see cli.main)."""
    if not STAY & set(sys.argv[1:2]):
        gc.disable()  # what ends soon need not look for cycles; a seventh of the time of a large plan
    elif sys.argv[1:2] == ["run"]:
        gc.set_threshold(10_000)  # a hub makes many objects and hardly a cycle; a tenth of the time of a large apply
    try:
        from reconciler.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001  # a bug keeps its traceback, and is never mistaken for "differences"
        traceback.print_exc()
        return 70


if __name__ == "__main__":
    sys.exit(main())
