"""The chip's peaks, of a matrix product and of reading memory: what other work is measured against."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from lookalike_indexer.models.compute import Compute, torch_dtype


@dataclass(frozen=True)
class Ceiling:
    """What a device can do at most with one type of number, as measured."""

    compute: Compute
    bytes_per_s: float
    flop_per_s: float

    @classmethod
    def of(cls, compute: Compute, device: str, quick: bool) -> Ceiling:
        peak = matrix_peak(compute, device, matrix_size(device, quick))
        return cls(compute, memory_bandwidth(device, quick), peak)

    def least_seconds(self, rows: int, dim: int, batch: int) -> float:
        """No exact search of a batch can take less: it reads each vector once, and multiplies it with all queries."""
        size = torch_dtype(self.compute).itemsize
        return max(size * rows * dim / self.bytes_per_s, 2 * batch * rows * dim / self.flop_per_s)


def matrix_peak(compute: Compute, device: str, size: int, rounds: int = 8) -> float:
    """The best of some rounds of a product of two size x size matrices, in floating-point operations a second."""
    kind = torch_dtype(compute)
    left = torch.randn(size, size, device=device).to(kind)
    right = torch.randn(size, size, device=device).to(kind)
    out = torch.empty(size, size, device=device, dtype=kind)
    best = float("inf")
    for _ in range(rounds + 1):
        synchronise(device)
        began = time.perf_counter()
        torch.matmul(left, right, out=out)
        synchronise(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def memory_bandwidth(device: str, quick: bool, rounds: int = 8) -> float:
    """The best of some rounds of adding up an array far larger than the caches, in bytes read a second."""
    size = 2**20 if quick else 2**30 if device.startswith("cuda") else 2**27
    array = torch.ones(size, device=device)
    best = float("inf")
    for _ in range(rounds + 1):
        synchronise(device)
        began = time.perf_counter()
        array.sum()
        synchronise(device)
        best = min(best, time.perf_counter() - began)
    return 4 * size / best


def matrix_size(device: str, quick: bool) -> int:
    """Large enough to reach the peak there, small enough for a second or so."""
    if quick:
        return 256
    return 8192 if device.startswith("cuda") else 2048


def synchronise(device: str) -> None:
    """Wait for what was launched on a GPU; nothing to wait for on the processor."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
