"""Whitening: the first principal components of unit vectors, each scaled to the same variance, then L2-normalized.

Scaling gives all directions equal weight, even those of mere noise. The number of components is therefore that of the
clusters: the centroids of k groups differ in at most k - 1 directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Float32, Float64
from lookalike_indexer.errors import UsageError
from lookalike_indexer.numerics.grid import on_grid
from lookalike_indexer.numerics.single_thread import one_thread
from lookalike_indexer.numerics.variation import NEGLIGIBLE, all_equal
from lookalike_indexer.vectors.metric import prepare

# Rows in float64 at a time: 64 MiB of 2048 dimensions.
_BLOCK = 4096


@dataclass(frozen=True)
class Whitening:
    """An affine map of unit vectors (n, dim) to m components.

    `directions` (m, dim) are unit vectors on the grid of `numerics.grid`, float64. `offsets` and `deviations` (m,) are
    the mean and the standard deviation of each component of the fitted vectors.
    """

    directions: Float64
    offsets: Float64
    deviations: Float64

    @property
    def is_finite(self) -> bool:
        """Return whether all values are finite, and no deviation is 0."""
        every = (self.directions, self.offsets, self.deviations)
        return all(bool(np.isfinite(values).all()) for values in every) and bool((self.deviations > 0).all())

    def apply(self, vectors: Float32) -> Float32:
        """Whiten unit vectors (n, dim): float32 (n, m), L2-normalized.

        The result of a row depends only on that vector, on every CPU: products on the grid are exact.
        """
        out = np.empty((len(vectors), len(self.offsets)), np.float32)
        for some in _blocks(len(vectors)):
            scaled = on_grid(vectors[some]) @ self.directions.T
            scaled -= self.offsets
            scaled /= self.deviations
            out[some] = prepare(scaled, "cosine")
        return out


def fit_whitening(vectors: Float32, components: int) -> Whitening:
    """Fit a whitening to unit vectors (n, dim); fewer components if there are fewer vectors or directions.

    Raise UsageError if the vectors are all alike, so that there is nothing to scale.
    """
    count, dim = vectors.shape
    kept = min(components, dim, count - 1)
    if all_equal(vectors):
        raise UsageError("All images to be whitened have the same embedding; leave out --strategy whitened.")
    mean = sum((on_grid(vectors[some]).sum(axis=0) for some in _blocks(count)), np.zeros(dim)) / count
    with one_thread():
        variances, directions = _principal(vectors, mean, kept)
    deviations = np.sqrt(np.maximum(variances, 0))
    # Dividing by a negligible deviation would amplify noise to the scale of the other components.
    some_spread = deviations > NEGLIGIBLE * deviations.max()
    directions = on_grid(directions[some_spread])
    return Whitening(directions, directions @ mean, deviations[some_spread])


def _principal(vectors: Float32, mean: Float64, kept: int) -> tuple[Float64, Float64]:
    """Return the largest variances (kept,), descending, and their directions (kept, dim), of unit length."""
    from scipy.linalg import eigh

    count, dim = vectors.shape
    if count > dim:
        spread = np.zeros((dim, dim))
        for some in _blocks(count):
            centered = vectors[some] - mean
            spread += centered.T @ centered
        values, columns = eigh(spread, subset_by_index=(dim - kept, dim - 1))
        directions = columns.T
    else:
        # For few vectors, the products of all pairs have the same spectrum.
        centered = vectors - mean
        values, columns = eigh(centered @ centered.T, subset_by_index=(count - kept, count - 1))
        directions = columns.T @ centered
        directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    # The sign of a direction is arbitrary; its largest coordinate is made positive.
    largest = np.abs(directions).argmax(axis=1)
    directions *= np.sign(directions[np.arange(kept), largest])[:, None]
    return values[::-1] / (count - 1), directions[::-1]


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))
