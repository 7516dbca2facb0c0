"""`python -m tests.programs.tell_fork`: prints whether this process is a fork of the zygote of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.stdout.write(str("tests.zygote" in Path("/proc/self/cmdline").read_text().split("\0")))
