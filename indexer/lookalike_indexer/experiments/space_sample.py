"""Reproducible sample of a space, for experiments that cannot process every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.metrics import metric_of
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.view import View
from lookalike_indexer.numerics.grid import unit_scale
from lookalike_indexer.progress import Progress, Silent
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.vectors.sample import choose_rows, read_rows


@dataclass(frozen=True)
class Sampled:
    """Some images of a space, by ascending id.

    `rows` are their image rows, int64 (n,). `vectors` are their embeddings, float32 (n, dim), by the `metric` of the
    space: L2-normalized for cosine, else divided by `unit`, a power of two, so that none is longer than 1. `of` is the
    number of images in the space.
    """

    space: str
    rows: Int64
    vectors: Float32
    of: int
    metric: Metric
    unit: float

    def like(self, vectors: Float32) -> Float32:
        """Return further stored embeddings of the space, prepared as `vectors` are."""
        return prepare(vectors, self.metric) / np.float32(self.unit)

    @property
    def note(self) -> str:
        """A sentence for the findings if it does not contain all images, else ""."""
        if len(self.rows) == self.of:
            return ""
        return f"Measured on a random sample of {len(self.rows):,} of the {self.of:,} images of {self.space}."


def sampled(view: View, space: str, size: int, seed: int, progress: Progress | None = None) -> Sampled:
    """Return at most `size` images of a space, "" for the default one.

    Raise UsageError for a size below 2. Raise NotBuiltError if the space has fewer than two images. Raise IndexerError
    if an embedding is not finite.
    """
    name, _ = view.reader.space(space)
    return _read(view, name, _choose(view, [name], size, seed), progress)


def sample_shared_images(
    view: View, spaces: Sequence[str], size: int, seed: int, progress: Progress | None = None
) -> list[Sampled]:
    """Return the same images, which all of the spaces have, in each of the spaces; errors as in `sampled`."""
    rows = _choose(view, spaces, size, seed)
    return [_read(view, name, rows, progress) for name in spaces]


def _choose(view: View, spaces: Sequence[str], size: int, seed: int) -> Int64:
    if size < 2:
        raise UsageError(f"--sample {size} is too small: give at least 2.")
    count = np.zeros(len(view), np.int32)
    for name in spaces:
        count[view.space_rows(name)] += 1
    common = np.flatnonzero(count == len(spaces))
    if len(common) < 2:
        where = f"The space {spaces[0]} has" if len(spaces) == 1 else f"The spaces {', '.join(spaces)} have in common"
        raise NotBuiltError(f"{where} {len(common)} images; at least 2 are needed.")
    chosen: Int64 = common[np.sort(choose_rows(len(common), size, seed))]
    return chosen


def _read(view: View, name: str, rows: Int64, progress: Progress | None) -> Sampled:
    there = view.space_rows(name)
    metric = metric_of(view.reader.manifest, name)
    vectors = read_rows(view.reader, name, np.searchsorted(there, rows), metric, progress or Silent())
    vectors, unit = fitted(vectors, metric)
    return Sampled(name, rows, vectors, len(there), metric, unit)


def fitted(vectors: Float32, metric: Metric) -> tuple[Float32, float]:
    """Return prepared vectors (n, dim) with length of at most 1, and the power of two that they were divided by."""
    if metric == "cosine":
        return vectors, 1.0
    scale = unit_scale(float(np.linalg.norm(vectors, axis=1).max(initial=0)))
    return vectors * np.float32(scale), 1 / scale
