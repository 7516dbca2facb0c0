"""Columns that filters of a generation may refer to, each read on demand and then cached."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Bools, Int32, Int64
from lookalike_indexer.collection.manifest import AttributesEntry
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.filters.columns import Coded, Column, Kind, Numbers, Postings
from lookalike_indexer.filters.texts import SortedTexts

T = TypeVar("T")

# The columns that every image has.
OF_IMAGES: dict[str, Kind] = {
    "id": "int64",
    "key": "string",
    "label": "string",
    "width": "int64",
    "height": "int64",
    "bytes": "int64",
    "format": "string",
}


@dataclass(frozen=True)
class Assignment:
    """The cluster of each image and the distance to its centroid; both missing if the clustering lacks the image."""

    clusters: Numbers
    distances: Numbers


@dataclass(frozen=True)
class Prediction:
    """The most probable class of each image and its probability; both missing if there is no prediction."""

    classes: Coded
    probabilities: Numbers


class FilterColumns:
    """The columns of one generation by name. Row i of each is the i-th image by ascending id. Thread-safe."""

    def __init__(
        self,
        reader: CollectionReader,
        ids: Int64 | None = None,
        held: Mapping[str, Callable[[], Column]] | None = None,
    ) -> None:
        """Create the columns. `ids` are those of all images, read if None; `held` provides columns in memory."""
        self._reader = reader
        self._ids = ids
        self._held = dict(held or {})
        self._attributes = {
            column.name: (entry, column.type)
            for _, entry in sorted(reader.manifest.attributes.items())
            for column in entry.columns
        }
        self.kinds: dict[str, Kind] = {**OF_IMAGES, **{name: _kind(one[1]) for name, one in self._attributes.items()}}
        self._kept: dict[tuple[str, str], Any] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def attributes(self) -> list[str]:
        """The names of the attributes, by table, then in the order of the table."""
        return list(self._attributes)

    @property
    def ids(self) -> Int64:
        """The ids, int64 (images,), ascending."""
        with self._lock:
            if self._ids is None:
                self._ids = self._reader.images(["id"]).column("id").to_numpy()
            return self._ids

    @property
    def nbytes(self) -> int:
        """The memory of the loaded columns in bytes."""
        with self._lock:
            return sum(_size(one) for one in self._kept.values())

    def column(self, name: str) -> Column:
        """Return a column of `kinds`. Raise KeyError if it does not exist."""
        return self._once("column", name, self._read_column)

    def groups(self, name: str) -> tuple[Int32, int]:
        """Return the images with equal values of a column, see Column.groups."""
        return self._once("groups", name, lambda name: self.column(name).groups())

    def clustering(self, name: str) -> str:
        """Return the "space/name" of a clustering, "" for the current one.

        Raise NotFoundError or NotBuiltError if it does not exist.
        """
        return self._reader.clustering_name(name)

    def assignment(self, clustering: str) -> Assignment:
        """Return a clustering by "space/name"."""
        return self._once("assignment", clustering, self._read_assignment)

    def model(self, name: str) -> str:
        """Return a model with predictions, by its name or that of one of its spaces; "" means that of the default
        space.

        Raise NotFoundError if it does not exist. Raise NotBuiltError if it keeps no predictions.
        """
        manifest = self._reader.manifest
        if name not in manifest.models and (not name or name in manifest.spaces):
            name = self._reader.space(name)[1].model
        if not self._reader.model(name).predictions:
            with_some = [each for each, model in manifest.models.items() if model.predictions]
            raise NotBuiltError(
                f"The model {name} keeps no predictions; models that do: {', '.join(sorted(with_some)) or 'none'}."
            )
        return name

    def prediction(self, model: str) -> Prediction:
        """Return a model's predictions."""
        return self._once("prediction", model, self._read_prediction)

    def _once(self, kind: str, name: str, read: Callable[[str], T]) -> T:
        # A second caller waits: reading the data twice would take twice the memory.
        with self._lock:
            if (kind, name) not in self._kept:
                self._kept[kind, name] = read(name)
            found: T = self._kept[kind, name]
            return found

    def _read_column(self, name: str) -> Column:
        if name in self._held:
            return self._held[name]()
        kind = self.kinds[name]
        if name == "id":
            return Numbers(kind, self.ids, None)
        if name in OF_IMAGES:
            column = self._reader.images([name]).column(name)
            return numbers(kind, column) if kind == "int64" else coded(column, np.arange(len(self)), len(self))
        return self._read_attribute(name, kind)

    def _read_attribute(self, name: str, kind: Kind) -> Column:
        rows, pieces = [], []
        for ids, values in self._parts(self._attributes[name][0], name):
            rows.append(self._rows(ids))
            pieces.append(values)
        places = np.concatenate(rows) if rows else np.empty(0, np.int64)
        column = pa.chunked_array(pieces, None if pieces else pa.string())
        if kind == "string":
            return coded(column, places, len(self))
        if kind == "list<string>":
            return postings(column, places, len(self))
        return numbers(kind, column, places, len(self))

    def _parts(self, entry: AttributesEntry, name: str) -> Iterator[tuple[Int64, pa.Array]]:
        """Yield the ids and values of each part of an attribute table; strings as dictionaries, which are smaller."""
        for path in entry.parts:
            table = read_part(self._reader.storage, path, ["id", name])
            table = table.filter(pa.array(self._reader.live(table.column("id").to_numpy()))).combine_chunks()
            for batch in table.to_batches():
                values = batch.column(name)
                is_text = pa.types.is_string(values.type)
                yield batch.column("id").to_numpy(), values.dictionary_encode() if is_text else values

    def _read_assignment(self, clustering: str) -> Assignment:
        # faiss, which it needs, is loaded only if a filter refers to clusters.
        from lookalike_indexer.clustering.metric_distances import measured_assignments

        stored = measured_assignments(self._reader, clustering)
        rows = self._rows(stored.ids)
        clusters, distances = np.full(len(self), -1, np.int32), np.zeros(len(self), np.float32)
        clusters[rows], distances[rows] = stored.clusters, stored.distances
        present = clusters >= 0
        return Assignment(Numbers("int64", clusters, present), Numbers("float64", distances, present))

    def _read_prediction(self, model: str) -> Prediction:
        classes, probabilities = np.full(len(self), -1, np.int64), np.zeros(len(self), np.float32)
        names: dict[str, int] = {}
        for table in self._reader.stream_predictions(model):
            # Only the first class of each image.
            rows = self._rows(table.column("id").to_numpy())
            first = pc.list_element(table.column("class_name"), 0).combine_chunks().dictionary_encode()
            known = [names.setdefault(name, len(names)) for name in first.dictionary.to_pylist()]
            classes[rows] = np.array(known, np.int64)[first.indices.to_numpy()] if known else -1
            probabilities[rows] = pc.list_element(table.column("probability"), 0).to_numpy()
        texts = SortedTexts.of(pa.array(list(names), pa.large_string()))
        ranks = np.append(texts.ranks, -1)
        present = classes >= 0
        return Prediction(Coded.of(ranks[classes], texts), Numbers("float64", probabilities, present))

    def _rows(self, ids: Int64) -> Int64:
        return np.searchsorted(self.ids, ids).astype(np.int64, copy=False)


