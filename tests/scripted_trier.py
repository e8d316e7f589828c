"""In place of the process that tries a model: does what the job's version says, as a model that is a bad one would."""

import json
import os
import signal
import sys
import time


def main() -> None:
    """Follow the script."""
    job = json.loads(sys.argv[1])
    print(json.dumps({"doing": "loading the model"}), flush=True)
    match job["version"]:
        case "crashes":
            print("free(): invalid pointer", file=sys.stderr, flush=True)
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exits":
            print("Traceback (most recent call last):\nSystemError: bad", file=sys.stderr, flush=True)
            sys.exit(3)
        case "loads for ever":
            while True:
                time.sleep(1)
        case "computes for ever":
            os.kill(os.getpid(), signal.SIGXCPU)
        case "lacks":
            said = {"outcome": "refused", "code": "RX106", "reason": "libgomp.so.1 is not there", "hint": "install it"}
            print(json.dumps(said), flush=True)
        case "has a bug":
            print(json.dumps({"outcome": "bug", "reason": "Traceback: KeyError: 'x'"}), flush=True)


if __name__ == "__main__":
    main()
