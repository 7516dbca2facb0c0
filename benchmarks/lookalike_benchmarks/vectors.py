"""Synthetic vectors with cluster structure, generated block by block.

A mixture of Gaussians on the unit sphere: each vector is one of `clusters` centers plus
noise, normalized. Centers and noise lie in `rank` shared directions, with deviations that
fall as 1 / sqrt(i), as the variances of a network's embeddings do. Clusters therefore
overlap and have neighbors. With orthogonal centers, lists would either equal the clusters,
which makes every index look good, or mix unrelated clusters, which makes every list worth
a visit. The lengths are chosen so that the recall of inverted lists grows with nprobe as
for a real ResNet-50's embeddings of images (docs/performance-notes.md). The same seed
and shape give the same vectors for every block size.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float32

_BLOCK = 4096


@dataclass(frozen=True)
class Clustered:
    """`rows` vectors of `dim`; `between`, `spread` and `rest` are lengths before normalization.

    `clusters` 0 stands for half of rows^0.7, one or two for each list of an index: more
    images show more things, and each thing more often. `between` is the length of a center,
    `spread` that of the noise in the `rank` shared directions, and `rest` that of the
    isotropic noise.
    """

    rows: int
    dim: int = 2048
    clusters: int = 0
    between: float = 0.7
    spread: float = 0.6
    rank: int = 512
    rest: float = 0.2
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.clusters:
            object.__setattr__(self, "clusters", max(10, round(self.rows**0.7 / 2)))

    def blocks(self, start: int = 0) -> Iterator[Float32]:
        """Yield blocks of 4,096 rows (the last is shorter), float32, of unit length; `start` is a block's number."""
        for number in range(start, -(-self.rows // _BLOCK)):
            yield self._block(number, min(_BLOCK, self.rows - number * _BLOCK))

    def all(self) -> Float32:
        """Return all vectors."""
        return np.concatenate(list(self.blocks()))

    def classes(self) -> npt.NDArray[np.int64]:
        """Return the cluster of each row, (rows,)."""
        starts = range(0, self.rows, _BLOCK)
        return np.concatenate(
            [
                self._generator(start // _BLOCK).integers(0, self.clusters, min(_BLOCK, self.rows - start))
                for start in starts
            ]
        )

    def queries(self, count: int) -> Float32:
        """Return vectors of the same mixture that are not among the rows."""
        # A block number beyond those of all rows.
        return self._block(2**31, count)

    def _block(self, number: int, rows: int) -> Float32:
        centers, directions = self._shape
        generator = self._generator(number)
        within = centers[generator.integers(0, self.clusters, rows)]
        within += generator.standard_normal(within.shape, np.float32) * np.float32(self.spread)
        vectors = within @ directions
        vectors += generator.standard_normal((rows, self.dim), np.float32) * np.float32(self.rest / self.dim**0.5)
        return _unit(vectors)

    def _generator(self, number: int) -> np.random.Generator:
        """Return the generator of a block; the clusters of its rows are drawn first."""
        return np.random.default_rng((self.seed, number))

    @functools.cached_property
    def _shape(self) -> tuple[Float32, Float32]:
        """Return centers (clusters, rank) and the shared directions (rank, dim), each as long as its deviation."""
        generator = np.random.default_rng(self.seed)
        rank = min(self.rank, self.dim)
        directions = np.linalg.qr(generator.standard_normal((self.dim, rank)))[0].T
        deviations = 1 / np.sqrt(np.arange(1, rank + 1))
        deviations /= np.linalg.norm(deviations)
        centers = generator.standard_normal((self.clusters, rank), np.float32) * np.float32(self.between)
        return centers, (deviations[:, None] * directions).astype(np.float32)


def _unit(vectors: Float32) -> Float32:
    unit: Float32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
