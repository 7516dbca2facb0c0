"""Pieces of an index, cut by rows, for one device each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import faiss

from lookalike_indexer.errors import DeviceError


@dataclass(frozen=True)
class Piece:
    """Rows `[start, stop)` of an index. `offset` is added to the rows in its answers."""

    index: faiss.Index
    start: int
    stop: int
    offset: int


def pieces(index: faiss.Index, path: Path, count: int) -> Iterator[Piece]:
    """Yield `count` pieces of an index that was read from `path`, one at a time.

    A piece is a copy. The caller puts it on its device before it takes the next one, so only one is
    in memory at a time. Raises DeviceError if the index is of a kind that cannot be cut, or has
    fewer rows than pieces.
    """
    total = index.ntotal
    if total < count:
        raise DeviceError(f"An index of {total} images cannot be split over {count} devices; use fewer.")
    cuts = [total * number // count for number in range(count + 1)]
    lists = _lists_of(index)
    for start, stop in itertools.pairwise(cuts):
        if lists is None:
            yield Piece(_cut_flat(index, start, stop), start, stop, offset=start)
        else:
            # Inverted lists store the row number of each entry, so it is unchanged.
            yield Piece(_cut_lists(lists, path, start, stop), start, stop, offset=0)


def _lists_of(index: faiss.Index) -> faiss.IndexIVF | None:
    """Return the inverted-file part of an index, or None. Raises DeviceError if the index cannot be cut at all."""
    inner = _inner(index)
    # Fast-scan lists pack many images into one block.
    if isinstance(inner, faiss.IndexIVF) and not isinstance(inner, faiss.IndexIVFFastScan):
        return inner
    if isinstance(inner, faiss.IndexFlatCodes):
        return None
    raise DeviceError(
        f"An index of the kind {type(inner).__name__} cannot be split; serve it with --placement cpu or replicate."
    )


def _inner(index: faiss.Index) -> faiss.Index:
    """Return the index behind vector transforms, such as OPQ or PCA."""
    index = faiss.downcast_index(index)
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def _cut_flat(index: faiss.Index, start: int, stop: int) -> faiss.Index:
    piece = faiss.clone_index(index)
    piece.remove_ids(faiss.IDSelectorNot(faiss.IDSelectorRange(start, stop)))
    return piece


def _cut_lists(lists: faiss.IndexIVF, path: Path, start: int, stop: int) -> faiss.Index:
    # Memory-mapping gives the quantizer and the transforms without reading the lists.
    piece = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
    shell = _inner(piece)
    empty = faiss.ArrayInvertedLists(shell.nlist, shell.code_size)
    shell.replace_invlists(empty, True)
    empty.this.disown()
    shell.ntotal = 0
    lists.copy_subset_to(shell, faiss.InvertedLists.SUBSET_TYPE_ID_RANGE, start, stop)
    piece.ntotal = shell.ntotal
    return piece
