"""Columns of a collection for experiments, aligned by image: read once, then cached.

There is one row for each image of the collection, by ascending id; it takes 24 bytes and some more for each clustering
and model that is used. Embeddings are never cached: they are streamed, or read by row.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Bools, Float32, Int32, Int64
from lookalike_indexer.clustering.metric_distances import measured_assignments
from lookalike_indexer.collection.manifest import ClusteringEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.embedding.classes import class_names, known_class_names
from lookalike_indexer.errors import NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.filters.evaluate import matching
from lookalike_indexer.filters.meaning import resolve_names
from lookalike_indexer.filters.sources import FilterColumns
from lookalike_indexer.filters.text import parse
from lookalike_indexer.text import loose_name


@dataclass(frozen=True)
class AssignedImages:
    """A clustering over the images of a view; all of shape (images,). Cluster -1, distance and margin NaN: in no
    cluster.

    Distances to centroids and margins are in the clustering's metric, see `clustering.metric_distances`.
    """

    entry: ClusteringEntry
    clusters: Int32
    distances: Float32
    margins: Float32


@dataclass(frozen=True)
class Predicted:
    """A model's most probable classes, most probable first.

    `classes` int32 and `probabilities` float32, both of shape (images, top); class -1 and NaN if the model did not see
    the image. `names` maps each occurring class to its name; see `View.class_names`.
    """

    classes: Int32
    probabilities: Float32
    names: dict[int, str]


class View:
    """The images of one generation, with their labels, clusters and predictions."""

    def __init__(self, reader: CollectionReader) -> None:
        self.reader = reader
        self._assigned: dict[str, AssignedImages] = {}
        self._predicted: dict[str, Predicted] = {}
        self._class_names: dict[str, list[str]] = {}
        self.given_class_names: list[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @functools.cached_property
    def _images(self) -> pa.Table:
        return self.reader.images(["id", "key", "label", "uri"]).combine_chunks()

    @functools.cached_property
    def ids(self) -> Int64:
        """The ids, int64 (images,), ascending."""
        ids: Int64 = self._images.column("id").to_numpy()
        return ids

    @functools.cached_property
    def _encoded(self) -> tuple[Int32, list[str]]:
        names = sorted(pc.unique(self._images.column("label")).drop_null().to_pylist())
        codes = pc.index_in(self._images.column("label"), pa.array(names, pa.string()), skip_nulls=True)
        return codes.fill_null(-1).to_numpy().astype(np.int32), names

    @property
    def labels(self) -> Int32:
        """The label of each image as a position in `label_names`, int32 (images,); -1 without a label."""
        return self._encoded[0]

    @property
    def label_names(self) -> list[str]:
        """The labels that occur, sorted."""
        return self._encoded[1]

    def require_labels(self) -> None:
        """Raise NotBuiltError if no image has a label."""
        if not self.label_names:
            raise NotBuiltError(
                f"No image of the collection {self.reader.name} has a label; index a folder with one subfolder for "
                "each class, or give --labels FILE."
            )

    def label_code(self, label: str) -> int:
        """Return the position of a label in `label_names`.

        If no image has this exact label, it matches the only label that differs just in case, spaces, hyphens,
        underscores or a leading WordNet number: "church" matches "n03028079_church". Raise NotFoundError if no label or
        several labels match.
        """
        self.require_labels()
        if label in self.label_names:
            return self.label_names.index(label)
        close = [name for name in self.label_names if loose_name(name) == loose_name(label)]
        if len(close) == 1:
            return self.label_names.index(close[0])
        there = f"it may mean {shortened_list(close)}" if close else f"it has {shortened_list(self.label_names)}"
        raise NotFoundError(f"No image of the collection {self.reader.name} has the label {label!r}; {there}.")

    def keys(self, rows: Int64) -> list[str]:
        """Return the keys of some rows."""
        return self._taken("key", rows)

    def uris(self, rows: Int64) -> list[str]:
        """Return the URIs of some rows."""
        return self._taken("uri", rows)

    def label_texts(self, rows: Int64) -> list[str]:
        """Return the labels of some rows; "" for images without one."""
        names = [*self.label_names, ""]
        return [names[code] for code in self.labels[rows].tolist()]

    def _taken(self, column: str, rows: Int64) -> list[str]:
        taken: list[str] = self._images.column(column).take(pa.array(rows)).to_pylist()
        return taken

    def row_of_key(self, key: str) -> int:
        """Return the row of an image by key. Raise NotFoundError if it does not exist."""
        row: int = pc.index(self._images.column("key"), key).as_py()
        if row < 0:
            raise NotFoundError(
                f"The collection {self.reader.name} has no image with key {key!r}; "
                "keys are paths relative to the source, with /."
            )
        return row

    def row_of_uri(self, uri: str) -> int | None:
        """Return the row of the image in a file, by its absolute path; None if there is none."""
        row: int = pc.index(self._images.column("uri"), uri).as_py()
        return row if row >= 0 else None

    def row_of_id(self, image_id: int) -> int:
        """Return the row of an image by id. Raise NotFoundError if it does not exist."""
        row = int(np.searchsorted(self.ids, image_id))
        if row == len(self.ids) or self.ids[row] != image_id:
            raise NotFoundError(f"The collection {self.reader.name} has no image with id {image_id}.")
        return row

    def clustering_name(self, name: str = "", space: str = "") -> str:
        """Return the name of a clustering: by "space/name", or for "" the current one of a space; see the reader."""
        return self.reader.clustering_name(name, space)

    def assigned(self, clustering: str) -> AssignedImages:
        """Return a clustering by "space/name", aligned to the images."""
        if clustering not in self._assigned:
            entry = self.reader.clustering(clustering)
            stored = measured_assignments(self.reader, clustering)
            rows = self.rows_of_ids(stored.ids)
            clusters = np.full(len(self), -1, np.int32)
            distances = np.full(len(self), np.nan, np.float32)
            margins = np.full(len(self), np.nan, np.float32)
            clusters[rows], distances[rows], margins[rows] = stored.clusters, stored.distances, stored.margins
            self._assigned[clustering] = AssignedImages(entry, clusters, distances, margins)
        return self._assigned[clustering]

    def predicted(self, model: str) -> Predicted:
        """Return a model's predictions, aligned to the images.

        Raise NotFoundError if the model does not exist. Raise NotBuiltError if there are no predictions.
        """
        if model not in self._predicted:
            self._predicted[model] = self._read_predictions(model)
        return self._predicted[model]

    def call_classes(self, names: list[str]) -> None:
        """Use these class names for each model with as many classes and no names of its own.

        If all models with that many classes have names, the names replace theirs. Raise UsageError if no model has that
        many classes.
        """
        models = self.reader.manifest.models
        fitting = [name for name, entry in models.items() if entry.spec.classes == len(names)]
        if not fitting:
            there = ", ".join(f"{name} {entry.spec.classes:,}" for name, entry in sorted(models.items()))
            raise UsageError(
                f"--class-names has {len(names):,} names, but no model of the collection {self.reader.name} has "
                f"{len(names):,} classes; the models have: {there}."
            )
        nameless = [name for name in fitting if known_class_names(self.reader, name) is None]
        self._predicted.clear()
        self._class_names |= dict.fromkeys(nameless or fitting, names)
        self.given_class_names = names

    def class_names(self, model: str) -> list[str]:
        """Return a name for each class of a model, by index. Raise NotFoundError if the model does not exist.

        They are those of `call_classes`, of the collection, of published weights, or else those in its predictions;
        "class N" if unknown.
        """
        if model not in self._class_names:
            names = known_class_names(self.reader, model)
            if names is None:
                names = class_names(self.reader.model(model).spec)
                if self.reader.model(model).predictions:
                    for index, name in self.predicted(model).names.items():
                        names[index] = name
            self._class_names[model] = names
        return self._class_names[model]

    def _read_predictions(self, model: str) -> Predicted:
        # Part by part: the class names of a million images take far more memory than the cached data.
        classes, probabilities = np.empty((0, 0), np.int32), np.empty((0, 0), np.float32)
        names: dict[int, str] = {}
        for table in self.reader.stream_predictions(model):
            top = table.schema.field("class_index").type.list_size
            if not classes.size:
                classes = np.full((len(self), top), -1, np.int32)
                probabilities = np.full((len(self), top), np.nan, np.float32)
            rows = self.rows_of_ids(table.column("id").to_numpy())
            indexes = table.column("class_index").combine_chunks().flatten()
            classes[rows] = indexes.to_numpy().reshape(-1, top)
            probabilities[rows] = table.column("probability").combine_chunks().flatten().to_numpy().reshape(-1, top)
            texts = table.column("class_name").combine_chunks().flatten()
            found, first = np.unique(indexes.to_numpy(), return_index=True)
            names |= dict(zip(found.tolist(), texts.take(pa.array(first)).to_pylist(), strict=True))
        known = self._class_names.get(model) or known_class_names(self.reader, model)
        if known is not None:
            names = {index: known[index] for index in names}
        return Predicted(classes, probabilities, names)

    def matching(self, where: str) -> Bools | None:
        """Return which images match a filter, bool (images,); None for "".

        Raise FilterError if it is not valid here.
        """
        if not where:
            return None
        columns = FilterColumns(self.reader, self.ids)
        return matching(resolve_names(parse(where), columns), columns)

    def rows_of_ids(self, ids: Int64) -> Int64:
        """Return the rows of ids that all exist."""
        return np.searchsorted(self.ids, ids).astype(np.int64, copy=False)

    def space_rows(self, space: str) -> Int64:
        """Return the image row of each row of a space, int64 (rows of the space,)."""
        return self.rows_of_ids(self.reader.ids(space))

    def stream(self, space: str, rows: int = 4096) -> Iterator[tuple[Int64, Float32]]:
        """Yield (image rows, embeddings as stored) in the order of the space, at most `rows` at a time."""
        for ids, vectors in self.reader.stream(space, rows):
            yield self.rows_of_ids(ids), vectors


def shortened_list(names: list[str], most: int = 12) -> str:
    """Return a shortened list of names for a sentence."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