def _kind(name: str) -> Kind:
    # The manifest was checked to have no other types.
    kind: Any = name
    found: Kind = kind
    return found


def _present(column: pa.ChunkedArray, rows: Int64, images: int) -> Bools | None:
    """Return which images have a value; None if all have one."""
    if not column.null_count and len(rows) == images:
        return None
    present = np.zeros(images, np.bool_)
    present[rows] = pc.is_valid(column).to_numpy()
    return present


def numbers(kind: Kind, column: pa.ChunkedArray, rows: Int64 | None = None, images: int = 0) -> Numbers:
    """Return a column of numbers, booleans or times; value i is of image `rows[i]` of `images` (default: image i)."""
    dtypes: dict[str, Any] = {"bool": np.bool_, "float64": np.float64}
    if kind == "timestamp":
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    dtype = dtypes.get(kind, np.int64)
    filled: npt.NDArray[Any] = column.fill_null(False if kind == "bool" else 0).to_numpy().astype(dtype, copy=False)
    if rows is None:
        rows, images = np.arange(len(column)), len(column)
    values = np.zeros(images, dtype)
    values[rows] = filled
    return Numbers(kind, values, _present(column, rows, images))


def coded(column: pa.ChunkedArray, rows: Int64, images: int) -> Coded:
    """Return a column of strings; value i is of image `rows[i]` of `images`."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    joined = encoded.unify_dictionaries().combine_chunks()
    array = joined.chunk(0) if isinstance(joined, pa.ChunkedArray) else joined
    texts = SortedTexts.of(array.dictionary)
    ranks = np.append(texts.ranks, -1)
    places = np.full(images, -1, np.int64)
    places[rows] = ranks[array.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return Coded.of(places, texts)


def postings(column: pa.ChunkedArray, rows: Int64, images: int) -> Postings:
    """Return a column of lists of strings; value i is of image `rows[i]` of `images`."""
    lengths = np.zeros(images, np.int64)
    lengths[rows] = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    elements = pc.list_flatten(column).dictionary_encode().unify_dictionaries().combine_chunks()
    array = elements.chunk(0) if isinstance(elements, pa.ChunkedArray) else elements
    texts = SortedTexts.of(array.dictionary)
    present = _present(column, rows, images)
    places = texts.ranks[array.indices.to_numpy()] if len(array) else np.empty(0, np.int64)
    return Postings(np.cumsum(lengths), places, texts, np.ones(images, np.bool_) if present is None else present)


def _size(kept: Any) -> int:
    if isinstance(kept, Assignment):
        return kept.clusters.nbytes + kept.distances.nbytes
    if isinstance(kept, tuple):
        return int(kept[0].nbytes)
    if isinstance(kept, Prediction):
        return kept.classes.nbytes + kept.probabilities.nbytes
    return int(kept.nbytes)
