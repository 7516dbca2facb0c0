"""The listing of the source that the collection keeps: ids are given here, once and in order.

What is new in the source is appended as further parts; nothing that was
listed is ever changed. Parts are written in the source's order and each but
the last of a run is full, so that a killed run's listing is continued with
the very parts that it would have written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.collection import layout, schema, uris
from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.collection.parts import open_part, read_part, write_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import MismatchError, UsageError
from lookalike_indexer.progress import Progress
from lookalike_indexer.sources.keytable import KeyTable
from lookalike_indexer.sources.labels import Labels
from lookalike_indexer.sources.row import Source, SourceRow

_SOURCE = b"lookalike.source"
_BATCH = 4096


@dataclass(frozen=True)
class ListingReport:
    """What a look at the source found.

    `parts` are all parts of the listing, `rows` their images; `new` of these
    were added now. `gone` images are no longer in the source and `changed`
    ones have another size or time: both are kept as they were embedded.
    `without_label` counts among the new ones; `unknown_labels` are keys of the
    labels file that name no image of the source.
    """

    parts: list[str]
    rows: int
    new: int
    gone: int
    changed: int
    without_label: int
    unknown_labels: int


def update_listing(
    storage: Storage, source: Source, labels: Labels | None, part_size: int, progress: Progress
) -> ListingReport:
    """Append what is new in a source to the collection's listing, in parts of `part_size` images.

    MismatchError: the listing is of another source. UsageError: the source is
    empty, or has a key twice; or no key of the labels file is one of its keys.
    """
    _check_duplicates(source)
    if labels:
        _check_labels(source, labels)
    known = _Known(storage, source.entry)
    writer = _Writer(storage, source.entry, len(known.parts), known.rows, part_size)
    without_label = 0
    with progress.stage("Listing", None, "images") as bar:
        for rows in _batches(source.rows()):
            is_new = known.is_new(rows)
            if labels:
                # Known rows are looked up too, so that the file's keys that name no image can be told.
                given, found = labels.look_up([row.key for row in rows])
                rows = [
                    dataclasses.replace(row, label=label) if mentioned else row
                    for row, label, mentioned in zip(rows, given, found.tolist(), strict=True)
                ]
            new = [row for row, fresh in zip(rows, is_new, strict=True) if fresh]
            if labels:
                without_label += sum(row.label is None for row in new)
            writer.add(new)
            bar.advance(len(rows))
    writer.close()
    if not writer.rows:
        raise UsageError(f"{source.entry.uri} has no pictures (JPEG, PNG, WebP, GIF, BMP or TIFF).")
    return ListingReport(
        parts=[layout.source(part) for part in range(writer.part)],
        rows=writer.rows,
        new=writer.rows - known.rows,
        gone=known.gone,
        changed=known.changed,
        without_label=without_label,
        unknown_labels=labels.unknown if labels else 0,
    )


def listed_parts(storage: Storage) -> list[str]:
    """The parts of the listing so far, in order."""
    return [f"{layout.SOURCE}/{name}" for name in storage.list(layout.SOURCE) if name.endswith(".parquet")]


class _Known:
    """What the listing had before: 32 bytes for each image."""

    def __init__(self, storage: Storage, entry: SourceEntry) -> None:
        self.parts = listed_parts(storage)
        for part in self.parts[:1]:
            _check_source(storage, part, entry)
        stamps = [_stamps(read_part(storage, part, ["bytes", "modified_ns"])) for part in self.parts]
        self._stamps = np.concatenate(stamps) if stamps else np.empty(0, np.uint64)
        self._keys = KeyTable(
            key for part in self.parts for key in read_part(storage, part, ["key"]).column("key").to_pylist()
        )
        self._seen: npt.NDArray[np.bool_] = np.zeros(len(self._keys), bool)
        self.rows = len(self._keys)
        self.changed = 0

    def is_new(self, rows: list[SourceRow]) -> npt.NDArray[np.bool_]:
        """Whether each row was not listed before; those that were are checked for changes."""
        numbers = self._keys.find([row.key for row in rows])
        found = numbers >= 0
        self._seen[numbers[found]] = True
        now = _stamps(_table(rows, 0))
        self.changed += int((now[found] != self._stamps[numbers[found]]).sum())
        return ~found

    @property
    def gone(self) -> int:
        return int((~self._seen).sum())


class _Writer:
    def __init__(self, storage: Storage, entry: SourceEntry, part: int, rows: int, part_size: int) -> None:
        self._storage, self._entry, self._part_size = storage, entry, part_size
        self._schema = schema.SOURCE.with_metadata({_SOURCE: msgspec.json.encode(entry, order="sorted")})
        self._pending: list[SourceRow] = []
        self.part, self.rows = part, rows

    def add(self, rows: list[SourceRow]) -> None:
        self._pending += rows
        while len(self._pending) >= self._part_size:
            self._write(self._pending[: self._part_size])
            del self._pending[: self._part_size]

    def close(self) -> None:
        if self._pending:
            self._write(self._pending)
            self._pending = []

    def _write(self, rows: list[SourceRow]) -> None:
        rows = [dataclasses.replace(row, uri=uris.absolute(self._entry, row.uri)) for row in rows]
        table = _table(rows, self.rows).cast(self._schema)
        write_part(self._storage, layout.source(self.part), table)
        self.part += 1
        self.rows += len(rows)


def _table(rows: list[SourceRow], first_id: int) -> pa.Table:
    columns = {
        "id": np.arange(first_id, first_id + len(rows)),
        "key": [row.key for row in rows],
        "label": [row.label for row in rows],
        "uri": [row.uri for row in rows],
        "bytes": [row.bytes for row in rows],
        "modified_ns": [row.modified_ns for row in rows],
    }
    return pa.table(columns, schema.SOURCE)


def _stamps(table: pa.Table) -> npt.NDArray[np.uint64]:
    """Size and time as one number for each row; the multiplier is an odd constant that spreads sizes."""
    sizes = table.column("bytes").to_numpy().astype(np.uint64)
    times = table.column("modified_ns").to_numpy().astype(np.uint64)
    mixed: npt.NDArray[np.uint64] = (sizes * np.uint64(0x9E3779B97F4A7C15)) ^ times
    return mixed


def _batches(rows: Iterator[SourceRow]) -> Iterator[list[SourceRow]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _check_duplicates(source: Source) -> None:
    keys = source.keys()
    if keys is None:
        return
    twice = KeyTable(keys).first_duplicate()
    if twice:
        again = source.keys()
        key = next(islice(again, twice[1], None)) if again else ""
        raise UsageError(
            f"{source.entry.uri} has the key {key!r} twice (rows {twice[0] + 1} and {twice[1] + 1}); "
            "every image needs a key of its own."
        )


def _check_labels(source: Source, labels: Labels) -> None:
    """UsageError when no key of the labels file names an image; reads the source up to the first that one names."""
    first = ""
    for rows in _batches(source.rows()):
        first = first or rows[0].key
        labels.look_up([row.key for row in rows])
        if labels.used:
            return
    if first and labels.example:
        raise UsageError(
            f"No key of the labels file names an image of {source.entry.uri}: the file has, for example, "
            f"{labels.example!r}, and the source {first!r}; write the keys as the source does."
        )


def _check_source(storage: Storage, part: str, entry: SourceEntry) -> None:
    with open_part(storage, part) as file:
        metadata = file.schema_arrow.metadata or {}
    if _SOURCE in metadata:
        check_same_source(storage, msgspec.json.decode(metadata[_SOURCE], type=SourceEntry), entry)


def check_same_source(storage: Storage, before: SourceEntry, now: SourceEntry) -> None:
    """MismatchError, naming both, unless the collection was made from this very source."""
    if (before.kind, before.uri) != (now.kind, now.uri):
        raise MismatchError(
            f"The collection {storage.root} was made from the {before.kind} {before.uri}, not from the {now.kind} "
            f"{now.uri}; name that source again, or give another --collection."
        )
