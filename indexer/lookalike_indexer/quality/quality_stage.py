"""Quality stage: measures the images of a collection, part by part, and stores measures and flags as attributes."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lookalike_indexer.attributes.summary import Summary
from lookalike_indexer.collection import generations, layout, schema, uploaded_images
from lookalike_indexer.collection.commands import unreadable_images
from lookalike_indexer.collection.manifest import AttributesEntry, Manifest
from lookalike_indexer.collection.parts import read_part, write_part
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.uri_column import absolute_column
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.progress import Bar, Progress
from lookalike_indexer.quality.flags import COLUMNS, FLAGS, HASH, MEASURES, TABLE, VERSION
from lookalike_indexer.quality.measure_pool import MeasurePool
from lookalike_indexer.quality.measures import Measures

_ABOUT = ["id", "key", "uri", "sha256", "width", "height"]


@dataclass(frozen=True)
class QualityReport:
    """The counts of the stage: images `measured` now, `known` from before, and `unreadable`, which have no measures."""

    measured: int
    known: int
    unreadable: int


def run_quality(storage: Storage, draft: Manifest, workers: int, progress: Progress) -> tuple[Manifest, QualityReport]:
    """Measure the images of a completed draft, and return it with the attribute table; publish nothing.

    A part whose images an earlier run measured is reused, unless some of them could not be read. Raise UsageError if
    another attribute table has a column of the same name. Raise NotBuiltError if there are no images, or none is
    readable.
    """
    _check_columns(draft)
    rows = draft.rows(draft.images)
    if not rows:
        raise NotBuiltError("The collection has no images to measure; index a source with readable images.")
    summary, parts, digests = Summary(COLUMNS), [], []
    measured = known = unreadable = 0
    with MeasurePool(workers, draft.limits) as pool, progress.stage("Measuring", rows, "image") as bar:
        for path in draft.images:
            images = read_part(storage, path, _ABOUT)
            digest, number = _digest(images), layout.part_number(path)
            target = layout.attributes(TABLE, digest, number)
            if storage.exists(target):
                table = read_part(storage, target, ["id", *COLUMNS])
                known += images.num_rows
                bar.advance(images.num_rows)
            else:
                uris = _uris(storage, draft, images)
                table, gone = _measured(images, uris, pool, bar)
                measured += images.num_rows - len(gone)
                unreadable += len(gone)
                if gone:
                    # Under a separate name, so that the next run tries again.
                    digest = digest_of([digest, gone])
                    target = layout.attributes(TABLE, digest, number)
                if not storage.exists(target):
                    write_part(storage, target, table)
            summary.add(table)
            parts.append(target)
            digests.append(digest)
    if unreadable == rows:
        raise NotBuiltError(unreadable_images(storage.location, draft.source.uri, unreadable, rows))
    entry = AttributesEntry(summary.columns, rows - unreadable, parts, digest_of([VERSION, digests]))
    attributes = {**draft.attributes, TABLE: entry}
    after = generations.complete(storage, dataclasses.replace(draft, attributes=attributes))
    return after, QualityReport(measured, known, unreadable)


def _uris(storage: Storage, draft: Manifest, images: pa.Table) -> list[str]:
    found: list[str] = absolute_column(
        draft.source, images.column("uri"), images.column("key"), uploaded_images.folder(storage)
    ).to_pylist()
    return found


def _check_columns(draft: Manifest) -> None:
    for name, entry in draft.attributes.items():
        for column in entry.columns:
            if name != TABLE and column.name in COLUMNS:
                raise UsageError(
                    f"The attribute table {name!r} has a column {column.name!r} as well; attach it under another name."
                )


def _digest(images: pa.Table) -> str:
    """Return the digest of the images and the rules: equal if a part need not be measured again."""
    found = hashlib.sha256(images.column("id").to_numpy().astype("<i8").tobytes())
    for column in ("width", "height"):
        found.update(images.column(column).to_numpy().astype("<i8").tobytes())
    for key, digest in zip(images.column("key").to_pylist(), images.column("sha256").to_pylist(), strict=True):
        found.update(f"{key}\0{digest}\n".encode())
    return digest_of([VERSION, found.hexdigest()])


def _measured(images: pa.Table, uris: list[str], pool: MeasurePool, bar: Bar) -> tuple[pa.Table, list[int]]:
    """Return the measures and flags of the images of a part, and the ids of the unreadable ones."""
    found: list[Measures | None] = []
    for one in pool.measure(uris):
        found.append(one)
        bar.advance(1)
    sizes = zip(images.column("width").to_pylist(), images.column("height").to_pylist(), strict=True)
    columns: dict[str, list[float | int | bool | None]] = {name: [] for name in COLUMNS}
    for one, (width, height) in zip(found, sizes, strict=True):
        for name in (*MEASURES, HASH):
            columns[name].append(None if one is None else getattr(one, name))
        for name, flag in FLAGS.items():
            columns[name].append(None if one is None else flag.holds(one, width, height))
    ids = images.column("id").to_numpy()
    kind = schema.attributes(COLUMNS.items())
    arrays = [pa.array(columns[name], kind.field(name).type) for name in COLUMNS]
    gone = ids[np.array([one is None for one in found], np.bool_)]
    return pa.table([pa.array(ids), *arrays], schema=kind), gone.tolist()
