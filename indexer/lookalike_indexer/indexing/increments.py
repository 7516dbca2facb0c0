"""Increments: the rows that an index gained since its file was written, as a small file beside it.

Adding rows changes little of an index: codes are appended to an array or to inverted lists, and a graph gets new nodes
and changes some links. An increment holds only these changes. Applied to the original index, it gives the grown index,
byte for byte, without relinking a graph.

An increment holds the new codes; for inverted lists the list, the row and the code of each new row; for a graph the
levels and links of its new nodes, and the changed links.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import faiss
import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Int64
from lookalike_indexer.errors import DataLossError

Arrays = dict[str, npt.NDArray[Any]]

_BEFORE, _AFTER = "rows_before", "rows_after"


class Increments:
    """Records the changes of an index from now on."""

    def __init__(self, index: faiss.Index) -> None:
        """Begin with an index that `is_supported`."""
        self._index = index
        self._layers = list(_layers(index))
        self._before = int(index.ntotal)

    @property
    def rows(self) -> int:
        """The number of rows that the index gained."""
        return int(self._index.ntotal) - self._before

    def gained(self) -> Arrays:
        """Return the changes of the index since this object was created; see `apply`."""
        ends = {_BEFORE: np.array(self._before, np.int64), _AFTER: np.array(self._index.ntotal, np.int64)}
        return ends | {
            f"{layer.name}.{name}": array for layer in self._layers for name, array in layer.gained().items()
        }


def is_supported(index: faiss.Index) -> bool:
    """Return whether increments of this index type are supported; other types are written as a whole."""
    try:
        return bool(list(_layers(index)))
    except _UnknownError:
        return False


def apply(index: faiss.Index, arrays: Mapping[str, npt.NDArray[Any]], name: str) -> None:
    """Apply an increment to an index. DataLossError, with the file's `name`: the arrays do not fit this index."""
    try:
        before, after = (int(_checked(arrays[end], np.int64, ())) for end in (_BEFORE, _AFTER))
        layers = list(_layers(index))
        if index.ntotal != before or after < before:
            raise _UnfitError
        for layer in layers:
            own = {key.removeprefix(f"{layer.name}."): array for key, array in arrays.items()}
            layer.apply(own, after)
    except (_UnknownError, _UnfitError, KeyError, TypeError, ValueError) as error:
        raise DataLossError(
            f"{name} does not belong to the index that it should be added to; build it again."
        ) from error
    _set_total(index, after)


class _UnknownError(Exception):
    """Increments of this index type are not supported."""


class _UnfitError(Exception):
    """The arrays do not belong to this index."""


class _Layer(Protocol):
    """A component of an index that rows are added to."""

    name: str

    def gained(self) -> Arrays: ...

    def apply(self, arrays: Mapping[str, npt.NDArray[Any]], rows: int) -> None:
        """Apply the arrays; `rows` is the number of rows afterwards."""
        ...


class _Codes:
    """Codes, or vectors, in an array."""

    kinds = ("IndexFlat", "IndexFlatL2", "IndexFlatIP", "IndexScalarQuantizer", "IndexPQ", "IndexRaBitQ")

    def __init__(self, index: faiss.IndexFlatCodes, name: str) -> None:
        self.name = name
        self._index = index
        self._before = int(index.ntotal)

    def gained(self) -> Arrays:
        size = int(self._index.code_size)
        codes = _view(self._index.codes)[self._before * size :]
        return {"codes": codes.reshape(-1, size).copy()}

    def apply(self, arrays: Mapping[str, npt.NDArray[Any]], rows: int) -> None:
        codes = _checked(arrays["codes"], np.uint8, (rows - self._before, int(self._index.code_size)))
        if len(codes):
            self._index.add_sa_codes(codes)


class _Lists:
    """Inverted lists."""

    kinds = ("IndexIVFFlat", "IndexIVFScalarQuantizer", "IndexIVFPQ", "IndexIVFRaBitQ")

    def __init__(self, index: faiss.IndexIVF, name: str) -> None:
        self.name = name
        self._index = index
        self._lists = faiss.downcast_InvertedLists(index.invlists)
        if type(self._lists) is not faiss.ArrayInvertedLists or index.direct_map.type != faiss.DirectMap.NoMap:
            raise _UnknownError
        self._before = int(index.ntotal)
        self._sizes = self._count()

    def _count(self) -> Int64:
        return np.array([self._lists.list_size(number) for number in range(int(self._index.nlist))], np.int64)

    def gained(self) -> Arrays:
        sizes, width = self._count(), int(self._lists.code_size)
        lists = np.flatnonzero(sizes > self._sizes)
        rows, codes = [np.empty(0, np.int64)], [np.empty((0, width), np.uint8)]
        for number in lists.tolist():
            size, first = int(sizes[number]), int(self._sizes[number])
            rows.append(faiss.rev_swig_ptr(self._lists.get_ids(number), size)[first:].copy())
            own = faiss.rev_swig_ptr(self._lists.get_codes(number), size * width).reshape(size, width)
            codes.append(own[first:].copy())
        return {
            "lists": np.repeat(lists, (sizes - self._sizes)[lists]).astype(np.int64),
            "rows": np.concatenate(rows),
            "codes": np.concatenate(codes),
        }

    def apply(self, arrays: Mapping[str, npt.NDArray[Any]], rows: int) -> None:
        count = rows - self._before
        lists = _checked(arrays["lists"], np.int64, (count,))
        numbers = _checked(arrays["rows"], np.int64, (count,))
        codes = _checked(arrays["codes"], np.uint8, (count, int(self._lists.code_size)))
        if count and (lists.min() < 0 or lists.max() >= self._index.nlist or (np.diff(lists) < 0).any()):
            raise _UnfitError
        if not np.array_equal(np.sort(numbers), np.arange(self._before, rows)):
            raise _UnfitError
        found, starts = np.unique(lists, return_index=True)
        for number, start, stop in zip(found.tolist(), starts.tolist(), [*starts[1:].tolist(), count], strict=False):
            self._lists.add_entries(
                number, stop - start, faiss.swig_ptr(numbers[start:stop]), faiss.swig_ptr(codes[start:stop])
            )
        self._index.ntotal = rows


