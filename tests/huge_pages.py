"""Huge pages for the memory of a process that forks often.

A fork copies one page table entry for each page of anonymous memory, and its exit
visits each again. With 600 MB in pages of 4 KiB, both together take 0.1 seconds of
processor time; in huge pages of 2 MiB, a fifth of that.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SIZE = 2 << 20
_MADV_COLLAPSE = 25
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0\s*(?:\[heap\])?\n")


def use() -> int:
    """Move this process's anonymous memory into huge pages; return how many it now has.

    The content stays the same. A kernel before Linux 6.1, or one without free huge pages, leaves the rest as it was.
    """
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return sum(libc.madvise(address, SIZE, _MADV_COLLAPSE) == 0 for address in list(_addresses()))


def _addresses() -> Iterator[int]:
    """Yield the addresses at which a huge page fits into anonymous memory."""
    for line in Path("/proc/self/maps").read_text("utf-8").splitlines(keepends=True):
        if found := _MAPPING.fullmatch(line):
            start, end = (int(address, 16) for address in found.groups())
            yield from range(-(-start // SIZE) * SIZE, end // SIZE * SIZE, SIZE)
