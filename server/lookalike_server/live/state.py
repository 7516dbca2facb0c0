"""Changes to one generation, applied in order, and the view of them at any moment."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.clustering.assign import AssignedVectors
from lookalike_indexer.collection import uploaded_images
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.embedding.classes import known_class_names, numbered_names
from lookalike_indexer.embedding.embedding_result import Classes
from lookalike_indexer.vectors.metric import prepare
from lookalike_server.columns.rows import UnindexedVectors
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.live.changes import Change, DeletedKeys, Described, NewImages, Restored, Values
from lookalike_server.live.clusterings import LiveClustering
from lookalike_server.live.columns import AddedImages, LiveColumns, living_row
from lookalike_server.live.filters import LiveFilters
from lookalike_server.live.graph import LEAST, LiveGraph
from lookalike_server.live.grown import Grown
from lookalike_server.live.overlay import LiveFilterColumns, Overlay, Predicted
from lookalike_server.live.snapshot import LiveSnapshot
from lookalike_server.live.spaces import LiveSpace, LiveSpaceImages

_NONE = -1


@dataclass(frozen=True)
class Computed:
    """Data of new images for the spaces and clusterings of a generation. Computed without the lock, because it is slow.

    `prepared` has the vectors (n, dim) of each searched space, in the form its index compares.
    """

    base: Snapshot
    prepared: Mapping[str, Float32]
    assigned: Mapping[str, AssignedVectors]

    @classmethod
    def of(cls, base: Snapshot, images: NewImages) -> Computed:
        """Compute the data. Thread-safe."""
        prepared = {
            name: prepare(images.vectors[name], space.engine.entry.metric)
            for name, space in base.spaces.items()
            if space.searchable and name in images.vectors
        }
        assigned = {
            name: clustering.assigned(images.vectors[clustering.entry.space])
            for name, clustering in base.clusterings.items()
            if clustering.entry.space in images.vectors
        }
        return cls(base, prepared, assigned)


class _Space:
    """New images of a space. Vectors are held as stored and, if the space is searched, as prepared for comparison."""

    def __init__(self, base: Snapshot, name: str) -> None:
        space = base.spaces[name]
        self.base = space
        self.new_ids: Grown[np.int64] = Grown.empty(np.int64)
        self.stored: Grown[np.float32] = Grown.empty(np.float32, space.entry.dim)
        self.prepared: Grown[np.float32] | None = None
        # No graph if the index itself is exact, so that searches stay exact.
        self._graph: LiveGraph | None = None
        # Ids and image rows of all rows of the space; None while they equal those of all images.
        self.ids: Grown[np.int64] | None = None
        self.image_rows: Grown[np.int64] | None = None
        if space.searchable:
            self.prepared = Grown.empty(np.float32, space.entry.dim)
            if not space.planner.lossless:
                self._graph = LiveGraph(self.prepared, space.engine.entry.metric, space.projection)
            if space.images.image_rows_held is not None:
                self.ids = Grown(space.images.ids)
                self.image_rows = Grown(space.images.image_rows_held)

    def add(self, stored: Float32, prepared: Float32 | None, ids: Int64, rows: Int64) -> None:
        self.stored.append(stored)
        self.new_ids.append(ids)
        if self.prepared is not None and prepared is not None:
            self.prepared.append(prepared)
            if self._graph is not None:
                self._graph.follow()
        if self.ids is not None and self.image_rows is not None:
            self.ids.append(ids)
            self.image_rows.append(rows)

    def lack(self, images: int, ids: Int64) -> None:
        """Record that the next images are not in the space. So far all `images` images are, with these ids."""
        if self.prepared is not None and self.ids is None:
            self.ids, self.image_rows = Grown(ids), Grown(np.arange(images, dtype=np.int64))

    def view(self, columns: LiveColumns) -> LiveSpace:
        images = None
        if self.prepared is not None:
            if self.ids is None or self.image_rows is None:
                images = LiveSpaceImages(columns, columns.ids, None, None)
            else:
                images = LiveSpaceImages(columns, self.ids.values, self.image_rows.values, self.base.rows.live)
        live = LiveSpace(self.base, columns, self.new_ids.values, self.stored.values, images)
        if self.prepared is not None and len(self.prepared):
            first = len(self.base.images.ids)
            metric = self.base.engine.entry.metric
            vectors = self.prepared.values
            compared = UnindexedVectors(vectors, first, metric, prepared=True)
            quick = compared
            if self._graph is not None and len(vectors) >= LEAST:
                quick = UnindexedVectors(vectors, first, metric, prepared=True, near=self._graph)
            live.search_with(compared, quick)
        return live


class _Clustering:
    """Assignments of new images in one clustering."""

    def __init__(self) -> None:
        self.ids: Grown[np.int64] = Grown.empty(np.int64)
        self.clusters: Grown[np.int32] = Grown.empty(np.int32)
        self.distances: Grown[np.float32] = Grown.empty(np.float32)
        self.margins: Grown[np.float32] = Grown.empty(np.float32)

    def add(self, ids: Int64, assigned: AssignedVectors) -> None:
        self.ids.append(ids)
        self.clusters.append(assigned.clusters)
        self.distances.append(assigned.distances)
        self.margins.append(assigned.margins)

    @property
    def values(self) -> AssignedVectors:
        return AssignedVectors(self.clusters.values, self.distances.values, self.margins.values)


class _Predictions:
    """One model's predictions for new images."""

    def __init__(self, top: int) -> None:
        self.rows: Grown[np.int64] = Grown.empty(np.int64)
        self.classes: Grown[np.int32] = Grown.empty(np.int32, top)
        self.probabilities: Grown[np.float32] = Grown.empty(np.float32, top)

    def add(self, rows: Int64, classes: Classes) -> None:
        self.rows.append(rows)
        self.classes.append(classes.indexes)
        self.probabilities.append(classes.probabilities)

    @property
    def values(self) -> Predicted:
        return Predicted(self.rows.values, Classes(self.classes.values, self.probabilities.values))


