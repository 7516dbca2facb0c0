"""Listing of the source, kept in the collection: it assigns ids, once and in order.

New images of the source are appended as further parts. A listed image keeps its id forever, and its row even after it
is deleted, so that it is not listed again by mistake. Its label, its name and its file status follow the source, in
revised parts. Parts are written in the source's order, and each but the last of a run is full. A run after a killed one
therefore continues with the very parts that the killed run would have written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter

import msgspec
import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Bools, Int64
from lookalike_indexer.collection import layout, schema, tombstones
from lookalike_indexer.collection.commands import command
from lookalike_indexer.collection.manifest import Manifest, SourceEntry
from lookalike_indexer.collection.parts import open_part, read_part, write_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.uris import absolute
from lookalike_indexer.errors import MismatchError, UsageError
from lookalike_indexer.progress import Progress
from lookalike_indexer.sources.digests import EmbeddedImages, SourceDigests
from lookalike_indexer.sources.exclusion import Exclusion
from lookalike_indexer.sources.keytable import KeyTable
from lookalike_indexer.sources.known import KnownListing
from lookalike_indexer.sources.labels import LabelTable
from lookalike_indexer.sources.renames import find_renames
from lookalike_indexer.sources.revisions import ListingChanges, revise_part
from lookalike_indexer.sources.row import Source, SourceRow
from lookalike_indexer.sources.sync import Changes, Sync, check_deletions

_SOURCE = b"lookalike.source"
_BATCH = 4096
_FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 or HEIC"


@dataclass(frozen=True)
class ListingReport:
    """The result of comparing the source with the listing.

    `parts` are all parts of the listing, `rows` their images; `new` of these were added by this run. `gone` images are
    no longer in the source, `excluded` ones now match an exclusion pattern, `unreachable` ones are below
    `unreadable_folders`, and `changed` ones hold other bytes than were embedded: all keep their embeddings. `renamed`
    images were found under another key by their digest; `relabelled` ones have another label than before.
    `without_label` counts new images without a label although a labels file is given, and `unknown_labels` the keys of
    that file that match no image of the source. `left_out` counts files of the source that are not listed, by reason.
    `revised` are the numbers of the parts that changed. `kept_out` images of the source stay deleted. The images with
    `gone_ids` and `replaced_ids` are to be deleted: they are missing from the source, or newer ids have their keys.
    `changes` are the counts of a sync run, which reports `gone`, `changed` and `excluded` as 0.
    """

    parts: list[str]
    rows: int
    new: int
    gone: int
    changed: int
    renamed: int
    relabelled: int
    without_label: int
    unknown_labels: int
    left_out: dict[str, int] = field(default_factory=dict)
    excluded: int = 0
    unreachable: int = 0
    unreadable_folders: list[str] = field(default_factory=list)
    revised: frozenset[int] = frozenset()
    kept_out: int = 0
    gone_ids: tuple[int, ...] = ()
    replaced_ids: tuple[int, ...] = ()
    changes: Changes | None = None


def update_listing(
    storage: Storage,
    source: Source,
    labels: LabelTable | None,
    part_size: int,
    progress: Progress,
    draft: Manifest | None = None,
    sync: Sync | None = None,
) -> ListingReport:
    """Update the collection's listing to the present source; new images get parts of `part_size`.

    `draft` is the newest generation, or None. With `sync`, images whose bytes changed are listed again, and the report
    lists the images to delete. Raise UsageError if the source is empty, has a duplicate key, has none of the keys of
    the labels file, or lacks more images than may be deleted; then nothing is written.
    """
    _check_duplicates(source)
    if labels:
        _check_labels(source, labels)
    parts = listed_parts(storage, source.entry, draft)
    with SourceDigests() as digests:
        listing = _Listing(storage, source, labels, parts, part_size, draft, digests, sync)
        with progress.stage("Listing", None, "images") as bar:
            for rows in _batches(source.rows()):
                listing.add(rows)
                bar.advance(len(rows))
        return listing.close()


def require_pictures(source: Source) -> None:
    """Raise UsageError if a source has no image; read it up to the first one."""
    if next(iter(source.rows()), None) is None:
        raise UsageError(_nothing(source))


def listed_parts(storage: Storage, source: SourceEntry, draft: Manifest | None) -> list[str]:
    """Return the existing parts of the listing, in order: those of the draft, then those that a killed run left.

    Parts that a run over another source, or with other patterns, left are not included.
    """
    paths = list(draft.listing) if draft else []
    numbers = {layout.part_number(path) for path in paths}
    rows = draft.rows(paths) if draft else 0
    for name in storage.list(layout.SOURCE):
        path = f"{layout.SOURCE}/{name}"
        number = layout.part_number(path)
        if not layout.is_first(path) or number <= max(numbers, default=-1):
            continue
        with open_part(storage, path) as part:
            metadata = part.schema_arrow.metadata or {}
            count = part.metadata.num_rows
        ids = read_part(storage, path, ["id"]).column("id")
        if metadata.get(_SOURCE) != listing_metadata(source)[_SOURCE] or ids[0].as_py() != rows:
            break
        paths.append(path)
        numbers.add(number)
        rows += count
    return paths


class _Listing:
    """The listing during the traversal of the source."""

    def __init__(
        self,
        storage: Storage,
        source: Source,
        labels: LabelTable | None,
        parts: list[str],
        part_size: int,
        draft: Manifest | None,
        digests: SourceDigests,
        sync: Sync | None,
    ) -> None:
        self._storage, self._source, self._labels, self._sync = storage, source, labels, sync
        self._known = KnownListing(storage, parts, tombstones.stored(storage, draft) if draft else None)
        # Images with other bytes, which a sync run lists again.
        self._replaced: Bools = np.zeros(len(self._known), np.bool_)
        self._kept_out = 0
        images = {layout.part_number(path): layout.images(layout.part_number(path)) for path in parts}
        images |= {layout.part_number(path): path for path in (draft.images if draft else [])}
        self._embedded = EmbeddedImages(storage, images)
        self._digests = digests
        self._changes = ListingChanges(len(self._known))
        self._relabeled = self._without_label = 0
        self._new: list[pa.Table] = []
        following = 1 + max((layout.part_number(path) for path in parts), default=-1)
        self._writer = _Writer(storage, source.entry, following, len(self._known), part_size)

    def add(self, rows: list[SourceRow]) -> None:
        """Process some rows of the source."""
        numbers = self._known.numbers(rows)
        given = self._labels_of(rows)
        out = self._stay_deleted(rows, numbers)
        fresh = np.flatnonzero(numbers < 0).tolist()
        self._list([rows[at] for at in fresh], [given[at] for at in fresh])
        there = np.flatnonzero((numbers >= 0) & ~out).tolist()
        if there:
            self._compare([rows[at] for at in there], [given[at] for at in there], numbers[there])

    def _stay_deleted(self, rows: list[SourceRow], numbers: Int64) -> Bools:
        """Return which rows belong to an image that stays deleted; set `numbers` to -1 for those that come back."""
        dead: Bools = np.zeros(len(rows), np.bool_)
        there = np.flatnonzero(numbers >= 0)
        dead[there] = self._known.dead[numbers[there]]
        for at in np.flatnonzero(dead).tolist():
            if self._comes_back(rows[at], int(numbers[at])):
                numbers[at], dead[at] = -1, False
        self._kept_out += int(np.count_nonzero(dead))
        return dead

    def _comes_back(self, row: SourceRow, number: int) -> bool:
        """Return whether a file of the source whose image is deleted is listed again; only a sync run may do that."""
        if self._sync is None:
            return False
        return row.key in self._sync.undelete or not self._known.unwanted[number]

    def _list(self, rows: list[SourceRow], given: list[_RowLabel]) -> None:
        """List some rows as new images."""
        if not rows:
            return
        table = _table(rows, given)
        if self._labels:
            self._without_label += table.column("label").null_count
        if len(self._known):
            # The file may be a renamed one: the missing keys are known only at the end.
            self._new.append(table)
        else:
            self._writer.add(table)

    def close(self) -> ListingReport:
        """Write the changed and the new rows; see update_listing for the errors."""
        known, images = self._known, self._known.images
        unreachable = self._unreachable(images)
        excluded = self._excluded(images & ~known.seen & ~unreachable)
        missing = images & ~known.seen & ~unreachable & ~excluded & known.of_source
        renamed = self._rename(np.flatnonzero(missing | self._replaced))
        changes, gone = None, missing & ~known.seen
        if self._sync is not None:
            gone, excluded = gone | excluded, np.zeros_like(excluded)
            changes = self._changes_of(gone, renamed, unreachable)
            check_deletions(
                self._sync,
                self._source.entry.uri,
                int(gone.sum()),
                int(images.sum()),
                int(images.sum()) - int(gone.sum()) + changes.new,
            )
            if self._sync.dry_run:
                return ListingReport(list(known.paths), len(known), 0, 0, 0, 0, 0, 0, 0, changes=changes)
        for table in self._new:
            self._writer.add(table)
        self._writer.close()
        if not self._writer.rows:
            raise UsageError(_nothing(self._source))
        parts, revised = self._revise()
        replaced = (self._replaced | known.superseded) & ~known.dead
        return ListingReport(
            parts=parts + self._writer.parts,
            rows=self._writer.rows,
            new=self._writer.rows - len(known),
            gone=0 if self._sync else int(gone.sum()),
            changed=0 if self._sync else int((known.changed & known.seen).sum()),
            renamed=renamed,
            relabelled=self._relabeled,
            without_label=self._without_label,
            unknown_labels=self._labels.unknown if self._labels else 0,
            left_out=dict(self._source.left_out),
            excluded=int(excluded.sum()),
            unreachable=int(unreachable.sum()),
            unreadable_folders=list(self._source.unreadable_folders),
            revised=revised,
            kept_out=self._kept_out,
            gone_ids=tuple(np.flatnonzero(gone).tolist()) if self._sync else (),
            replaced_ids=tuple(np.flatnonzero(replaced).tolist()),
            changes=changes,
        )

    def _changes_of(self, gone: Bools, renamed: int, unreachable: Bools) -> Changes:
        """Return the counts of a sync run; some new rows may have turned out to be renamed."""
        changed = int(self._replaced.sum())
        return Changes(
            new=sum(map(len, self._new)) - changed,
            changed=changed,
            renamed=renamed,
            deleted=int(gone.sum()),
            relabelled=self._relabeled,
            kept_out=self._kept_out,
            unreachable=int(unreachable.sum()),
        )

    def _labels_of(self, rows: Sequence[SourceRow]) -> list[_RowLabel]:
        """Return the label of each row from the labels file, or else from the source."""
        if self._labels is None:
            return [_RowLabel(row.label, False) for row in rows]
        texts, found = self._labels.look_up([row.key for row in rows])
        return [
            _RowLabel(text, True) if is_there else _RowLabel(row.label, False)
            for row, text, is_there in zip(rows, texts, found.tolist(), strict=True)
        ]

    def _compare(self, rows: list[SourceRow], given: list[_RowLabel], numbers: Int64) -> None:
        """Record the changes of listed rows."""
        for at in np.flatnonzero(self._known.touched(rows, numbers)).tolist():
            self._check_changed(rows[at], int(numbers[at]))
        if self._sync is not None:
            changed = self._known.changed[numbers]
            self._replaced[numbers[changed]] = True
            other = np.flatnonzero(changed).tolist()
            self._list([rows[each] for each in other], [given[each] for each in other])
            kept = np.flatnonzero(~changed).tolist()
            rows, given, numbers = [rows[each] for each in kept], [given[each] for each in kept], numbers[kept]
        before = self._known.labels.of(numbers)
        own = self._known.source_labels.of(numbers)
        if [one.label for one in given] == before and [row.label for row in rows] == own:
            return
        for row, one, label, source_label, number in zip(rows, given, before, own, numbers.tolist(), strict=True):
            self._label(number, row, one, label, source_label)

    def _label(
        self, number: int, row: SourceRow, given: _RowLabel, before: str | None, source_label: str | None
    ) -> None:
        """Record a changed label: the labels file decides, then the source if its own label has changed.

        If the file's bytes changed, the source's label is not the label of the embedded image.
        """
        if self._known.changed[number] and not given.is_from_file:
            return
        is_known = bool(self._known.knows_source_label[number])
        label = before
        if given.is_from_file or (is_known and source_label != row.label and before == source_label):
            label = given.label
        if is_known and source_label != row.label:
            self._changes.set(number, {"source_label": row.label})
        if label != before:
            self._relabeled += 1
            self._changes.set(number, {"label": label, "source_label": row.label})

    def _check_changed(self, row: SourceRow, number: int) -> None:
        """Check a file whose size or time changed: whether its bytes differ from those that were embedded."""
        path = self._known.paths[self._known.locate(number)[0]]
        image = self._embedded.of_part(layout.part_number(path)).get(number)
        now = self._digests.digest(absolute(self._source.entry, row.uri)) if image else None
        if image and now is None:
            return  # It cannot be read at the moment, so nothing is known of its bytes.
        changed = now if image and now != image.sha256 else None
        self._known.changed[number] = changed is not None
        self._changes.touch(number, row.bytes, row.modified_ns, changed)

    def _unreachable(self, images: Bools) -> Bools:
        """Return for each listed row whether its file may be in a folder or shard that cannot be read now."""
        found: Bools = np.zeros(len(self._known), np.bool_)
        folders = tuple(f"{folder}/" for folder in self._source.unreadable_folders)
        if folders:
            found[:] = [key.startswith(folders) for key in self._keys()]
        return found & images & ~self._known.seen

    def _excluded(self, missing: Bools) -> Bools:
        """Return for each listed row that is `missing` whether a pattern excludes it now."""
        if not missing.any():
            return missing
        exclusion = Exclusion(self._source.entry.exclude)
        found: Bools = np.zeros(len(self._known), np.bool_)
        found[:] = [
            is_missing and exclusion.excludes_member(key)
            for key, is_missing in zip(self._keys(), missing.tolist(), strict=True)
        ]
        return found

    def _keys(self) -> Iterator[str]:
        """Yield the keys of the listed rows, in order."""
        for path in self._known.paths:
            yield from read_part(self._storage, path, ["key"])["key"].to_pylist()

    def _rename(self, gone: Int64) -> int:
        """Give missing or changed images the keys of new files with the same bytes; return their number."""
        if not len(gone) or not self._new:
            return 0
        places = ((number, self._known.locate(number)[0]) for number in gone.tolist())
        images = (
            (number, self._embedded.of_part(layout.part_number(self._known.paths[position])).get(number))
            for number, position in places
        )
        renames = find_renames(self._source.entry, images, self._new, self._digests)
        for number, row in renames.found.items():
            self._known.seen[number], self._known.changed[number], self._replaced[number] = True, False, False
            label, own = (each.of(np.array([number]))[0] for each in (self._known.labels, self._known.source_labels))
            # A label from a labels file, not from the source, stays with the image.
            kept = label if label != own else row["label"]
            self._relabeled += kept != label
            self._changes.set(number, {**row, "label": kept, "changed_sha256": None})
        self._new = renames.new
        return len(renames.found)

    def _revise(self) -> tuple[list[str], frozenset[int]]:
        """Write the changed parts; return the paths of all known parts, and the numbers of the revised ones."""
        parts = list(self._known.paths)
        metadata = listing_metadata(self._source.entry)
        places = ((*self._known.locate(number), number) for number in self._changes.numbers())
        # Part by part, so that only one part's changes are in memory as dictionaries.
        for position, group in groupby(places, key=itemgetter(0)):
            changes = {row: self._changes.of(number) for _, row, number in group}
            parts[position] = revise_part(self._storage, parts[position], changes, metadata)
        revised = (position for position, path in enumerate(parts) if path != self._known.paths[position])
        return parts, frozenset(layout.part_number(parts[position]) for position in revised)


@dataclass(frozen=True)
class _RowLabel:
    """A label, and whether it comes from the labels file."""

    label: str | None
    is_from_file: bool


class _Writer:
    """Writer that appends new rows in full parts."""

    def __init__(self, storage: Storage, entry: SourceEntry, following: int, rows: int, part_size: int) -> None:
        self._storage, self._following, self._part_size = storage, following, part_size
        self._schema = schema.SOURCE.with_metadata(listing_metadata(entry))
        self._pending: list[pa.Table] = []
        self._waiting = 0
        self.parts: list[str] = []
        self.rows = rows

    def add(self, table: pa.Table) -> None:
        self._pending.append(table)
        self._waiting += len(table)
        while self._waiting >= self._part_size:
            self._write(self._part_size)

    def close(self) -> None:
        if self._waiting:
            self._write(self._waiting)

    def _write(self, count: int) -> None:
        whole = pa.concat_tables(self._pending)
        table, rest = whole.slice(0, count), whole.slice(count)
        self._pending, self._waiting = [rest] if len(rest) else [], len(rest)
        ids = pa.array(np.arange(self.rows, self.rows + len(table)))
        table = table.add_column(0, pa.field("id", pa.int64(), nullable=False), ids).cast(self._schema)
        path = layout.source(self._following + len(self.parts))
        write_part(self._storage, path, table)
        self.parts.append(path)
        self.rows += len(table)


def _table(rows: Sequence[SourceRow], given: Sequence[_RowLabel]) -> pa.Table:
    """Return a table of new rows, without ids."""
    columns = {
        "key": [row.key for row in rows],
        "label": [one.label for one in given],
        "uri": [row.uri for row in rows],
        "bytes": [row.bytes for row in rows],
        "modified_ns": [row.modified_ns for row in rows],
        "source_label": [row.label for row in rows],
        "changed_sha256": [None] * len(rows),
    }
    return pa.table(columns, schema.SOURCE.remove(0))


def listing_metadata(entry: SourceEntry) -> dict[bytes, bytes]:
    """Return the metadata of a listing part that identify its source. A run with other patterns lists other files."""
    patterns = {"exclude": entry.exclude} if entry.exclude else {}
    return {_SOURCE: msgspec.json.encode({"kind": entry.kind, "uri": entry.uri, **patterns})}


def _batches(rows: Iterator[SourceRow]) -> Iterator[list[SourceRow]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _nothing(source: Source) -> str:
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in sorted(source.left_out.items()))
    return f"{source.entry.uri} has no images ({_FORMATS})" + (f"; left out: {left_out}." if left_out else ".")


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
            "give every image a unique key."
        )


def _check_labels(source: Source, labels: LabelTable) -> None:
    """Raise UsageError if no key of the labels file matches an image; read the source up to the first match."""
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


def check_same_source(storage: Storage, before: SourceEntry, now: SourceEntry) -> None:
    """Raise MismatchError, with both names, unless the collection was made from this source."""
    if (before.kind, before.uri) == (now.kind, now.uri):
        return
    made = f"The collection {storage.location} was made from the {before.kind} {before.uri}"
    if before.uri == now.uri and (before.kind, now.kind) == ("shards", "directory"):
        raise MismatchError(
            f"{made}, which has images beside its Parquet, tar and zip files now; take them out, or leave them out "
            "with --exclude."
        )
    raise MismatchError(
        f"{made}, not from the {now.kind} {now.uri}; name that source again, or give another --collection. If it has "
        f"moved there, run: {command('relocate', storage.location, now.uri)}"
    )
