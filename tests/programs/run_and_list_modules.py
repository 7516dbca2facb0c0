"""`python -m tests.programs.run_and_list_modules JSON`: run command lines; print exit codes and large modules."""

from __future__ import annotations

import json
import sys

from lookalike.cli._run import run

LARGE = ("torch", "torchvision", "faiss", "sklearn", "pandas")


if __name__ == "__main__":
    codes = [run(arguments) for arguments in json.loads(sys.argv[1])]
    sys.stdout.write(json.dumps({"codes": codes, "large": [name for name in LARGE if name in sys.modules]}))