@dataclass(frozen=True)
class Outcome:
    """Outcome of a change: ids of new images, and the number of replaced, deleted, or restored images.

    `unknown` is the number of keys or ids without an image.
    """

    ids: Int64
    gone: int = 0
    unknown: int = 0


class State:
    """Applies changes to a generation in the order of their sequences. Only one thread may change it.

    Existing views never change.
    """

    def __init__(self, base: Snapshot, sequence: int, max_filter_bytes: int) -> None:
        self.base = base
        # Sequence of the last applied change.
        self.sequence = sequence
        self._max_filter_bytes = max_filter_bytes
        columns = base.columns
        self._first = len(columns.ids)
        labels, names = columns.label_codes
        self._ids: Grown[np.int64] = Grown(columns.ids)
        self._labels: Grown[np.int32] = Grown(labels)
        self._alive_before = _alive(base)
        self._alive: Grown[np.bool_] = Grown(self._alive_before)
        self._widths: Grown[np.int32] = Grown(columns.sides[0])
        self._heights: Grown[np.int32] = Grown(columns.sides[1])
        self._names = list(names)
        self._codes = {name: code for code, name in enumerate(names) if name}
        self._none = len(names) - 1
        self._keys: list[str] = []
        self._newest: dict[str, int] = {}
        self._previous: list[int] = []
        self._formats: list[str] = []
        self._bytes: list[int] = []
        self._uris: list[str] = []
        self._kept = uploaded_images.folder(base.reader.storage)
        self._predictions: dict[str, _Predictions] = {}
        # Attribute changes in order: all values of new images, and the set values of others.
        self._said_rows: Grown[np.int64] = Grown.empty(np.int64)
        self._said: list[Values] = []
        self._longest_key = self._longest_label = 0
        self._spaces = {name: _Space(base, name) for name in base.spaces}
        self._clusterings = {name: _Clustering() for name in base.clusterings}
        # The listing also contains files that no image was made of.
        listing = base.reader.manifest.listing[-1:]
        listed = [read_part(base.reader.storage, path, ["id"]).column("id").to_numpy() for path in listing]
        self.last_id = max((int(ids[-1]) for ids in [columns.ids, *listed] if len(ids)), default=-1)
        self._added_alive = self._gone = 0
        self.nbytes = 0

    @property
    def rows(self) -> int:
        """Number of images added since the generation was made, including deleted ones."""
        return len(self._keys)

    @property
    def changed(self) -> bool:
        """True if there was any change."""
        return bool(self._keys) or bool(self._gone) or bool(self._said)

    def next_ids(self, count: int) -> Int64:
        """Return the ids for the next new images."""
        return np.arange(self.last_id + 1, self.last_id + 1 + count, dtype=np.int64)

    def row_of(self, key: str) -> int | None:
        """Return the row of a key's image, or None."""
        row = self._newest.get(key)
        if row is None:
            row = self.base.columns.row_of_key(key)
        return living_row(row, self._first, self._previous, self._alive.values)

    def apply(self, sequence: int, change: Change, ids: Int64, computed: Computed | None = None) -> Outcome:
        """Apply the change with a sequence. New images get `ids` (n,), or higher ids if those are taken."""
        if isinstance(change, NewImages):
            outcome = self._add(change, ids, computed)
        elif isinstance(change, DeletedKeys):
            outcome = self._delete(change.keys)
        elif isinstance(change, Restored):
            outcome = self._restore(change.ids)
        else:
            outcome = self._describe(change)
        self.sequence = sequence
        return outcome

    def _add(self, images: NewImages, ids: Int64, computed: Computed | None) -> Outcome:
        if computed is None or computed.base is not self.base:
            computed = Computed.of(self.base, images)
        if len(ids) and ids[0] <= self.last_id:
            # A newer generation has given these ids to other images.
            ids = self.next_ids(len(ids))
        start = len(self._ids)
        replaced = []
        for place, key in enumerate(images.keys):
            earlier = self._newest.get(key)
            if earlier is None:
                earlier = self.base.columns.row_of_key(key)
            living = living_row(earlier, self._first, self._previous, self._alive.values)
            if living is not None:
                replaced.append(living)
            # Before `_newest`, which leads readers to this entry.
            self._previous.append(_NONE if earlier is None else earlier)
            self._keys.append(key)
            self._newest[key] = start + place
            self._longest_key = max(self._longest_key, len(key.encode(errors="replace")))
        known = self._ids.values
        self._ids.append(ids)
        self._labels.append(np.array([self._code(label) for label in images.labels], np.int32))
        self._widths.append(images.sizes[:, 1])
        self._heights.append(images.sizes[:, 2])
        self._alive.append(np.ones(len(ids), np.bool_))
        self._formats += images.formats
        self._bytes += images.sizes[:, 0].tolist()
        self._uris += images.uris
        rows = np.arange(start, start + len(ids), dtype=np.int64)
        self._said_rows.append(rows)
        self._said += images.attributes
        for name, space in self._spaces.items():
            # A generation may have a space that is newer than the change.
            if name in images.vectors:
                space.add(images.vectors[name], computed.prepared.get(name), ids, rows)
            else:
                space.lack(start, known)
        for model, classes in images.classes.items():
            if model in self.base.reader.manifest.models:
                top = classes.indexes.shape[1]
                self._predictions.setdefault(model, _Predictions(top)).add(rows, classes)
        for name, assigned in computed.assigned.items():
            self._clusterings[name].add(ids, assigned)
        if len(ids):
            self.last_id = int(ids[-1])
        self._added_alive += len(ids)
        self.nbytes += sum(vectors.nbytes for vectors in images.vectors.values())
        self._remove(replaced)
        return Outcome(ids, len(replaced))

    def _delete(self, keys: list[str]) -> Outcome:
        rows = [self.row_of(key) for key in dict.fromkeys(keys)]
        there = [row for row in rows if row is not None]
        self._remove(there)
        return Outcome(np.empty(0, np.int64), len(there), len(rows) - len(there))

    def _restore(self, ids: Int64) -> Outcome:
        rows, taken = [], set()
        for row in self._rows_of(np.unique(ids)).tolist():
            # An image that the generation itself has deleted may already be purged.
            if row < 0 or self._alive.values[row] or not self._was_there(row):
                continue
            (key,) = self.base.columns.keys(np.array([row])) if row < self._first else (self._keys[row - self._first],)
            if key not in taken and self.row_of(key) is None:
                taken.add(key)
                rows.append(row)
        if rows:
            self._alive.put(np.array(rows, np.int64), True)
            self._added_alive += sum(row >= self._first for row in rows)
            self._gone -= len(rows)
        return Outcome(np.empty(0, np.int64), len(rows), len(ids) - len(rows))

    def _was_there(self, row: int) -> bool:
        return row >= self._first or bool(self._alive_before[row])

    def _rows_of(self, ids: Int64) -> Int64:
        """Return the rows of ids, -1 for unknown ids. Ids ascend over all rows."""
        known = self._ids.values
        rows = np.searchsorted(known, ids).astype(np.int64, copy=False)
        there = rows < len(known)
        there[there] = known[rows[there]] == ids[there]
        return np.where(there, rows, -1)

    def _remove(self, rows: list[int]) -> None:
        if rows:
            self._alive.put(np.array(rows, np.int64), False)
            new = sum(row >= self._first for row in rows)
            self._added_alive -= new
            self._gone += len(rows)

    def _describe(self, change: Described) -> Outcome:
        rows = [self.row_of(key) for key in dict.fromkeys(change.keys)]
        there = [row for row in rows if row is not None]
        if there:
            places = np.array(there, np.int64)
            if change.label is not None:
                self._labels.put(places, self._code(change.label))
            self._said_rows.append(places)
            self._said += [change.attributes] * len(there)
        return Outcome(np.empty(0, np.int64), 0, len(rows) - len(there))

    @property
    def gone(self) -> int:
        """Number of deleted or replaced images."""
        return self._gone

    def _code(self, label: str) -> int:
        if not label:
            return self._none
        code = self._codes.get(label)
        if code is None:
            code = len(self._names)
            self._names.append(label)
            self._codes[label] = code
            self._longest_label = max(self._longest_label, len(label.encode(errors="replace")))
        return code

    def view(self) -> Snapshot:
        """Return the view of all changes so far, or the generation itself if there are none."""
        if not self.changed and self.sequence == self.base.sequence:
            return self.base
        columns = LiveColumns(
            self.base.columns,
            AddedImages(
                self._first, self._ids.values, self._labels.values, self._widths.values, self._heights.values,
                self._alive.values, self._names, self._codes, self._keys, self._newest, self._previous,
                self._longest_key, self._longest_label, self._uris, self._kept,
            ),
        )  # fmt: skip
        clusterings = {
            name: LiveClustering(self.base.clusterings[name], columns, one.ids.values, one.values)
            for name, one in self._clusterings.items()
        }
        spaces = {name: one.view(columns) for name, one in self._spaces.items()}
        filters, overlay = self._filters(columns, clusterings)
        return LiveSnapshot(
            self.base, self.sequence, columns, spaces, clusterings, filters, overlay,
            self._added_alive, self._gone, self.nbytes,
        )  # fmt: skip

    def _filters(self, columns: LiveColumns, clusterings: dict[str, LiveClustering]) -> tuple[LiveFilters, Overlay]:
        first, formats, lengths, uris = self._first, self._formats, self._bytes, self._uris
        overlay = Overlay(
            self.base.filters.columns,
            columns,
            functools.partial(_said, self._said_rows.values, self._said, first),
            lambda row: formats[row - first],
            lambda row: lengths[row - first],
            lambda row: uris[row - first],
            clusterings,
            {model: one.values for model, one in self._predictions.items()},
            functools.partial(_class_names, self.base),
        )
        every = LiveFilterColumns(self.base.filters.columns, columns, overlay)
        return LiveFilters(self.base.filters, every, overlay, columns.alive, self._max_filter_bytes), overlay


def _class_names(base: Snapshot, model: str) -> list[str]:
    """Return the names of a model's classes. Reads from the disk, so do not call it on the event loop."""
    return known_class_names(base.reader, model) or numbered_names(base.reader.model(model).spec.classes)


def _said(rows: Int64, said: list[Values], first: int) -> tuple[Int64, list[Values]]:
    """Return the rows with changed attributes, ascending, and the values of each.

    Later changes of a row override earlier ones, name by name.
    """
    found: dict[int, Values] = {}
    for row, values in zip(rows.tolist(), said, strict=False):
        found[row] = {**found[row], **values} if row in found else values
    ordered = sorted(found)
    return np.array(ordered, np.int64), [found[row] for row in ordered]


def _alive(base: Snapshot) -> npt.NDArray[np.bool_]:
    """Return which images of a generation are not deleted."""
    alive = np.ones(len(base.columns.ids), np.bool_)
    listed = base.columns.listed
    if listed is not None:
        alive[:] = False
        alive[listed] = True
    return alive
