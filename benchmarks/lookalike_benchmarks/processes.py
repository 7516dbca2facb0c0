"""Work in fresh processes, and its memory."""

from __future__ import annotations

import multiprocessing
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import psutil

T = TypeVar("T")


@dataclass(frozen=True)
class Fresh(Generic[T]):
    """Result of a function in a fresh process, and the memory resident there, including mapped files.

    `base_rss_mib` is the memory after the imports and before the call, `peak_rss_mib` the peak.
    """

    result: T
    base_rss_mib: int
    peak_rss_mib: int


def in_fresh_process(function: Callable[..., T], *arguments: object) -> Fresh[T]:
    """Call a module's function in a new interpreter, which inherits nothing."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_watched, function, arguments).result()


def _watched(function: Callable[..., T], arguments: Sequence[object]) -> Fresh[T]:
    base = _rss_mib("VmRSS")
    result = function(*arguments)
    return Fresh(result, base, _rss_mib("VmHWM"))


def resident_bytes() -> int:
    """Return the resident memory of this process, including mapped files."""
    return _rss_kib("VmRSS") << 10


def peak_bytes() -> int:
    """Return the peak of the resident memory of this process."""
    return _rss_kib("VmHWM") << 10


def _rss_mib(name: str) -> int:
    return _rss_kib(name) >> 10


def _rss_kib(name: str) -> int:
    # For this address space only; getrusage also counts the process before exec.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def resident(command: Sequence[str], every_s: float = 0.1) -> list[tuple[int, int]]:
    """Run a command; sample the resident bytes of its process, and of all children of that together.

    CalledProcessError: the command failed.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    samples = []
    while process.poll() is None:
        try:
            run = psutil.Process(process.pid)
            samples.append((run.memory_info().rss, sum(child.memory_info().rss for child in run.children(True))))
        except psutil.Error:
            # The process, or a child, has just exited.
            continue
        time.sleep(every_s)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(command))
    return samples
