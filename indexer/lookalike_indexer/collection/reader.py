"""Reading a generation: columns of images, streams of embeddings, single stored vectors, assignments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Float32, Int32, Int64
from lookalike_indexer.collection import generations, schema
from lookalike_indexer.collection.ahead import read_ahead
from lookalike_indexer.collection.commands import command, instead
from lookalike_indexer.collection.current import clustering_called, default_clustering, default_index
from lookalike_indexer.collection.hold import hold
from lookalike_indexer.collection.manifest import (
    ClusteringEntry,
    GraphEntry,
    IndexEntry,
    Manifest,
    ModelEntry,
    SpaceEntry,
)
from lookalike_indexer.collection.parts import check_columns, open_part, read_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.uri_column import absolute_column
from lookalike_indexer.errors import DataLossError, NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.text import did_you_mean


@dataclass(frozen=True)
class Assignments:
    """The assignment of each image of a clustering, in the order of its space's rows; all of shape (rows,)."""

    ids: Int64
    clusters: Int32
    distances: Float32
    margins: Float32


class CollectionReader:
    """One generation of a collection, for reading. It never changes, whatever is published meanwhile."""

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        self.storage = storage
        self.manifest = manifest

    @classmethod
    def open(cls, root: str, generation: int | None = None) -> CollectionReader:
        """Open the newest generation, or a certain one; NotFoundError when there is none.

        As long as this reader lives, `lookalike gc` leaves its generation alone.
        """
        storage = Storage(root)
        # A certain one can be read though the newest be damaged.
        manifest = generations.require_latest(storage) if generation is None else generations.read(storage, generation)
        reader = cls(storage, manifest)
        hold(storage, manifest.generation, reader)
        return reader

    @property
    def name(self) -> str:
        return self.storage.root.resolve().name

    def space(self, name: str = "") -> tuple[str, SpaceEntry]:
        """A space by name, the default one for ""; NotFoundError names those that there are."""
        name = name or self.manifest.default_space
        if name not in self.manifest.spaces:
            those = did_you_mean(name, sorted(self.manifest.spaces), "it has")
            raise NotFoundError(f"The collection {self.name} has no space {name!r}{those}.")
        return name, self.manifest.spaces[name]

    def model(self, name: str) -> ModelEntry:
        """A model by name; NotFoundError names those that there are."""
        if name not in self.manifest.models:
            those = did_you_mean(name, sorted(self.manifest.models), "it has")
            raise NotFoundError(f"The collection {self.name} has no model {name!r}{those}.")
        return self.manifest.models[name]

    def clustering(self, name: str) -> ClusteringEntry:
        """A clustering by "space/name", or by its name alone; NotFoundError names those that there are."""
        name = clustering_called(self.manifest, name)
        if name not in self.manifest.clusterings:
            those = did_you_mean(name, sorted(self.manifest.clusterings), "it has")
            raise NotFoundError(f"The collection {self.name} has no clustering {name!r}{those}.")
        return self.manifest.clusterings[name]

    def clustering_name(self, name: str = "", space: str = "") -> str:
        """The "space/name" of the clustering that is meant: `name`, or for "" the current one of a space.

        The space "" is the default one. See current.py for the rules. NotFoundError: no such clustering or space.
        NotBuiltError: the space has none.
        """
        if name:
            self.clustering(name)
            return clustering_called(self.manifest, name)
        space, _ = self.space(space)
        found = default_clustering(self.manifest, space)
        if found is None:
            raise NotBuiltError(
                f"The space {space} has no clustering; make one with: "
                f"{command('cluster', self.storage.root, '--space', space)}"
                f"{instead('name one that there is', self.manifest.clusterings)}"
            )
        return found

    def index(self, space: str = "", name: str = "") -> IndexEntry:
        """An index of a space by name, the current one for "".

        NotBuiltError: the space has none. NotFoundError: it has none of that
        name.
        """
        space, _ = self.space(space)
        found = default_index(self.manifest, space)
        if found is None:
            raise NotBuiltError(
                f"The space {space} has no index; build one with: "
                f"{command('build', self.storage.root, '--space', space)}"
                f"{instead('name a space that has one', {each.space for each in self.manifest.indexes.values()})}"
            )
        wanted = f"{space}/{name}" if name else found
        if wanted not in self.manifest.indexes:
            there = ", ".join(self.index_names(space))
            raise NotFoundError(f"The space {space} has no index {name!r}; it has: {there}.")
        return self.manifest.indexes[wanted]

    def graph(self, space: str = "") -> GraphEntry:
        """The k-nearest-neighbour graph of a space, the default one for ""; NotBuiltError: it has none."""
        space, _ = self.space(space)
        if space not in self.manifest.graphs:
            raise NotBuiltError(
                f"The space {space} has no graph of nearest neighbours; make one with: "
                f"{command('graph', self.storage.root, '--space', space)}"
            )
        return self.manifest.graphs[space]

    def stream_graph(self, space: str = "") -> Iterator[tuple[Int64, Int64, Float32]]:
        """Yield (ids, neighbours, distances) of a graph part by part, shapes (n,), (n, k) and (n, k).

        Neighbours are ids of images, nearest first; -1 at distance infinity where there are fewer than k.
        """
        for path in self.graph(space).neighbors:
            yield self.graph_part(path)

    def graph_part(self, path: str) -> tuple[Int64, Int64, Float32]:
        """One part of a graph, as `stream_graph` yields it."""
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
        """The names of a space's indexes, sorted."""
        return sorted(entry.name for entry in self.manifest.indexes.values() if entry.space == space)

    def paths(self, table: str) -> list[str]:
        """The absolute paths of a table's parts, in order, for other readers of Parquet.

        A table is "images", "source", "embeddings/SPACE", "predictions/MODEL",
        "rejects/MODEL", "attributes/TABLE", "graphs/SPACE" or "clusterings/SPACE/NAME", the assignments of that.
        The folder of a table may also hold parts of other generations, so that
        a pattern such as `images/*.parquet` can read an image twice.
        NotFoundError names the tables there are.
        """
        manifest = self.manifest
        tables = {"images": manifest.images, "source": manifest.listing}
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
        """DataLossError unless a file's bytes are those that the manifest lists."""
        if self.storage.digest(path) != self.manifest.files[path].sha256:
            raise DataLossError(
                f"{self.storage.local(path)} is not what was written: its digest differs from the manifest's."
            )

    def images(self, columns: list[str] | None = None) -> pa.Table:
        """The images table, by ascending id; its URIs are absolute."""
        if columns is None or "uri" not in columns or "key" in columns:
            return self._with_uris(self._table(self.manifest.images, schema.IMAGES, columns))
        return self._with_uris(self._table(self.manifest.images, schema.IMAGES, [*columns, "key"])).select(columns)

    def rejects(self, model: str) -> pa.Table:
        """The files that could not be decoded for a model, each with its reason; URIs are absolute."""
        return self._with_uris(self._table(self.manifest.models[model].rejects, schema.REJECTS))

    def predictions(self, model: str) -> pa.Table:
        """A model's most probable classes; NotFoundError names the models there are, NotBuiltError: none were kept."""
        return pa.concat_tables(self.stream_predictions(model))

    def stream_predictions(self, model: str) -> Iterator[pa.Table]:
        """The same part by part, at least one."""
        paths = self.model(model).predictions
        if not paths:
            others = {name for name, entry in self.manifest.models.items() if entry.predictions}
            raise NotBuiltError(
                f"The collection {self.name} keeps no predictions of the model {model}, whose weights have no "
                f"classifier; embed with weights that have one{instead('name a model that has one', others)}."
            )
        for path in paths:
            yield read_part(self.storage, path)

    def ids(self, space: str = "") -> Int64:
        """The id of each row of a space, shape (rows,)."""
        _, entry = self.space(space)
        return self.ids_of(entry.parts)

    def ids_of(self, parts: Sequence[str]) -> Int64:
        """The id of each row of some embedding parts, shape (rows,)."""
        columns = [read_part(self.storage, path, ["id"]).column("id").to_numpy() for path in parts]
        return np.concatenate(columns).astype(np.int64, copy=False) if columns else np.empty(0, np.int64)

    def stream(self, space: str = "", rows: int = 4096) -> Iterator[tuple[Int64, Float32]]:
        """Yield (ids, embeddings) in the order of the space's rows, at most `rows` at a time.

        Shapes (n,) and (n, dim); whatever the stored type, the embeddings are
        float32. No more than one block is held at a time.
        """
        _, entry = self.space(space)
        for path in entry.parts:
            yield from self.stream_part(path, rows)

    def stream_ahead(self, space: str = "", rows: int = 4096) -> Iterator[tuple[Int64, Float32]]:
        """The same, read while the caller works on what it was given; see `parts_ahead`."""
        _, entry = self.space(space)
        for blocks in self.parts_ahead(entry.parts, rows):
            yield from blocks

    def parts_ahead(self, paths: Sequence[str], rows: int = 4096) -> Iterator[Iterable[tuple[Int64, Float32]]]:
        """The blocks of some parts of a space, part by part; up to two parts are read ahead.

        Three blocks are held at a time: parts of more than `rows`, which would
        be more, are read as `stream_part` does when they are asked for.
        """
        if any((self.manifest.files[path].rows or 0) > rows for path in paths):
            return (self.stream_part(path, rows) for path in paths)
        return read_ahead(lambda path: list(self.stream_part(path, rows)), paths)

    def stream_part(self, path: str, rows: int = 4096) -> Iterator[tuple[Int64, Float32]]:
        """Yield (ids, embeddings) of one part of a space, as `stream` does; nothing when the part is empty."""
        with open_part(self.storage, path) as part:
            check_columns(part, ("id", "embedding"))
            for batch in part.iter_batches(batch_size=rows):
                yield batch.column("id").to_numpy(zero_copy_only=False), matrix(batch.column("embedding"))

    def vectors(self, space: str, rows: Int64) -> Float32:
        """The stored embeddings of some rows of a space, shape (len(rows), dim), float32, in the order given."""
        name, entry = self.space(space)
        if len(rows) and not 0 <= rows.min() <= rows.max() < entry.rows:
            raise UsageError(f"The space {name} has rows 0 to {entry.rows - 1}.")
        return self.vectors_of(entry.parts, rows, entry.dim)

    def vectors_of(self, parts: Sequence[str], rows: Int64, dim: int) -> Float32:
        """The stored embeddings of some rows of some embedding parts, shape (len(rows), dim), in the order given.

        DataLossError: the parts have fewer rows.
        """
        out = np.empty((len(rows), dim), np.float32)
        ends = np.cumsum([self.manifest.files[path].rows or 0 for path in parts], dtype=np.int64)
        if len(rows) and (not len(ends) or rows.max() >= ends[-1]):
            raise DataLossError(
                f"The embeddings of the collection {self.name} lack row {rows.max()}; run: "
                f"{command('verify', self.storage.root)}"
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
            sizes = [part.metadata.row_group(group).num_rows for group in range(part.num_row_groups)]
            ends = np.cumsum(sizes)
            groups = np.searchsorted(ends, rows, side="right")
            needed, position = np.unique(groups, return_inverse=True)
            table = part.read_row_groups([int(group) for group in needed], columns=["embedding"])
            offsets = np.concatenate([[0], np.cumsum([sizes[group] for group in needed])])
            local = rows - (ends[groups] - np.asarray(sizes)[groups]) + offsets[position]
            found: Float32 = matrix(table.column("embedding"))[local]
            return found

    def centroids(self, clustering: str) -> Float32:
        """The centroids of a clustering, shape (k, dim), float32."""
        with open_part(self.storage, self.clustering(clustering).centroids) as part:
            check_columns(part, ["centroid"])
            return matrix(part.read(["centroid"]).column("centroid"))

    def assignments(self, clustering: str) -> Assignments:
        """Every image's cluster, distance and margin."""
        entry = self.clustering(clustering)
        table = self._table(entry.assignments, schema.ASSIGNMENTS)
        return Assignments(
            ids=table.column("id").to_numpy(),
            clusters=table.column("cluster").to_numpy(),
            distances=table.column("distance").to_numpy(),
            margins=table.column("margin").to_numpy(),
        )

    def _table(self, paths: list[str], columns_of: pa.Schema, columns: list[str] | None = None) -> pa.Table:
        """The parts of a table as one, with the columns that the schema has, or some of them."""
        names = list(columns_of.names if columns is None else columns)
        parts = [read_part(self.storage, path, names).replace_schema_metadata() for path in paths]
        return pa.concat_tables(parts or [columns_of.empty_table().select(names)])

    def _with_uris(self, table: pa.Table) -> pa.Table:
        """The table with absolute URIs in its column `uri`, if it has one; then it has the column `key` as well."""
        if "uri" not in table.column_names:
            return table
        found = absolute_column(self.manifest.source, table.column("uri"), table.column("key"))
        return table.set_column(table.column_names.index("uri"), table.schema.field("uri"), found)


def matrix(lists: pa.Array | pa.ChunkedArray) -> Float32:
    """A fixed-size list column as a matrix, float32, contiguous; pa.ArrowInvalid when it is none, or has gaps."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    if not pa.types.is_fixed_size_list(array.type) or not pa.types.is_floating(array.type.value_type):
        raise pa.ArrowInvalid("its vectors are not lists of numbers")
    numbers = array.flatten()
    if array.null_count or numbers.null_count:
        raise pa.ArrowInvalid("its vectors have gaps")
    values = numbers.to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values.reshape(len(array), array.type.list_size), dtype=np.float32)
