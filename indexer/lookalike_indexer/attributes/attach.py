"""Attachment of a user's table: its rows are joined with the images by key. Embeds nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.arrays import Int64
from lookalike_indexer.attributes.buckets import Buckets
from lookalike_indexer.attributes.images import Images
from lookalike_indexer.attributes.labels import LabelChanges
from lookalike_indexer.attributes.summary import Summary
from lookalike_indexer.attributes.table import LABEL, TableColumns, UserTable, open_table
from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.manifest import AttributeColumn, AttributesEntry, Manifest
from lookalike_indexer.collection.parts import write_part
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import UsageError
from lookalike_indexer.progress import Progress


@dataclass(frozen=True)
class Attached:
    """The result of attaching the table `table`, "" if it had only labels.

    `rows` rows of the user's table match an image each, `unmatched` match none, such as `example` ("" if there is
    none). `without` images have no row. `relabelled` images have another label now.
    """

    table: str
    columns: list[AttributeColumn]
    rows: int
    unmatched: int
    example: str
    without: int
    relabelled: int


def attach(
    storage: Storage, draft: Manifest, path: Path, name: str, wanted: TableColumns, progress: Progress
) -> tuple[Manifest, Attached]:
    """Return the completed draft with a user's table attached as the attribute table `name`; publish nothing.

    A table of that name is replaced. The values of a column `label` correct the labels of the images: null keeps a
    label, an empty value removes it. The caller holds the collection's lock. Raise UsageError if the table cannot be
    read, has a duplicate or missing key, has no key of an image, or has a column with an unsupported name or type.
    Raise NotFoundError if the file does not exist.
    """
    layout.checked_name(name, "attribute table")
    table = open_table(path, wanted)
    _check_columns(draft, name, table)
    images = Images.read(storage, draft)
    with Buckets(storage.scratch, images.ends, path.stat().st_size) as buckets:
        joined = _Joined(images, table)
        with progress.stage("Joining", None, "rows") as bar:
            for rows, columns in joined.batches():
                buckets.add(rows, columns)
                bar.advance(len(rows))
        joined.check()
        entry, labels = _written(storage, draft, name, table, images, buckets, joined, progress)
    others = {each: one for each, one in draft.attributes.items() if each != name}
    after = dataclasses.replace(draft, attributes={**others, name: entry} if entry.columns else draft.attributes)
    after = labels.applied(after)
    done = Attached(
        name if entry.columns else "",
        entry.columns,
        joined.matched,
        joined.unmatched,
        joined.example,
        len(images) - joined.matched,
        labels.count,
    )
    return generations.complete(storage, after), done


def _check_columns(draft: Manifest, name: str, table: UserTable) -> None:
    """Raise UsageError if another attribute table has a column of the same name."""
    for other, entry in draft.attributes.items():
        for column in entry.columns:
            if other != name and column.name in table.kinds:
                raise UsageError(
                    f"The attribute table {other!r} has a column {column.name!r} as well; rename one of them, attach "
                    f"the table with --name {other} to replace that one, or choose columns with --columns."
                )


class _Joined:
    """The rows of a user's table while they are joined with the images."""

    def __init__(self, images: Images, table: UserTable) -> None:
        self._images, self._table = images, table
        self._seen: npt.NDArray[np.bool_] = np.zeros(len(images), np.bool_)
        self._read = 0
        self.matched = self.unmatched = 0
        self.example = ""

    def batches(self) -> Iterator[tuple[Int64, pa.Table]]:
        """Yield the image row of each row that matches an image, and its columns."""
        for batch in self._table.batches():
            keys = batch.column(0).to_pylist()
            self._check_keys(keys)
            rows = self._images.rows(keys)
            there = np.flatnonzero(rows >= 0)
            self._take(rows[there], [keys[at] for at in there.tolist()])
            if len(there) < len(rows):
                self.unmatched += len(rows) - len(there)
                self.example = self.example or keys[int(np.flatnonzero(rows < 0)[0])]
            self._read += len(keys)
            yield rows[there], batch.select(list(self._table.kinds)).take(pa.array(there))

    def check(self) -> None:
        """Raise UsageError if no row matches an image."""
        if not self._read:
            raise UsageError(f"The table {self._table.path} has no rows.")
        if not self.matched:
            there = self._images.key(0) if len(self._images) else ""
            raise UsageError(
                f"No key of {self._table.path} names an image: its column {self._table.key!r} has keys such as "
                f"{self.example!r}, and the collection has keys such as {there!r}; name another column with --key."
            )

    def _check_keys(self, keys: list[str | None]) -> None:
        for at, key in enumerate(keys):
            if not key:
                raise UsageError(
                    f"Row {self._read + at + 1} of {self._table.path} has no key in its column {self._table.key!r}."
                )

    def _take(self, rows: Int64, keys: list[str]) -> None:
        ordered = np.sort(rows)
        repeats = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist()) | set(rows[self._seen[rows]].tolist())
        if repeats:
            key = next(key for row, key in zip(rows.tolist(), keys, strict=True) if row in repeats)
            raise UsageError(
                f"The table {self._table.path} has two rows for the image {self._images.key(min(repeats))!r}, one of "
                f"them with the key {key!r}; keep one of the two."
            )
        self._seen[rows] = True
        self.matched += len(rows)


def _written(
    storage: Storage,
    draft: Manifest,
    name: str,
    table: UserTable,
    images: Images,
    buckets: Buckets,
    joined: _Joined,
    progress: Progress,
) -> tuple[AttributesEntry, LabelChanges]:
    """Write the parts of an attribute table, and those of the listing and the images if labels change."""
    kinds = {column: kind for column, kind in table.kinds.items() if column != LABEL}
    columns = schema.attributes(kinds.items())
    digest = digest_of([Storage(table.path.parent).digest(table.path.name), table.key, table.kinds, images.identity])
    summary, labels, parts = Summary(kinds), LabelChanges(storage, draft), []
    every = pa.schema([pa.field(column, schema.ATTRIBUTE_TYPES[kind]) for column, kind in table.kinds.items()])
    with progress.stage("Writing", len(draft.images), "parts") as bar:
        for part, rows, found in buckets.parts(every):
            ids = images.ids(part)
            if LABEL in table.kinds:
                labels.add(part, ids[rows], found.column(LABEL))
            if kinds:
                path = layout.attributes(name, digest, layout.part_number(draft.images[part]))
                whole = _aligned(ids, rows, found.select(list(kinds)), columns)
                # The part's name is the digest of all its inputs.
                if not storage.exists(path):
                    write_part(storage, path, whole)
                summary.add(whole)
                parts.append(path)
            bar.advance()
    return AttributesEntry(summary.columns, joined.matched, parts, digest), labels


def _aligned(ids: Int64, rows: Int64, found: pa.Table, columns: pa.Schema) -> pa.Table:
    """Return a row for each id of a part; ids without a row get null values."""
    places = np.full(len(ids), -1, np.int64)
    places[rows] = np.arange(len(rows))
    taken = found.take(pa.array(places, mask=places < 0))
    return pa.table([pa.array(ids), *taken.columns], schema=columns)
