"""What came of embedding some pictures. Apart from the embedder, so that whoever asks for it needs no torch."""

from __future__ import annotations

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
