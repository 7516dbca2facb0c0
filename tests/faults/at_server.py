"""Kinds of fault that need a real server instead of a command on a collection, each in a module of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Final

# The module for each kind, run by `python -m`; it prints its figures and exits with 1 if a promise was broken.
KINDS: Final = {
    "hung child": ("tests.faults.hangs", "--kind", "hung child"),
    "hung device thread": ("tests.faults.hangs", "--kind", "hung device thread"),
    "greedy peer": ("tests.faults.greedy",),
    "unfinished messages": ("tests.faults.unfinished",),
    "killed writer": ("tests.faults.writer", "--kind", "killed writer"),
    "damaged log": ("tests.faults.writer", "--kind", "damaged log"),
}
# Kinds whose number of faults and seed are arguments.
_COUNTED: Final = ("killed writer", "damaged log")


def bring_about(kinds: Sequence[str], count: int, seed: int) -> int:
    """Run each kind in a process of its own; return 1 if one broke a promise, else 0."""
    codes = []
    for kind in kinds:
        counted = ["--count", str(count), "--seed", str(seed)] if kind in _COUNTED else []
        codes.append(subprocess.run([sys.executable, "-m", *KINDS[kind], *counted], check=False).returncode)
    return 1 if any(codes) else 0
