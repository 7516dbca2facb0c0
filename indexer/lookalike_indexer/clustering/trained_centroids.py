"""Result of a training; separate from the training, whose libraries a server must not load."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.arrays import Float32


@dataclass(frozen=True)
class Trained:
    """Centroids of shape (k, dim), float32, and the inertia of each iteration before its update."""

    centroids: Float32
    inertia: list[float]
