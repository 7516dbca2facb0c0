"""Shares of the vectors of a large k-means task: on devices of this machine, or on the machines of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lookalike_indexer.arrays import Float32
from lookalike_indexer.clustering import reduced_precision
from lookalike_indexer.clustering.centroid_sums import grid_spacing
from lookalike_indexer.clustering.machine_share import MachineShare, Precision, open_share
from lookalike_indexer.clustering.reduced_precision import ReducedShare
from lookalike_indexer.clustering.shares import Share, cuts
from lookalike_indexer.machines.machines import Machines

# The number of multiplications of an iteration from which shares are worth their overhead. On CPUs without fast
# products of reduced precision, faiss takes less processor time, but its centroids would not equal those of a cluster.
_WORTH = 1 << 30


def worthwhile(rows: int, k: int, dim: int, gpus: Sequence[int] = ()) -> bool:
    """Return whether a task of this size is divided into shares; faiss iterates over smaller ones.

    GPUs without products of reduced precision use faiss, too.
    """
    return rows * k * dim >= _WORTH and (not gpus or reduced_precision.supported(gpus))


def local_shares(vectors: Float32, gpus: Sequence[int] = ()) -> list[Share]:
    """Return the shares of vectors (n, dim) on these GPUs, or the single share of this CPU."""
    spacing = grid_spacing(vectors)
    if not gpus:
        return [open_share(vectors, spacing, _precision())]
    limits = cuts(len(vectors), len(gpus))
    return [
        ReducedShare(vectors[start:stop], spacing, f"cuda:{number}")
        for number, (start, stop) in zip(gpus, limits, strict=False)
    ]


@contextmanager
def opened_shares(vectors: Float32, gpus: Sequence[int], machines: Machines | None) -> Iterator[list[Share]]:
    """Yield the shares of vectors (n, dim): on GPUs of this machine, on its CPU, or on the machines of a cluster.

    Errors with `machines` are those of `Machines.session`.
    """
    if machines is None:
        yield local_shares(vectors, gpus)
        return
    with machines.session("share of the training images") as session:
        yield [MachineShare(session, vectors, grid_spacing(vectors), _precision())]


def _precision() -> Precision:
    # Decided by this machine, so that all machines compute the same bits.
    return "int8" if reduced_precision.supported() else "exact"
