"""Check that each index can be read, has all rows that it was built from, and finds them."""

from __future__ import annotations

import faiss
import numpy as np

from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.indexing.files import read_index
from lookalike_indexer.indexing.params import describe
from lookalike_indexer.indexing.two_stage import is_two_stage
from lookalike_indexer.vectors.metric import faiss_metric, prepare, to_distances
from lookalike_indexer.vectors.sample import choose_rows
from lookalike_indexer.verification.examination import Examination

_QUERIES = 64
# The rounding error of float32 for a distance of zero between unit vectors.
_NOTHING = 2e-3


def check_indexes(examination: Examination) -> None:
    """Read each index; for an exact one, check that some of its images find themselves."""
    left_out, looked = [], 0
    indexes = examination.reader.manifest.indexes
    with examination.progress.stage("indexes", len(indexes), "index") as bar:
        for name, entry in sorted(indexes.items()):
            if examination.intact(entry.index_files):
                looked += 1
                what = _difference(examination, entry)
                if what:
                    examination.damaged(entry.index_files[-1], what)
            else:
                left_out.append(name)
            bar.advance()
    note = f"those of {', '.join(left_out)} are damaged and were left out" if left_out else ""
    examination.checked("indexes", looked, "indexes", note)


def _difference(examination: Examination, entry: IndexEntry) -> str:
    """Return the problem with an index, or ""."""
    reader = examination.reader
    space, parts = reader.manifest.spaces[entry.space], reader.manifest.parts_of(entry)
    try:
        index = read_index(reader, entry)
    except IndexerError as error:
        return str(error)
    if (index.ntotal, index.d) != (entry.rows, space.dim):
        return f"holds {index.ntotal} vectors of {index.d} values and should hold {entry.rows} of {space.dim}"
    # Two-stage indexes use Euclidean distance of unit vectors for cosine too.
    if index.metric_type != (faiss.METRIC_L2 if is_two_stage(index) else faiss_metric(entry.metric)):
        return f"was built for another metric than {entry.metric}"
    if describe(index).lossless and reader.manifest.rows(parts) == entry.rows and examination.intact(parts):
        rows = np.sort(choose_rows(entry.rows, _QUERIES, examination.settings.seed))
        vectors = prepare(reader.vectors_of(parts, rows, space.dim), entry.metric)
        scores, _ = index.search(vectors, 1)
        lost = to_distances(scores[:, 0], entry.metric) > _NOTHING * np.maximum(1, np.linalg.norm(vectors, axis=1))
        # A zero vector has no direction, so nothing is near it by cosine.
        lost &= np.linalg.norm(vectors, axis=1) > 0
        if lost.any():
            return f"does not find row {rows[int(np.argmax(lost))]} of what it was built from"
    return ""
