"""Share of k-means that the machines of a cluster hold together: each assigns and sums some of the vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from lookalike_indexer.arrays import Float32, Float64, Int64
from lookalike_indexer.clustering.exact_share import ExactShare
from lookalike_indexer.clustering.reduced_precision import ReducedShare
from lookalike_indexer.clustering.shares import Share, cuts
from lookalike_indexer.machines.session import Session
from lookalike_indexer.machines.shared import Shared

# The scores of a share on a CPU.
Precision = Literal["exact", "int8"]

# Bytes of a piece of vectors in the cluster's object store.
_PIECE: Final = 1 << 26


def open_share(vectors: Float32, spacing: float, precision: Precision) -> Share:
    """Return the share of vectors (n, dim) on this CPU; `spacing` is that of the grid of all shares."""
    return ExactShare(vectors, spacing) if precision == "exact" else ReducedShare(vectors, spacing)


class MachineShare:
    """Implementation of `shares.Share` by the workers of a session, which hold a part of the vectors each.

    The vectors stay in the cluster's object store, so that another worker can take over the part of a lost one. On
    CPUs the results equal those of this machine, for any number of workers.
    """

    device = torch.device("cpu")

    def __init__(self, session: Session, vectors: Float32, spacing: float, precision: Precision) -> None:
        """Divide vectors (n, dim) among the workers; `spacing` is that of the grid of all shares."""
        self._session = session
        rows = max(1, _PIECE // vectors[:1].nbytes)
        self._held = [
            _Held(
                number,
                [session.share(vectors[at : min(at + rows, stop)]) for at in range(start, stop, rows)],
                spacing,
                precision,
                session.on_gpus,
            )
            for number, (start, stop) in enumerate(cuts(len(vectors), session.workers))
        ]

    def squares(self) -> list[float]:
        found = dict(self._session.round([_Squares(held) for held in self._held]))
        return [square for place in sorted(found) for square in found[place]]

    def summed(self, centroids: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        sums = torch.zeros(centroids.shape, dtype=torch.float64)
        sizes = torch.zeros(len(centroids), dtype=torch.int64)
        shared = self._session.share((centroids.numpy(), squares.numpy()))
        for _, (some, counted) in self._session.round([_Sums(held, shared) for held in self._held]):
            sums.numpy()[...] += some
            sizes.numpy()[...] += counted
        return sums, sizes


@dataclass(frozen=True)
class _Held:
    """A worker's part of the vectors, as pieces that it loads once."""

    number: int
    pieces: list[Shared[Float32]]
    spacing: float
    precision: Precision
    on_gpu: bool

    def share(self, kept: dict[int, Share]) -> Share:
        """Return the share from a worker's memory, or load it."""
        if self.number not in kept:
            kept[self.number] = self._loaded()
        return kept[self.number]

    def _loaded(self) -> Share:
        vectors = np.concatenate([piece.get() for piece in self.pieces])
        if self.on_gpu:
            return ReducedShare(vectors, self.spacing, "cuda")
        return open_share(vectors, self.spacing, self.precision)


@dataclass(frozen=True)
class _Squares:
    """Request for the squared norms of a part."""

    held: _Held

    def __call__(self, kept: dict[int, Share]) -> list[float]:
        return self.held.share(kept).squares()


@dataclass(frozen=True)
class _Sums:
    """Request for the sums and sizes of a part, by centroids (k, dim) and their squared norms."""

    held: _Held
    centroids: Shared[tuple[Float32, Float32]]

    def __call__(self, kept: dict[int, Share]) -> tuple[Float64, Int64]:
        # Copies, because arrays of the object store are read-only.
        centroids, squares = (torch.from_numpy(array.copy()) for array in self.centroids.get())
        sums, sizes = self.held.share(kept).summed(centroids, squares)
        return sums.double().cpu().numpy(), sizes.cpu().numpy()
