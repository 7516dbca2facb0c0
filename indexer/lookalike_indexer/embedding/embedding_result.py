"""Result of embedding pictures and texts. Apart from the embedder, so that whoever asks for it needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Classes:
    """The most probable classes of some pictures: their indexes, int32 (n, top), most probable first, and float32
    probabilities (n, top).
    """

    indexes: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float32]

    def rows(self, rows: slice | npt.NDArray[np.int64]) -> Classes:
        """Those of some pictures."""
        return Classes(self.indexes[rows], self.probabilities[rows])


@dataclass(frozen=True)
class EmbeddingResult:
    """Embeddings, float32 of shape (n, dim); the seconds that decoding took and those of the network.

    `failed` has the reason of each picture or text that has no embedding, by its
    position from 0: its row is zero and means nothing. `classes` is None where the network has no classifier.
    """

    vectors: npt.NDArray[np.float32]
    decode_s: float = 0.0
    network_s: float = 0.0
    failed: Mapping[int, str] = field(default_factory=dict)
    classes: Classes | None = None

    def rows(self, start: int, stop: int) -> EmbeddingResult:
        """Some of the embeddings; the times stay those of all, because they were made together."""
        failed = {place - start: reason for place, reason in self.failed.items() if start <= place < stop}
        classes = None if self.classes is None else self.classes.rows(slice(start, stop))
        return EmbeddingResult(self.vectors[start:stop], self.decode_s, self.network_s, failed, classes)

    @classmethod
    def joined(cls, parts: Sequence[EmbeddingResult]) -> EmbeddingResult:
        """The embeddings of all parts, one after another, and the times that they took together."""
        failed: dict[int, str] = {}
        start = 0
        for part in parts:
            failed.update((start + place, reason) for place, reason in part.failed.items())
            start += len(part.vectors)
        return cls(
            np.concatenate([part.vectors for part in parts]),
            sum(part.decode_s for part in parts),
            sum(part.network_s for part in parts),
            failed,
            _joined([part.classes for part in parts]),
        )


def _joined(parts: Sequence[Classes | None]) -> Classes | None:
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    return Classes(
        np.concatenate([part.indexes for part in known]), np.concatenate([part.probabilities for part in known])
    )
