"""Result of embedding images and texts. Separate from the embedder, so that its users need no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Classes:
    """The most probable classes of some images: their indexes, int32 (n, top), most probable first, and float32
    probabilities (n, top).
    """

    indexes: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float32]

    def rows(self, rows: slice | npt.NDArray[np.int64]) -> Classes:
        """Return the classes of some images."""
        return Classes(self.indexes[rows], self.probabilities[rows])


@dataclass(frozen=True)
class EmbeddingResult:
    """Embeddings, float32 of shape (n, dim), with the seconds for decoding and for the network.

    `failed` has the reason for each image or text without an embedding, by its position from 0; its row is zero and
    meaningless. `classes` is None if the network has no classifier.
    """

    vectors: npt.NDArray[np.float32]
    decode_s: float = 0.0
    network_s: float = 0.0
    failed: Mapping[int, str] = field(default_factory=dict)
    classes: Classes | None = None

    def rows(self, start: int, stop: int) -> EmbeddingResult:
        """Return some of the embeddings; the times stay those of all, because they were computed together."""
        failed = {place - start: reason for place, reason in self.failed.items() if start <= place < stop}
        classes = None if self.classes is None else self.classes.rows(slice(start, stop))
        return EmbeddingResult(self.vectors[start:stop], self.decode_s, self.network_s, failed, classes)

    @classmethod
    def joined(cls, parts: Sequence[EmbeddingResult]) -> EmbeddingResult:
        """Return the concatenated embeddings of all parts, and their total times."""
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
