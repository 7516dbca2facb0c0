"""Huge pages keep the memory's content, also for forks."""

from __future__ import annotations

import mmap
import subprocess
import sys

import pytest

# In a process of its own: the memory of this one is large.
PROGRAM = """
import mmap, os
from tests import huge_pages
memory = mmap.mmap(-1, 8 * huge_pages.SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
content = os.urandom(len(memory))
memory[:] = content
print(huge_pages.use())
same = memory[:] == content
child = os.fork()
if child == 0:
    os._exit(0 if memory[:] == content else 1)
print(same and os.waitpid(child, 0)[1] == 0)
"""


@pytest.mark.skipif(not hasattr(mmap, "MAP_ANONYMOUS"), reason="needs anonymous memory")
def test_memory_in_huge_pages_has_the_same_content():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=240)
    pages, same = done.stdout.split()
    assert same == "True"
    assert int(pages) >= 0
