"""Reproducible sample of a space's rows, read in one pass."""

from __future__ import annotations

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.progress import Progress
from lookalike_indexer.vectors.metric import prepare


def choose_rows(rows: int, size: int, seed: int) -> Int64:
    """Return `size` distinct rows of `rows` in random order (all of them if there are fewer), int64.

    The sample is uniform, and the same for the same arguments. It needs memory only for the sample, not for all rows.
    """
    picked = np.random.default_rng(seed).choice(rows, min(size, rows), replace=False)
    return picked.astype(np.int64, copy=False)


def read_rows(reader: CollectionReader, space: str, rows: Int64, metric: Metric, progress: Progress) -> Float32:
    """Return the embeddings of some rows in the given order, prepared for the metric, shape (len(rows), dim).

    Reads the whole space once, one block at a time. Raise IndexerError if any embedding in it, chosen or not, is not
    finite.
    """
    name, entry = reader.space(space)
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    out = np.empty((len(rows), entry.dim), np.float32)
    start = bad = 0
    first_bad: int | None = None
    with progress.stage(f"sample {name}", entry.rows, "image") as bar:
        for ids, vectors in reader.stream_ahead(name):
            finite = np.isfinite(vectors).all(axis=1)
            if not finite.all():
                first_bad = int(ids[~finite][0]) if first_bad is None else first_bad
                bad += int(np.count_nonzero(~finite))
            low, high = np.searchsorted(ascending, [start, start + len(ids)])
            out[order[low:high]] = prepare(vectors[ascending[low:high] - start], metric)
            start += len(ids)
            bar.advance(len(ids))
    if bad:
        raise IndexerError(
            f"{bad} of {entry.rows} embeddings of the space {name} hold NaN or infinite values, the first is that of "
            f"image {first_bad}: embed them again, with --dtype float32 in case they did not fit float16."
        )
    return out
