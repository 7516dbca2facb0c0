"""The collection's listing before this run, in about 54 bytes for each image, whatever the length of its key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Bools, Int64
from lookalike_indexer.collection import schema
from lookalike_indexer.collection.parts import open_part, read_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.sources.keytable import KeyTable
from lookalike_indexer.sources.row import SourceRow

_COLUMNS = ["label", "source_label", "bytes", "modified_ns", "changed_sha256"]


@dataclass(frozen=True)
class Labels:
    """A dictionary-encoded column of labels: a code for each row, -1 for none, and the label of each code."""

    codes: npt.NDArray[np.int32]
    names: list[str]

    def of(self, rows: Int64) -> list[str | None]:
        return [self.names[code] if code >= 0 else None for code in self.codes[rows].tolist()]


class KnownListing:
    """The rows of the listing, numbered in its order; the numbers are the ids.

    If a key has several rows, it means the newest. `tombstones` are those of the generation, schema.TOMBSTONES.
    """

    def __init__(self, storage: Storage, paths: Sequence[str], tombstones: pa.Table | None = None) -> None:
        self.paths = list(paths)
        tables = [read_part(storage, path, _COLUMNS) for path in paths]
        table = pa.concat_tables(tables) if tables else None
        self._stamps = stamps(table) if table else np.empty(0, np.uint64)
        self.of_source: Bools = np.ones(len(table) if table else 0, np.bool_)
        if table:
            self.of_source &= table.column("modified_ns").to_numpy() != schema.NOT_OF_SOURCE
        self.labels = _labels(table, "label")
        self.source_labels = _labels(table, "source_label")
        self.changed: Bools = np.zeros(len(table) if table else 0, np.bool_)
        if table:
            self.changed |= table.column("changed_sha256").is_valid().to_numpy()
        self.starts: Int64 = np.cumsum([0, *(len(one) for one in tables)])
        # Parts of earlier releases do not contain the source's own label.
        own = [_has_source_label(storage, path) for path in paths]
        self.knows_source_label: Bools = np.repeat(np.array(own, np.bool_), np.diff(self.starts))
        del tables, table
        self._keys = KeyTable(
            key for path in paths for key in read_part(storage, path, ["key"]).column("key").to_pylist()
        )
        self.seen: Bools = np.zeros(len(self._keys), np.bool_)
        self.dead: Bools = np.zeros(len(self._keys), np.bool_)
        # Images that a user deleted: the source does not bring them back.
        self.unwanted: Bools = np.zeros(len(self._keys), np.bool_)
        if tombstones is not None and len(tombstones):
            ids = tombstones.column("id").to_numpy()
            self.dead[ids] = True
            self.unwanted[ids] = pc.equal(tombstones.column("reason"), "deleted").to_numpy()
        self._again = self._keys.duplicates()
        self._newest: Int64 | None = self._newest_rows() if len(self._again) else None

    def __len__(self) -> int:
        return len(self._keys)

    def _newest_rows(self) -> Int64:
        """Return for each row the newest row with the same key."""
        newest = np.arange(len(self._keys), dtype=np.int64)
        for before, after in self._again[np.argsort(-self._again[:, 1])].tolist():
            newest[before] = newest[after]
        return newest

    @property
    def superseded(self) -> Bools:
        """Of each row whether a newer one has its key, including rows that a killed run left."""
        found: Bools = np.zeros(len(self), np.bool_)
        found[self._again[:, 0]] = True
        return found

    @property
    def images(self) -> Bools:
        """Of each row whether it is an image of the collection: not deleted, and the newest of its key."""
        return ~self.dead & ~self.superseded

    def numbers(self, rows: Sequence[SourceRow]) -> Int64:
        """Return the number of each row of the source in the listing, -1 if it is new; mark them as seen."""
        numbers = self._keys.find([row.key for row in rows])
        if self._newest is not None:
            numbers = np.where(numbers >= 0, self._newest[numbers], -1)
        self.seen[numbers[numbers >= 0]] = True
        return numbers

    def touched(self, rows: Sequence[SourceRow], numbers: Int64) -> Bools:
        """Return for each listed row whether the size or time of its file changed."""
        sizes, times = np.array([(row.bytes, row.modified_ns) for row in rows], np.int64).T.astype(np.uint64)
        changed: Bools = _mixed(sizes, times) != self._stamps[numbers]
        return changed

    def locate(self, number: int) -> tuple[int, int]:
        """Return the position of the part that holds a row, and its row there."""
        position = int(np.searchsorted(self.starts, number, side="right")) - 1
        return position, number - int(self.starts[position])


def stamps(table: pa.Table) -> npt.NDArray[np.uint64]:
    """Return size and time of the file of each row, mixed into one number."""
    sizes = table.column("bytes").to_numpy().astype(np.uint64)
    return _mixed(sizes, table.column("modified_ns").to_numpy().astype(np.uint64))


def _mixed(sizes: npt.NDArray[np.uint64], times: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    # An odd constant that spreads sizes over all bits.
    mixed: npt.NDArray[np.uint64] = (sizes * np.uint64(0x9E3779B97F4A7C15)) ^ times
    return mixed


def _labels(table: pa.Table | None, column: str) -> Labels:
    if table is None:
        return Labels(np.empty(0, np.int32), [])
    coded = table.column(column).combine_chunks().dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return Labels(codes, coded.dictionary.to_pylist())


def _has_source_label(storage: Storage, path: str) -> bool:
    with open_part(storage, path) as part:
        return "source_label" in part.schema_arrow.names
