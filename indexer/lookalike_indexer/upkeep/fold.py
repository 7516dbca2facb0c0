"""Folding of changes that were made while a collection was served into its next generation.

New images become one more part of each table: the listing, the images, the embeddings of each space, the assignments of
each clustering. Deleted and replaced images get tombstones. Existing files are not rewritten, except parts in which
labels or attributes change. Servers find up to MOST_BESIDE images that an index lacks by comparison. Above that number,
an increment of the index is written, see indexing/extend.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Bools, Float32, Int64
from lookalike_indexer.attributes.labels import LabelChanges
from lookalike_indexer.clustering import tables
from lookalike_indexer.clustering.assignment_rule import Rule
from lookalike_indexer.collection import generations, layout, schema, uploaded_images
from lookalike_indexer.collection.manifest import AttributesEntry, IndexEntry, Manifest
from lookalike_indexer.collection.parts import read_part, write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.tombstones import Reason, with_tombstones
from lookalike_indexer.embedding.classes import known_class_names, numbered_names
from lookalike_indexer.embedding.embedding_result import Classes
from lookalike_indexer.embedding.inventory import about, listing_identity
from lookalike_indexer.indexing.extend import extend_index
from lookalike_indexer.progress import Silent
from lookalike_indexer.sources.listing import listing_metadata

# The maximum number of images that an index may lack after a fold: comparing fewer is faster than a search.
MOST_BESIDE = 1024


@dataclass(frozen=True)
class NewImages:
    """Images added since the generation was made, by ascending id, including those that were deleted again.

    All fields are (n,), except the `vectors` (n, dim) of each space. `labels` are "" if there is none. `attributes` has
    Arrow arrays of some columns by name. `bytes`, `widths` and `heights` are 0 if unknown. `uris` are those of uploaded
    images, "" for none. `classes` has for a model the ids (m,) of some of the images, and their predicted classes.
    """

    ids: Int64
    alive: Bools
    keys: Sequence[str]
    labels: Sequence[str]
    vectors: Mapping[str, Float32]
    formats: Sequence[str]
    bytes: Int64
    widths: Int64
    heights: Int64
    uris: Sequence[str]
    classes: Mapping[str, tuple[Int64, Classes]] = field(default_factory=dict)
    attributes: Mapping[str, pa.Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """The changes to a generation, up to the change with the number `sequence`.

    `gone` are ids of deleted images by reason. `labels` and `attributes` are new values for images of the generation,
    by id; "" for no label.
    """

    sequence: int
    new: NewImages
    gone: Mapping[Reason, Int64]
    labels: Mapping[int, str]
    attributes: Mapping[int, Mapping[str, Any]]


def fold(storage: Storage, manifest: Manifest, changes: Changes) -> Manifest:
    """Publish the generation after `manifest`, which must be the newest, with the changes; return it.

    The caller holds the collection's lock.
    """
    reader = CollectionReader(storage, manifest)
    draft = manifest
    if changes.labels:
        draft = _relabeled(storage, draft, changes.labels)
    if changes.attributes:
        draft = _with_values(storage, draft, changes.attributes)
    if len(changes.new.ids):
        draft = _Added(storage, reader, draft, changes.new).applied()
    draft = dataclasses.replace(draft, folded_through=changes.sequence)
    draft = generations.complete(storage, draft)
    for reason, ids in changes.gone.items():
        draft = with_tombstones(storage, draft, ids, reason, changes.sequence)
    return generations.publish(storage, draft)


class _Added:
    """One more part of every table."""

    def __init__(self, storage: Storage, reader: CollectionReader, draft: Manifest, new: NewImages) -> None:
        self._storage, self._reader, self._draft, self._new = storage, reader, draft, new
        # Generated collections have no listing.
        numbers = map(layout.part_number, [*draft.listing, *draft.images])
        self._part = 1 + max(numbers, default=-1)
        self._rows = np.flatnonzero(new.alive)

    def applied(self) -> Manifest:
        draft, new, storage = self._draft, self._new, self._storage
        listing, images = layout.source(self._part), layout.images(self._part)
        count = len(new.ids)
        everyone = [
            new.ids, list(new.keys), [label or None for label in new.labels], list(new.uris), new.bytes,
            np.full(count, schema.NOT_OF_SOURCE, np.int64),
        ]  # fmt: skip
        write_part(storage, listing, _table(everyone, schema.SOURCE, listing_metadata(draft.source)))
        some = [np.asarray(column, object)[self._rows].tolist() for column in everyone[:5]]
        sizes = [np.asarray(one)[self._rows].tolist() for one in (new.formats, new.widths, new.heights)]
        digests = [uploaded_images.digest_of(uri) if uri else None for uri in some[3]]
        mark = {schema.ABOUT: listing_identity(storage, listing).encode()}
        table = _table([*some, *sizes, digests], schema.IMAGES, mark)
        write_part(storage, images, table)
        self._about = {schema.ABOUT: about(table).encode()}
        draft = dataclasses.replace(
            draft,
            listing=[*draft.listing, listing],
            images=[*draft.images, images],
            models={name: self._model(name) for name in draft.models},
            attributes={name: self._attributes(name) for name in draft.attributes},
        )
        parts = {name: self._embeddings(name) for name in draft.spaces if name in new.vectors}
        draft = dataclasses.replace(
            draft,
            spaces={
                name: dataclasses.replace(space, parts=[*space.parts, parts[name]], rows=space.rows + len(self._rows))
                if name in parts
                else space
                for name, space in draft.spaces.items()
            },
            clusterings={name: self._clustering(name, parts) for name in draft.clusterings},
        )
        draft = generations.complete(storage, draft)
        return dataclasses.replace(
            draft, indexes={name: self._index(draft, entry) for name, entry in draft.indexes.items()}
        )

    def _model(self, name: str) -> Any:
        """Write a part of rejects without rows, and of predictions for the new images; imported vectors have none."""
        model = self._draft.models[name]
        rejects = layout.rejects(name, self._part)
        write_part(self._storage, rejects, schema.REJECTS.empty_table().replace_schema_metadata(self._about))
        predictions = list(model.predictions)
        if predictions:
            path = layout.predictions(name, self._part)
            columns = read_part(self._storage, predictions[-1]).schema.remove_metadata()
            table = self._predicted(name, columns).replace_schema_metadata(self._about)
            write_part(self._storage, path, table)
            predictions.append(path)
        return dataclasses.replace(model, predictions=predictions, rejects=[*model.rejects, rejects])

    def _predicted(self, model: str, columns: pa.Schema) -> pa.Table:
        top = columns.field("class_index").type.list_size
        found = self._new.classes.get(model)
        if found is None or found[1].indexes.shape[1] < top:
            # Either as many classes as the other parts have, or none.
            return columns.empty_table()
        ids, classes = found
        there = np.isin(ids, self._new.ids[self._rows])
        ids, classes = ids[there], classes.rows(np.flatnonzero(there))
        names = known_class_names(self._reader, model) or numbered_names(self._draft.models[model].spec.classes)
        indexes = classes.indexes[:, :top].ravel()
        columns_of = {
            "class_index": pa.array(indexes),
            "class_name": pa.array(names, pa.string()).take(pa.array(indexes)),
            "probability": pa.array(classes.probabilities[:, :top].ravel()),
        }
        lists = [
            pa.FixedSizeListArray.from_arrays(array, type=columns.field(name).type)
            for name, array in columns_of.items()
        ]
        return pa.table([pa.array(ids), *lists], schema=columns)

    def _embeddings(self, name: str) -> str:
        space = self._draft.spaces[name]
        columns = schema.embeddings(space.dim, space.dtype)
        columns = columns.with_metadata({schema.FINGERPRINT: space.fingerprint.encode(), **self._about})
        vectors = self._new.vectors[name][self._rows].astype(space.dtype)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=columns.field("embedding").type)
        path = layout.embeddings(name, self._part)
        write_part(self._storage, path, pa.table([pa.array(self._new.ids[self._rows]), lists], schema=columns))
        return path

    def _clustering(self, name: str, parts: Mapping[str, str]) -> Any:
        entry = self._draft.clusterings[name]
        if entry.space not in parts:
            return entry
        path = f"{entry.centroids.rpartition('/')[0]}/assignments/{layout.part_name(self._part)}"
        vectors = self._new.vectors[entry.space][self._rows]
        assigned = Rule.of(self._reader, name).assign(vectors)
        tables.write_assignments(self._storage, path, self._new.ids[self._rows], assigned)
        return dataclasses.replace(
            entry,
            assignments=[*entry.assignments, path],
            parts=[*self._draft.parts_of(entry), parts[entry.space]],
            rows=entry.rows + len(self._rows),
        )

    def _attributes(self, name: str) -> AttributesEntry:
        entry = self._draft.attributes[name]
        given = {column.name for column in entry.columns} & self._new.attributes.keys()
        if not given:
            return entry
        columns = schema.attributes((column.name, column.type) for column in entry.columns)
        rows = pa.array(self._rows)
        values = [
            self._new.attributes[column.name].take(rows).cast(columns.field(column.name).type)
            if column.name in given
            else pa.nulls(len(self._rows), columns.field(column.name).type)
            for column in entry.columns
        ]
        path = layout.attributes(name, entry.digest, self._part)
        write_part(self._storage, path, pa.table([pa.array(self._new.ids[self._rows]), *values], schema=columns))
        counted = [
            dataclasses.replace(column, count=column.count + len(array) - array.null_count)
            for column, array in zip(entry.columns, values, strict=True)
        ]
        return dataclasses.replace(entry, columns=counted, parts=[*entry.parts, path])

    def _index(self, draft: Manifest, entry: IndexEntry) -> IndexEntry:
        """Return the index, extended with all images of its space if it would lack too many."""
        space, known = draft.spaces[entry.space], draft.parts_of(entry)
        # If embeddings have changed since the index was built, rows have other numbers.
        if space.rows - entry.rows <= MOST_BESIDE or space.parts[: len(known)] != known:
            return entry
        # Measuring the recall ladder takes many times longer than the rest, and a server waits for the result.
        return extend_index(self._storage, draft, entry, Silent(), most_queries=0)


def _relabeled(storage: Storage, draft: Manifest, labels: Mapping[int, str]) -> Manifest:
    changed = LabelChanges(storage, draft)
    for part, ids in _by_part(storage, draft, sorted(labels)):
        changed.add(part, ids, pa.chunked_array([pa.array([labels[one] for one in ids.tolist()], pa.string())]))
    return changed.applied(draft)


def _with_values(storage: Storage, draft: Manifest, values: Mapping[int, Mapping[str, Any]]) -> Manifest:
    """Return the draft with new attribute values of some images, by id."""
    found = dict(draft.attributes)
    for part, ids in _by_part(storage, draft, sorted(values)):
        number = layout.part_number(draft.images[part])
        for name, entry in found.items():
            names = {column.name for column in entry.columns}
            here = {one: said for one in ids.tolist() if (said := {k: v for k, v in values[one].items() if k in names})}
            if here:
                found[name] = _revised(storage, draft, entry, name, number, part, here)
    return dataclasses.replace(draft, attributes=found)


def _revised(
    storage: Storage,
    draft: Manifest,
    entry: AttributesEntry,
    name: str,
    number: int,
    part: int,
    said: Mapping[int, Mapping[str, Any]],
) -> AttributesEntry:
    columns = schema.attributes((column.name, column.type) for column in entry.columns)
    before = next((path for path in entry.parts if layout.part_number(path) == number), None)
    if before is None:
        ids = read_part(storage, draft.images[part], ["id"]).column("id")
        nothing = [pa.nulls(len(ids), columns.field(column.name).type) for column in entry.columns]
        table = pa.table([ids, *nothing], schema=columns)
    else:
        table = read_part(storage, before)
    places = {one: row for row, one in enumerate(table.column("id").to_pylist())}
    after, counts = table, []
    for column in entry.columns:
        values = table.column(column.name).to_pylist()
        for one, given in said.items():
            if column.name in given and one in places:
                values[places[one]] = given[column.name]
        array = pa.array(values, columns.field(column.name).type)
        gained = table.column(column.name).null_count - array.null_count
        counts.append(dataclasses.replace(column, count=column.count + gained))
        after = after.set_column(after.column_names.index(column.name), columns.field(column.name), array)
    stem = before or layout.attributes(name, entry.digest, number)
    path = layout.revised(stem, digest_of([stem, {str(one): repr(given) for one, given in said.items()}]))
    write_part(storage, path, after)
    kept = [one for one in entry.parts if one != before]
    parts = sorted([*kept, path], key=layout.part_number)
    return dataclasses.replace(entry, columns=counts, parts=parts)


def _by_part(storage: Storage, draft: Manifest, ids: Sequence[int]) -> list[tuple[int, Int64]]:
    """Return ascending ids, grouped by the position of their images part."""
    wanted = np.array(ids, np.int64)
    found = []
    for part, path in enumerate(draft.images):
        here = read_part(storage, path, ["id"]).column("id").to_numpy()
        some = wanted[np.isin(wanted, here)]
        if len(some):
            found.append((part, some))
    return found


def _table(columns: Sequence[Any], of: pa.Schema, metadata: Mapping[bytes, bytes]) -> pa.Table:
    """Return a table of the first columns of a schema; the others are null."""
    arrays = [pa.array(column, type=of_field.type) for column, of_field in zip(columns, of, strict=False)]
    arrays += [pa.nulls(len(arrays[0]), of_field.type) for of_field in list(of)[len(columns) :]]
    return pa.table(arrays, schema=of.with_metadata(dict(metadata)))
