"""Run a command repeatedly beside processes that keep every core busy.

    python scripts/under_load.py --times 10 --busy 3 -- python -m pytest tests/server

It stops at the first run that fails and exits with its status. The busy processes
exit with this one, even if it is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

# Computes until its parent process has exited.
_BUSY = """
import os
parent = os.getppid()
print(flush=True)
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


@contextlib.contextmanager
def load(processes: int) -> Iterator[None]:
    """Keep `processes` processes busy while the block runs."""
    command = [sys.executable, "-c", _BUSY]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()  # it is running
        yield
    finally:
        for process in running:
            process.kill()
            process.communicate()


def main(arguments: list[str]) -> int:
    """Run the command; return the exit status of the first run that fails, else 0."""
    parser = argparse.ArgumentParser(description="Run a command several times in a row beside busy processes.")
    parser.add_argument("--times", type=int, default=10, help="runs in a row (default: 10)")
    parser.add_argument("--busy", type=int, default=3, help="busy processes for each core (default: 3; 0: at rest)")
    parser.add_argument("command", nargs="+", help="after --, such as: python -m pytest tests/server")
    given = parser.parse_args(arguments)
    if given.times < 1 or given.busy < 0:
        parser.error("--times must be at least 1 and --busy at least 0")
    processes = given.busy * len(os.sched_getaffinity(0))
    with load(processes):
        for number in range(1, given.times + 1):
            print(f"run {number} of {given.times} beside {processes} busy processes", flush=True)
            status = subprocess.run(given.command, check=False).returncode
            if status:
                print(f"run {number} failed with {status}", file=sys.stderr)
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
