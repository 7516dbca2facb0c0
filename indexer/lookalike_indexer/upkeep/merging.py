"""Merging of the parts of a group into one part of every table; rows and vectors stay bit-identical."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike_indexer.collection import layout, schema
from lookalike_indexer.collection.parts import open_part, read_part, write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.embedding.inventory import about, listing_identity
from lookalike_indexer.embedding.plan import model_identity
from lookalike_indexer.errors import DataLossError
from lookalike_indexer.sources.listing import listing_metadata
from lookalike_indexer.upkeep.grouping import Tables

Metadata = Mapping[bytes, bytes]


@dataclass
class Merger:
    """Merges groups of a manifest's parts; `paths` maps each merged file to the one that has its rows."""

    reader: CollectionReader
    tables: Tables
    paths: dict[str, str] = field(default_factory=dict)

    def merge(self, numbers: Sequence[int], into: int) -> None:
        """Write one part of every table. Raise DataLossError if a file was changed."""
        manifest, tables = self.reader.manifest, self.tables
        listing = layout.source(into)
        self._small(tables.listing.all_of(numbers), listing, listing_metadata(manifest.source))
        identity = listing_identity(self.reader.storage, listing).encode()
        images = layout.images(into)
        self._small(tables.images.all_of(numbers), images, {schema.ABOUT: identity})
        for table in tables.attributes:
            found = table.all_of(numbers)
            if found:
                self._small(found, _renumbered(found[0], into), {})
        mark = {schema.ABOUT: about(read_part(self.reader.storage, images, ["id", "sha256"])).encode()}
        for name, model in manifest.models.items():
            made_by = {schema.FINGERPRINT: model_identity(model.spec).encode(), **mark}
            rejects = tables.rejects[name].all_of(numbers)
            self._small(rejects, layout.rejects(name, into), made_by)
            predictions = tables.predictions[name].all_of(numbers)
            self._small(predictions, layout.predictions(name, into), made_by)
        for name, space in manifest.spaces.items():
            parts = tables.spaces[name].all_of(numbers)
            made_by = {schema.FINGERPRINT: space.fingerprint.encode(), **mark}
            self._embeddings(parts, layout.embeddings(name, into), made_by)
            for paths in tables.assigned(name, numbers):
                self._small(paths, _renumbered(paths[0], into), {})

    def _small(self, paths: Sequence[str], target: str, metadata: Metadata) -> None:
        """Merge files of a table that fits into memory; their rows are ordered by id."""
        if not paths:
            return
        tables = [read.replace_schema_metadata() for read in self._read(paths)]
        whole = pa.concat_tables(tables).combine_chunks()
        if target.startswith("rejects/"):
            # A part may have several reject files.
            whole = whole.sort_by("id")
        write_part(self.reader.storage, target, whole.replace_schema_metadata(dict(metadata) or None))
        self._done(paths, target, whole.num_rows)

    def _read(self, paths: Sequence[str]) -> Iterator[pa.Table]:
        for path in paths:
            self.reader.verify(path)
            yield read_part(self.reader.storage, path)

    def _embeddings(self, paths: Sequence[str], target: str, metadata: dict[bytes, bytes]) -> None:
        """Merge parts of a space, one row group at a time."""
        if not paths:
            return
        compute = self.reader.manifest.files[paths[0]].compute
        if compute:
            metadata = {**metadata, schema.COMPUTE: compute.encode()}
        with open_part(self.reader.storage, paths[0]) as first:
            columns = first.schema_arrow.with_metadata(metadata)
        options = schema.writer_options(columns)
        size = options.pop("row_group_size")
        rows = 0
        with (
            self.reader.storage.staged(target) as temporary,
            pq.ParquetWriter(temporary, columns, **options) as writer,
        ):
            for block in self._blocks(paths, size):
                writer.write_table(block.cast(columns), row_group_size=size)
                rows += len(block)
        self._done(paths, target, rows)

    def _blocks(self, paths: Sequence[str], size: int) -> Iterator[pa.Table]:
        """Yield the rows of some parts in blocks of `size`, the last one shorter."""
        held: list[pa.Table] = []
        count = 0
        for path in paths:
            self.reader.verify(path)
            with open_part(self.reader.storage, path) as part:
                for batch in part.iter_batches(batch_size=size):
                    held.append(pa.Table.from_batches([batch]).replace_schema_metadata())
                    count += len(batch)
                    while count >= size:
                        whole = pa.concat_tables(held)
                        yield whole.slice(0, size)
                        held, count = [whole.slice(size)], count - size
        if count:
            yield pa.concat_tables(held)

    def _done(self, paths: Sequence[str], target: str, rows: int) -> None:
        expected = self.reader.manifest.rows(list(paths))
        if rows != expected:
            raise DataLossError(f"{', '.join(paths)} have {rows} rows and the manifest says {expected}.")
        self.paths.update(dict.fromkeys(paths, target))


def _renumbered(path: str, into: int) -> str:
    """Return the path of another part of the same table."""
    return f"{path.rsplit('/', 1)[0]}/{layout.part_name(into)}"
