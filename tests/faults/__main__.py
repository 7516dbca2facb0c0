"""`python -m tests.faults --count 500`: inject that many faults and tell what became of the collections."""

import importlib
import os
import sys

# Before numpy, torch and faiss are loaded: a process that is to be forked must have no threads.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

# What happens to a server is told by commands of their own, which have their own options.
SERVER_KINDS = {"greedy peer": "tests.faults.greedy", "unfinished messages": "tests.faults.unfinished"}


def main() -> int:
    """Run the command for the kind of fault that was asked for."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--kind"] and arguments[1:2] and arguments[1] in SERVER_KINDS:
        sys.argv[1:] = arguments[2:]
        code: int = importlib.import_module(SERVER_KINDS[arguments[1]]).main()
        return code
    from tests.faults.command import main as disturb

    return disturb()


if __name__ == "__main__":
    sys.exit(main())
