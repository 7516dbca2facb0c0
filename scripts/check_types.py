"""Check with pyright that every type of the public client is known, and type-check a program that uses it.

    python scripts/check_types.py

basedpyright is a Python package of pyright that includes Node.js.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    # pyright finds the package by PYTHONPATH, and other packages by the first Python in PATH.
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "client"), os.environ.get("PYTHONPATH", "")]),
    }
    pyright = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable]
    done = subprocess.run(
        [*pyright, "--verifytypes", "lookalike", "--ignoreexternal"],
        capture_output=True, text=True, check=False, cwd=ROOT / "tests", env=environment,
    )  # fmt: skip
    score = re.search(r"Type completeness score: ([\d.]+)%", done.stdout)
    if score is None or float(score[1]) < 100:
        print(done.stdout + done.stderr, file=sys.stderr)
        return 1
    program = subprocess.run(
        [*pyright, "--level", "error", ROOT / "tests" / "client" / "typed_program.py"], check=False, cwd=ROOT / "tests",
        env=environment,
    )  # fmt: skip
    return program.returncode


if __name__ == "__main__":
    sys.exit(main())
