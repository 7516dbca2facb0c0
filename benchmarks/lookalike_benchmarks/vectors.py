"""Vectors to measure with: synthetic ones with cluster structure, made block by block.

A mixture of Gaussians on the unit sphere: `clusters` centres, each vector its
centre plus noise, normalised. Most of the noise lies in `rank` directions that
all clusters share, their deviations falling as 1 / sqrt(i), as the variances
of a network's embeddings fall too; noise that were alike in all directions
would make every index look good, because lists then are the clusters. The
same seed and shape give the same vectors, whatever the block size.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
_BLOCK = 4096


@dataclass(frozen=True)
class Clustered:
    """`rows` vectors of `dim` around unit centres; `spread` and `rest` are the lengths of the noise.

    With `clusters` 0 there is one for each fifty rows, about twice as many as
    an index has lists. `spread` is the length within the `rank` shared
    directions, `rest` that alike in all directions.
    """

    rows: int
    dim: int = 2048
    clusters: int = 0
    spread: float = 0.7
    rank: int = 64
    rest: float = 0.1
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.clusters:
            object.__setattr__(self, "clusters", max(10, self.rows // 50))

    def blocks(self, start: int = 0) -> Iterator[Float32]:
        """Blocks of 4,096 rows (the last is shorter), float32, of unit length; `start` is a block's number."""
        for number in range(start, -(-self.rows // _BLOCK)):
            yield self._block(number, min(_BLOCK, self.rows - number * _BLOCK))

    def all(self) -> Float32:
        """All of them at once."""
        return np.concatenate(list(self.blocks()))

    def queries(self, count: int) -> Float32:
        """Vectors of the same mixture that are not among the rows."""
        # A block number beyond those of any rows.
        return self._block(2**31, count)

    def _block(self, number: int, rows: int) -> Float32:
        centres, directions = self._shape
        generator = np.random.default_rng((self.seed, number))
        vectors = centres[generator.integers(0, self.clusters, rows)]
        vectors += generator.standard_normal((rows, len(directions)), np.float32) @ directions
        vectors += generator.standard_normal((rows, self.dim), np.float32) * np.float32(self.rest / self.dim**0.5)
        return _unit(vectors)

    @functools.cached_property
    def _shape(self) -> tuple[Float32, Float32]:
        """The centres, and the shared directions, as long as the deviations along them."""
        generator = np.random.default_rng(self.seed)
        centres = _unit(generator.standard_normal((self.clusters, self.dim), np.float32))
        rank = min(self.rank, self.dim)
        directions = np.linalg.qr(generator.standard_normal((self.dim, rank)))[0].T
        deviations = 1 / np.sqrt(np.arange(1, rank + 1))
        deviations *= self.spread / np.linalg.norm(deviations)
        return centres, (deviations[:, None] * directions).astype(np.float32)


def _unit(vectors: Float32) -> Float32:
    unit: Float32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
