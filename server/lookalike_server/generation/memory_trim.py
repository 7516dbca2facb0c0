"""Giving memory back to the operating system."""

from __future__ import annotations

import ctypes
import gc
import sys

import pyarrow as pa


def trim_memory() -> None:
    """Give back what a generation that was freed has left behind; may take a moment, so not for the event loop.

    Allocators keep what they are given back, each thread's apart, and a
    generation is loaded in whichever thread is free: memory would grow by a
    generation with each swap.
    """
    # Of what refers to itself, or a generation would stay until Python's collector happens to look at old objects.
    gc.collect()
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own
        if trim is not None:
            trim(0)
