"""`python -m tests.programs.run_commands '[["info", "DIR"], ...]'`: commands as users type them, until one fails."""

from __future__ import annotations

import json
import sys

from lookalike.cli import main

if __name__ == "__main__":
    for arguments in json.loads(sys.argv[1]):
        sys.argv = ["lookalike", *arguments]
        try:
            main()
        except SystemExit as ended:
            if ended.code:
                raise
