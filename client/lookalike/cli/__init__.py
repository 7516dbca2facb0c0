"""The `lookalike` command line.

Its commands are found through the entry points of the group
"lookalike.commands", so that it knows neither the indexer nor the server.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and end the process: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    # gRPC's core writes its log to standard error, where it would stand between
    # our sentences; it reads this when it is first used.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from lookalike.cli._run import run

        sys.exit(run())
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write("Error: the command line needs the package click: pip install 'lookalike[cli]'\n")
        sys.exit(1)
