"""Reader of a generation: columns of images, streams of embeddings, single stored vectors, assignments.

Methods that take the name of a space, a model or a clustering leave out deleted images, see tombstones.py. Methods that
take paths of parts return all rows of these parts, as indexes have them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Bools, Float32, Int32, Int64
from lookalike_indexer.collection import generations, index_ids, schema, tombstones, uploaded_images
from lookalike_indexer.collection.ahead import read_ahead
from lookalike_indexer.collection.arrow_numbers import of_arrow
from lookalike_indexer.collection.commands import command, instead
from lookalike_indexer.collection.current import clustering_called, default_clustering, default_index
from lookalike_indexer.collection.hold import hold
from lookalike_indexer.collection.location import open_storage
from lookalike_indexer.collection.manifest import (
    ClusteringEntry,
    GraphEntry,
    IndexEntry,
    Manifest,
    ModelEntry,
    SpaceEntry,
)
from lookalike_indexer.collection.parts import check_columns, open_part, read_part
from lookalike_indexer.collection.row_groups import RowGroups
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.uri_column import absolute_column
from lookalike_indexer.errors import DataLossError, NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.text import did_you_mean


@dataclass(frozen=True)
class Assignments:
    """The assignment of each image of a clustering, in the order of its space's rows; all of shape (rows,).

    `places` are the rows in the assignments' parts, which include deleted images.
    """

    ids: Int64
    clusters: Int32
    distances: Float32
    margins: Float32
    places: Int64


class CollectionReader:
    """A read-only view of one generation. It never changes, whatever is published meanwhile."""

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        self.storage = storage
        self.manifest = manifest
        self._live_rows: dict[str, Int64] = {}
        self._releases: list[Callable[[], object]] = []

    @classmethod
    def open(cls, root: str, generation: int | None = None) -> CollectionReader:
        """Open the newest generation, or a given one; NotFoundError if it does not exist.

        `lookalike gc` keeps the generation for the lifetime of this reader, or until `release`.
        """
        storage = open_storage(root)
        # A given generation can be read even if the newest one is damaged.
        manifest = generations.require_latest(storage) if generation is None else generations.read(storage, generation)
        reader = cls(storage, manifest)
        reader.hold(storage)
        return reader

    def hold(self, storage: Storage) -> None:
        """Keep `lookalike gc` from removing the generation until `release`, or for the lifetime of this reader."""
        self._releases.append(hold(storage, self.manifest.generation, self))

    def release(self) -> None:
        """Let `lookalike gc` remove the generation, although this reader is still referenced."""
        for release in self._releases:
            release()

    @property
    def name(self) -> str:
        return self.storage.name

    @functools.cached_property
    def deleted(self) -> Int64:
        """The ids of deleted images, ascending."""
        return tombstones.deleted_ids(self.storage, self.manifest)

    @functools.cached_property
    def deleted_keys(self) -> frozenset[str]:
        """The keys of deleted images that no other image has, until the images table drops those rows."""
        if not len(self.deleted):
            return frozenset()
        every, there = set(self.whole.images(["key"]).column("key").to_pylist()), self.images(["key"]).column("key")
        return frozenset(every.difference(there.to_pylist()))

    def live(self, ids: Int64) -> Bools:
        """Return whether each id, in any order, belongs to an image that is not deleted."""
        return ~tombstones.contains(self.deleted, ids)

    @property
    def whole(self) -> CollectionReader:
        """The same generation including deleted images: rows as parts and indexes have them."""
        return _Whole(self) if len(self.deleted) else self

    def live_rows(self, space: str) -> Int64 | None:
        """Return the rows of a space's images in its parts, ascending; None if no image is deleted."""
        if not len(self.deleted):
            return None
        if space not in self._live_rows:
            self._live_rows[space] = np.flatnonzero(self.live(self.ids_of(self.manifest.spaces[space].parts)))
        return self._live_rows[space]

    def space(self, name: str = "") -> tuple[str, SpaceEntry]:
        """Return a space by name, "" for the default one; NotFoundError lists the existing ones.

        The entry's `rows` counts only images that are not deleted.
        """
        name = name or self.manifest.default_space
        if name not in self.manifest.spaces:
            those = did_you_mean(name, sorted(self.manifest.spaces), "it has")
            raise NotFoundError(f"The collection {self.name} has no space {name!r}{those}.")
        entry, live = self.manifest.spaces[name], self.live_rows(name)
        return name, entry if live is None else dataclasses.replace(entry, rows=len(live))

    def model(self, name: str) -> ModelEntry:
        """Return a model by name; NotFoundError lists the existing ones."""
        if name not in self.manifest.models:
            those = did_you_mean(name, sorted(self.manifest.models), "it has")
            raise NotFoundError(f"The collection {self.name} has no model {name!r}{those}.")
        return self.manifest.models[name]

    def clustering(self, name: str) -> ClusteringEntry:
        """Return a clustering by "space/name", or by its name alone; NotFoundError lists the existing ones."""
        name = clustering_called(self.manifest, name)
        if name not in self.manifest.clusterings:
            those = did_you_mean(name, sorted(self.manifest.clusterings), "it has")
            raise NotFoundError(f"The collection {self.name} has no clustering {name!r}{those}.")
        return self.manifest.clusterings[name]

    def clustering_name(self, name: str = "", space: str = "") -> str:
        """Return the "space/name" of a clustering: `name`, or for "" the current one of a space.

        The space "" is the default one. See current.py for the rules. Raise NotFoundError if the clustering or space
        does not exist. Raise NotBuiltError if the space has no clustering.
        """
        if name:
            self.clustering(name)
            return clustering_called(self.manifest, name)
        space, _ = self.space(space)
        found = default_clustering(self.manifest, space)
        if found is None:
            raise NotBuiltError(
                f"The space {space} has no clustering; make one with: "
                f"{command('cluster', self.storage.location, '--space', space)}"
                f"{instead('name one that there is', self.manifest.clusterings)}"
            )
        return found

    def index(self, space: str = "", name: str = "") -> IndexEntry:
        """Return an index of a space by name, "" for the current one.

        Raise NotBuiltError if the space has no index. Raise NotFoundError if it has none of that name.
        """
        space, _ = self.space(space)
        found = default_index(self.manifest, space)
        if found is None:
            raise NotBuiltError(
                f"The space {space} has no index; build one with: "
                f"{command('build', self.storage.location, '--space', space)}"
                f"{instead('name a space that has one', {each.space for each in self.manifest.indexes.values()})}"
            )
        wanted = f"{space}/{name}" if name else found
        if wanted not in self.manifest.indexes:
            there = ", ".join(self.index_names(space))
            raise NotFoundError(f"The space {space} has no index {name!r}; it has: {there}.")
        return self.manifest.indexes[wanted]

    def graph(self, space: str = "") -> GraphEntry:
        """Return the k-nearest-neighbor graph of a space, "" for the default one.

        Raise NotBuiltError if the space has no graph.
        """
        space, _ = self.space(space)
        if space not in self.manifest.graphs:
            raise NotBuiltError(
                f"The space {space} has no graph of nearest neighbors; make one with: "
                f"{command('graph', self.storage.location, '--space', space)}"
            )
        return self.manifest.graphs[space]

    def stream_graph(self, space: str = "") -> Iterator[tuple[Int64, Int64, Float32]]:
        """Yield (ids, neighbors, distances) of a graph part by part, shapes (n,), (n, k) and (n, k).

        Neighbors are ids of images, nearest first. Missing ones, also of deleted images, are -1 at distance infinity.
        """
        for path in self.graph(space).neighbors:
            ids, neighbors, distances = self.graph_part(path)
            yield self.living_lists(ids, neighbors, distances) if len(self.deleted) else (ids, neighbors, distances)

    def graph_part(self, path: str) -> tuple[Int64, Int64, Float32]:
        """Return one part of a graph as `stream_graph` yields it, but including deleted images."""
        with open_part(self.storage, path) as part:
            check_columns(part, ("id", "neighbor", "distance"))
            table = part.read()
            ids = table.column("id").to_numpy().astype(np.int64, copy=False)
            neighbors, distances = (
                column.flatten().to_numpy(zero_copy_only=False).reshape(len(ids), column.type.list_size)
                for column in (table.column(name).combine_chunks() for name in ("neighbor", "distance"))
            )
        return ids, neighbors, distances

    def index_names(self, space: str) -> list[str]:
        """Return the names of a space's indexes, sorted."""
        return sorted(entry.name for entry in self.manifest.indexes.values() if entry.space == space)

    def paths(self, table: str) -> list[str]:
        """Return the absolute paths of a table's parts, in order, for other Parquet readers.

        Tables are "images", "source", "embeddings/SPACE", "predictions/MODEL", "rejects/MODEL", "attributes/TABLE",
        "graphs/SPACE", "clusterings/SPACE/NAME" (its assignments), and "tombstones" (the ids of deleted images, whose
        rows the other tables may still have). The folder of a table may also hold parts of other generations, so that a
        pattern such as `images/*.parquet` can read an image twice. NotFoundError lists the existing tables.
        """
        manifest = self.manifest
        tables = {"images": manifest.images, "source": manifest.listing, "tombstones": manifest.tombstones}
        tables |= {f"embeddings/{name}": space.parts for name, space in manifest.spaces.items()}
        tables |= {f"predictions/{name}": model.predictions for name, model in manifest.models.items()}
        tables |= {f"rejects/{name}": model.rejects for name, model in manifest.models.items()}
        tables |= {f"clusterings/{name}": entry.assignments for name, entry in manifest.clusterings.items()}
        tables |= {f"attributes/{name}": entry.parts for name, entry in manifest.attributes.items()}
        tables |= {f"graphs/{name}": entry.neighbors for name, entry in manifest.graphs.items()}
        if table not in tables:
            raise NotFoundError(
                f"The collection {self.name} has no table {table!r}; it has: {', '.join(sorted(tables))}."
            )
        return [str(self.storage.local(path).absolute()) for path in tables[table]]

    def verify(self, path: str) -> None:
        """Raise DataLossError unless a file's bytes match the digest in the manifest."""
        if self.storage.digest(path) != self.manifest.files[path].sha256:
            raise DataLossError(
                f"{self.storage.shown(path)} is not what was written: its digest differs from the manifest's."
            )

    def images(self, columns: list[str] | None = None) -> pa.Table:
        """Return the images table, by ascending id; its URIs are absolute."""
        parts = list(self.stream_images(columns))
        return pa.concat_tables(parts) if parts else _picked(schema.IMAGES.empty_table(), columns)

    def stream_images(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield the images table part by part."""
        names = list(schema.IMAGES.names if columns is None else columns)
        # The key is needed for absolute URIs, the id to detect deleted images.
        needed = {"key"} if "uri" in names else set()
        needed |= {"id"} if len(self.deleted) else set()
        for path in self.manifest.images:
            table = read_part(self.storage, path, [*names, *sorted(needed - set(names))]).replace_schema_metadata()
            yield _picked(self._with_uris(self._living(table)), names)

    def rejects(self, model: str) -> pa.Table:
        """Return the files that could not be decoded for a model, with the reasons; URIs are absolute."""
        return self._with_uris(self._living(self._table(self.manifest.models[model].rejects, schema.REJECTS)))

    def predictions(self, model: str) -> pa.Table:
        """Return a model's most probable classes.

        Raise NotFoundError with the list of models if the model does not exist, and NotBuiltError if none were stored.
        """
        return pa.concat_tables(self.stream_predictions(model))

    def stream_predictions(self, model: str) -> Iterator[pa.Table]:
        """Yield the predictions part by part, at least one."""
        paths = self.model(model).predictions
        if not paths:
            others = {name for name, entry in self.manifest.models.items() if entry.predictions}
            raise NotBuiltError(
                f"The collection {self.name} keeps no predictions of the model {model}, whose weights have no "
                f"classifier; embed with weights that have one{instead('name a model that has one', others)}."
            )
        for path in paths:
            yield self._living(read_part(self.storage, path))

    def ids(self, space: str = "") -> Int64:
        """Return the id of each row of a space, shape (rows,)."""
        _, entry = self.space(space)
        ids = self.ids_of(entry.parts)
        return ids[self.live(ids)] if len(self.deleted) else ids

    def ids_of(self, parts: Sequence[str]) -> Int64:
        """Return the id of each row of some embedding parts, shape (rows,)."""
        columns = list(index_ids.read_ids(self.storage, self._indexed, parts))
        return np.concatenate(columns).astype(np.int64, copy=False) if columns else np.empty(0, np.int64)

    @functools.cached_property
    def _indexed(self) -> dict[str, index_ids.IdRange]:
        """The locations of parts' ids in the id files of indexes."""
        return index_ids.id_ranges(self.manifest)

    def stream(self, space: str = "", rows: int = 4096) -> Iterator[tuple[Int64, Float32]]:
        """Yield (ids, embeddings) in the order of the space's rows, at most `rows` at a time.

        Shapes (n,) and (n, dim); embeddings are float32 for any stored type. Only one block is held in memory.
        """
        _, entry = self.space(space)
        for path in entry.parts:
            yield from self._living_blocks(self.stream_part(path, rows))

    def stream_ahead(self, space: str = "", rows: int = 4096) -> Iterator[tuple[Int64, Float32]]:
        """Yield the blocks of `stream` with read-ahead; see `parts_ahead`."""
        _, entry = self.space(space)
        yield from self.living_ahead(entry.parts, rows)

    def living_ahead(self, paths: Sequence[str], rows: int = 4096) -> Iterator[tuple[Int64, Float32]]:
        """Yield the blocks of some parts of a space without deleted images, with read-ahead; see `parts_ahead`."""
        for blocks in self.parts_ahead(paths, rows):
            yield from self._living_blocks(blocks)

    def parts_ahead(self, paths: Iterable[str], rows: int = 4096) -> Iterator[Iterable[tuple[Int64, Float32]]]:
        """Yield the blocks of some parts of a space, part by part; up to two parts are read ahead.

        At most three blocks are in memory: parts of more than `rows` rows are read by `stream_part` on demand.
        """

        def read(path: str) -> Iterable[tuple[Int64, Float32]]:
            blocks = self.stream_part(path, rows)
            return blocks if (self.manifest.files[path].rows or 0) > rows else list(blocks)

        return read_ahead(read, paths)

    def stream_part(self, path: str, rows: int = 4096) -> Iterator[tuple[Int64, Float32]]:
        """Yield (ids, embeddings) of one part of a space, as `stream` does; nothing if the part is empty."""
        with open_part(self.storage, path) as part:
            check_columns(part, ("id", "embedding"))
            for batch in part.iter_batches(batch_size=rows):
                yield of_arrow(batch.column("id")), matrix(batch.column("embedding"))

    def vectors(self, space: str, rows: Int64) -> Float32:
        """Return the stored embeddings of some rows of a space, shape (len(rows), dim), float32, in the given order."""
        name, entry = self.space(space)
        if len(rows) and not 0 <= rows.min() <= rows.max() < entry.rows:
            raise UsageError(f"The space {name} has rows 0 to {entry.rows - 1}.")
        live = self.live_rows(name)
        return self.vectors_of(entry.parts, rows if live is None else live[rows], entry.dim)

    def vectors_of(self, parts: Sequence[str], rows: Int64, dim: int) -> Float32:
        """Return the stored embeddings of some rows of embedding parts, shape (len(rows), dim), in the given order.

        Raise DataLossError if the parts have fewer rows.
        """
        out = np.empty((len(rows), dim), np.float32)
        ends = np.cumsum([self.manifest.files[path].rows or 0 for path in parts], dtype=np.int64)
        if len(rows) and (not len(ends) or rows.max() >= ends[-1]):
            raise DataLossError(
                f"The embeddings of the collection {self.name} lack row {rows.max()}; run: "
                f"{command('verify', self.storage.location)}"
            )
        places = np.searchsorted(ends, rows, side="right")
        for place in np.unique(places).tolist():
            wanted = np.flatnonzero(places == place)
            start = int(ends[place - 1]) if place else 0
            out[wanted] = self._part_vectors(parts[place], rows[wanted] - start)
        return out

    def _part_vectors(self, path: str, rows: Int64) -> Float32:
        with open_part(self.storage, path) as part:
            check_columns(part, ["embedding"])
            row_groups = RowGroups.of(part)
            groups = row_groups.find(rows)
            needed, position = np.unique(groups, return_inverse=True)
            table = part.read_row_groups(needed.tolist(), columns=["embedding"])
            # The offset of each row group in the table.
            offsets = np.concatenate([[0], np.cumsum(row_groups.sizes[needed])])
            local = rows - row_groups.starts[groups] + offsets[position]
            found: Float32 = matrix(table.column("embedding"))[local]
            return found

    def centroids(self, clustering: str) -> Float32:
        """Return the centroids of a clustering, shape (k, dim), float32."""
        with open_part(self.storage, self.clustering(clustering).centroids) as part:
            check_columns(part, ["centroid"])
            return matrix(part.read(["centroid"]).column("centroid"))

    def assignments(self, clustering: str) -> Assignments:
        """Return every image's cluster, distance and margin."""
        entry = self.clustering(clustering)
        table = self._table(entry.assignments, schema.ASSIGNMENTS)
        places = np.flatnonzero(self.live(table.column("id").to_numpy()))
        table = self._living(table)
        return Assignments(
            places=places,
            ids=table.column("id").to_numpy(),
            clusters=table.column("cluster").to_numpy(),
            distances=table.column("distance").to_numpy(),
            margins=table.column("margin").to_numpy(),
        )

    def _table(self, paths: list[str], columns_of: pa.Schema, columns: list[str] | None = None) -> pa.Table:
        """Return the parts of a table as one, with the columns of the schema, or some of them."""
        names = list(columns_of.names if columns is None else columns)
        parts = [read_part(self.storage, path, names).replace_schema_metadata() for path in paths]
        return pa.concat_tables(parts or [columns_of.empty_table().select(names)])

    def _living(self, table: pa.Table) -> pa.Table:
        """Return a table with a column `id` without the rows of deleted images."""
        return table.filter(pa.array(self.live(table.column("id").to_numpy()))) if len(self.deleted) else table

    def _living_blocks(self, blocks: Iterable[tuple[Int64, Float32]]) -> Iterator[tuple[Int64, Float32]]:
        """Yield the blocks of a part without deleted images, and without empty blocks."""
        for ids, vectors in blocks:
            live = self.live(ids) if len(self.deleted) else None
            if live is None or live.all():
                yield ids, vectors
            elif live.any():
                yield ids[live], vectors[live]

    def living_lists(self, ids: Int64, neighbors: Int64, distances: Float32) -> tuple[Int64, Int64, Float32]:
        """Return a part of a graph without deleted images; the remaining neighbors move up."""
        rows = self.live(ids)
        gone = ~self.live(neighbors[rows])
        left: Int64 = np.where(gone, np.int64(-1), neighbors[rows])
        apart: Float32 = np.where(gone, np.float32(np.inf), distances[rows])
        order = np.argsort(gone, axis=1, kind="stable")
        return ids[rows], np.take_along_axis(left, order, axis=1), np.take_along_axis(apart, order, axis=1)

    def _with_uris(self, table: pa.Table) -> pa.Table:
        """Return the table with absolute URIs if it has a column `uri`; it must then have the column `key`."""
        if "uri" not in table.column_names:
            return table
        found = absolute_column(
            self.manifest.source, table.column("uri"), table.column("key"), uploaded_images.folder(self.storage)
        )
        return table.set_column(table.column_names.index("uri"), table.schema.field("uri"), found)


class _Whole(CollectionReader):
    """A generation including its deleted images; its lifetime is independent of the original reader's."""

    def __init__(self, reader: CollectionReader) -> None:
        super().__init__(reader.storage, reader.manifest)
        self._of = reader
        self.deleted = np.empty(0, np.int64)


def _picked(table: pa.Table, columns: list[str] | None) -> pa.Table:
    return table if columns is None else table.select(columns)


def matrix(lists: pa.Array | pa.ChunkedArray) -> Float32:
    """Return a fixed-size list column as a contiguous float32 matrix; pa.ArrowInvalid: another type, or nulls."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    if not pa.types.is_fixed_size_list(array.type) or not pa.types.is_floating(array.type.value_type):
        raise pa.ArrowInvalid("its vectors are not lists of numbers")
    numbers = array.flatten()
    if array.null_count or numbers.null_count:
        raise pa.ArrowInvalid("its vectors have gaps")
    values = of_arrow(numbers)
    return np.ascontiguousarray(values.reshape(len(array), array.type.list_size), dtype=np.float32)
