"""What came of embedding some pictures. Apart from the embedder, so that whoever asks for it needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Embedded:
    """Embeddings, float32 of shape (n, dim); the seconds that decoding took and those of the network."""

    vectors: npt.NDArray[np.float32]
    decode_s: float = 0.0
    network_s: float = 0.0

    def rows(self, start: int, stop: int) -> Embedded:
        """Some of the embeddings; the times stay those of all, because they were made together."""
        return Embedded(self.vectors[start:stop], self.decode_s, self.network_s)

    @classmethod
    def joined(cls, parts: Sequence[Embedded]) -> Embedded:
        """The embeddings of all parts, one after another, and the times that they took together."""
        return cls(
            np.concatenate([part.vectors for part in parts]),
            sum(part.decode_s for part in parts),
            sum(part.network_s for part in parts),
        )
