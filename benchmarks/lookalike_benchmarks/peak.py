"""Measured peaks of a device: matrix products and memory bandwidth."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from lookalike_indexer.models.compute import Compute, torch_dtype


@dataclass(frozen=True)
class Ceiling:
    """Measured upper limits of a device with one type of number."""

    compute: Compute
    bytes_per_s: float
    flop_per_s: float

    @classmethod
    def of(cls, compute: Compute, device: str, quick: bool) -> Ceiling:
        peak = matrix_peak(compute, device, matrix_size(device, quick))
        return cls(compute, memory_bandwidth(device, quick), peak)

    def least_seconds(self, rows: int, dim: int, batch: int) -> float:
        """Return the minimum seconds of an exact search: read each vector once, multiply it with all queries."""
        size = torch_dtype(self.compute).itemsize
        return max(size * rows * dim / self.bytes_per_s, 2 * batch * rows * dim / self.flop_per_s)


def matrix_peak(compute: Compute, device: str, size: int, rounds: int = 8) -> float:
    """Return the best rate of several products of two size x size matrices, in floating-point operations a second."""
    kind = torch_dtype(compute)
    left = torch.randn(size, size, device=device).to(kind)
    right = torch.randn(size, size, device=device).to(kind)
    out = torch.empty(size, size, device=device, dtype=kind)
    best = float("inf")
    for _ in range(rounds + 1):
        synchronize(device)
        began = time.perf_counter()
        torch.matmul(left, right, out=out)
        synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def memory_bandwidth(device: str, quick: bool, rounds: int = 8) -> float:
    """Return the best rate of several sums over an array far larger than the caches, in bytes read a second."""
    size = 2**20 if quick else 2**30 if device.startswith("cuda") else 2**27
    array = torch.ones(size, device=device)
    best = float("inf")
    for _ in range(rounds + 1):
        synchronize(device)
        began = time.perf_counter()
        array.sum()
        synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 4 * size / best


def matrix_size(device: str, quick: bool) -> int:
    """Return a size that is large enough to reach the peak and takes about a second."""
    if quick:
        return 256
    return 8192 if device.startswith("cuda") else 2048


def synchronize(device: str) -> None:
    """Wait for launched GPU work; the processor has nothing to wait for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
