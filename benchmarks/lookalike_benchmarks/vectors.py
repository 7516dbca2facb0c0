"""Vectors to measure with: synthetic ones with cluster structure, made block by block.

A mixture of Gaussians on the unit sphere: `clusters` centres, each vector its
centre plus noise, normalised. The same seed and shape give the same vectors,
whatever the block size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
_BLOCK = 4096


@dataclass(frozen=True)
class Clustered:
    """`rows` vectors of `dim`, with noise of length `spread` around unit centres."""

    rows: int
    dim: int = 2048
    clusters: int = 1000
    spread: float = 0.7
    seed: int = 1

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
        centres = _unit(np.random.default_rng(self.seed).standard_normal((self.clusters, self.dim), np.float32))
        generator = np.random.default_rng((self.seed, number))
        noise = generator.standard_normal((rows, self.dim), np.float32) * np.float32(self.spread / self.dim**0.5)
        return _unit(centres[generator.integers(0, self.clusters, rows)] + noise)


def _unit(vectors: Float32) -> Float32:
    unit: Float32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