class _Graph:
    """The nodes and links of an HNSW graph; its vectors are another layer."""

    kinds = ("IndexHNSWFlat", "IndexHNSWSQ", "IndexHNSWPQ")

    def __init__(self, index: faiss.IndexHNSW, name: str) -> None:
        self.name = name
        self._index, self._hnsw = index, index.hnsw
        self._before = int(index.ntotal)
        # faiss changes links in place, so copy them.
        self._links = _view(self._hnsw.neighbors).copy()

    def gained(self) -> Arrays:
        links, known = _view(self._hnsw.neighbors), len(self._links)
        changed = np.flatnonzero(links[:known] != self._links)
        return {
            "levels": faiss.vector_to_array(self._hnsw.levels)[self._before :],
            "links": links[known:].copy(),
            "changed": changed.astype(np.int64),
            "changed_to": links[changed],
            "entrance": np.array([self._hnsw.entry_point, self._hnsw.max_level], np.int32),
        }

    def apply(self, arrays: Mapping[str, npt.NDArray[Any]], rows: int) -> None:
        count, known, most = rows - self._before, len(self._links), int(self._hnsw.assign_probas.size())
        levels = _checked(arrays["levels"], np.int32, (count,))
        # The number of links of a node by its number of levels.
        widths = np.array([self._hnsw.cum_nb_neighbors(level) for level in range(most + 1)], np.int64)
        if count and not 1 <= levels.min() <= levels.max() <= most:
            raise _UnfitError
        sizes = np.cumsum(widths[levels])
        links = _checked(arrays["links"], np.int32, (int(sizes[-1]) if count else 0,))
        changed = _checked(arrays["changed"], np.int64, arrays["changed"].shape[:1])
        changed_to = _checked(arrays["changed_to"], np.int32, changed.shape)
        entrance = _checked(arrays["entrance"], np.int32, (2,))
        # faiss follows links without bounds checks.
        for array, least, limit in (
            (links, -1, rows), (changed_to, -1, rows), (changed, 0, known), (entrance[:1], -1, rows),
            (entrance[1:], -1, most),
        ):  # fmt: skip
            if len(array) and not least <= array.min() <= array.max() < limit:
                raise _UnfitError
        offsets = faiss.vector_to_array(self._hnsw.offsets)
        faiss.copy_array_to_vector(np.append(offsets, offsets[-1] + sizes.astype(offsets.dtype)), self._hnsw.offsets)
        faiss.copy_array_to_vector(np.append(faiss.vector_to_array(self._hnsw.levels), levels), self._hnsw.levels)
        self._hnsw.neighbors.resize(known + len(links))
        every = _view(self._hnsw.neighbors)
        every[known:] = links
        every[changed] = changed_to
        self._hnsw.entry_point, self._hnsw.max_level = entrance.tolist()
        self._index.ntotal = rows


def _layers(index: faiss.Index, name: str = "index") -> Iterator[_Layer]:
    """Yield the components that rows are added to. Raise _UnknownError for an index with unsupported components."""
    kind = faiss.downcast_index(index)
    if isinstance(kind, faiss.IndexPreTransform):
        yield from _layers(kind.index, name)
    elif isinstance(kind, faiss.IndexRefine):
        yield from _layers(kind.base_index, f"{name}.first")
        yield from _layers(kind.refine_index, f"{name}.second")
    elif type(kind).__name__ in _Graph.kinds:
        yield _Graph(kind, f"{name}.graph")
        yield from _layers(kind.storage, f"{name}.vectors")
    elif type(kind).__name__ in _Lists.kinds:
        yield _Lists(kind, name)
    elif type(kind).__name__ in _Codes.kinds:
        yield _Codes(kind, name)
    else:
        raise _UnknownError


def _set_total(index: faiss.Index, rows: int) -> None:
    """Set the number of rows of composite indexes."""
    kind = faiss.downcast_index(index)
    if isinstance(kind, faiss.IndexPreTransform):
        _set_total(kind.index, rows)
    elif isinstance(kind, faiss.IndexRefine):
        _set_total(kind.base_index, rows)
    kind.ntotal = rows


def _view(values: Any) -> npt.NDArray[Any]:
    """Return a view of the memory of a faiss vector."""
    if not values.size():
        kind = np.int32 if "Int32" in type(values).__name__ else np.uint8
        return np.empty(0, kind)
    array: npt.NDArray[Any] = faiss.rev_swig_ptr(values.data(), values.size())
    return array


def _checked(array: npt.NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if array.dtype != dtype or array.shape != shape:
        raise _UnfitError
    return np.ascontiguousarray(array).reshape(shape)
