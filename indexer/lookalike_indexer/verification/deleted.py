"""Search for remains of a deleted image in the files of a collection.

Every file is searched, even if no generation refers to it: the ids of each table, the texts of each table and manifest,
the neighbors of each graph, and the parts that each index was filled from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Int64
from lookalike_indexer.collection import changelog, generations, layout, uploaded_images
from lookalike_indexer.collection.commands import command
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.parts import open_part, read_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.tombstones import contains, deleted_ids
from lookalike_indexer.errors import NotFoundError, UsageError

_BATCH = 1 << 16


@dataclass(frozen=True)
class Remains:
    """The files that contain remains of the image, and the command that removes them; both empty if there are none."""

    ids: list[int]
    files: list[str]
    mend: str


def remains_of(storage: Storage, key: str) -> Remains:
    """Return the remains of all deleted images that had a key.

    The listing keeps the key, so that the image is not listed again by mistake; that does not count. Raise
    NotFoundError if no image ever had the key. Raise UsageError if an image that is not deleted has it. Raise
    DataLossError if a file cannot be read.
    """
    newest = generations.require_latest(storage)
    ids = _ids_of(storage, newest, key)
    if not len(ids):
        raise NotFoundError(f"No image of the collection {storage.location} ever had the key {key!r}.")
    dead = ids[contains(deleted_ids(storage, newest), ids)]
    if len(dead) < len(ids):
        if not len(dead):
            delete = command("remove", storage.location, "--image", key)
            raise UsageError(f"The image {key!r} is not deleted; delete it with: {delete}")
        # Only its older versions are deleted: search for their ids, because the key belongs to the newest.
        key = ""
    files = sorted(
        {*_tables(storage, dead, key), *_manifests(storage, key), *_indexes(storage, dead), *_pictures(storage, newest)}
    )
    if not files:
        return Remains(dead.tolist(), [], "")
    named = {*newest.files, layout.generation(newest.generation)}
    older = command("gc", storage.location, "--keep", "1")
    purge = command("compact", storage.location, "--purge")
    return Remains(dead.tolist(), files, f"{purge} && {older}" if named.intersection(files) else older)


def _ids_of(storage: Storage, manifest: Manifest, key: str) -> Int64:
    """Return all ids that ever had a key."""
    found = [np.empty(0, np.int64)]
    for path in manifest.listing:
        table = read_part(storage, path, ["id", "key"])
        found.append(table.filter(pc.equal(table.column("key"), key)).column("id").to_numpy())
    return np.concatenate(found)


def _tables(storage: Storage, ids: Int64, key: str) -> Iterator[str]:
    """Yield tables that contain one of the ids, or the key unless it is "", and log segments with the key."""
    for path in storage.walk():
        if path.startswith(f"{changelog.FOLDER}/") and key and key.encode() in storage.read(path):
            yield path
        if not path.endswith(".parquet") or path.startswith("tombstones/"):
            continue
        if path.startswith(f"{layout.SOURCE}/"):
            if _is_listed(storage, path, ids):
                yield path
        elif _has(storage, path, ids, key):
            yield path


def _is_listed(storage: Storage, path: str, ids: Int64) -> bool:
    """Return whether a part of the listing contains more of an image than its key."""
    table = read_part(storage, path, ["id", "label", "uri", "source_label", "changed_sha256"])
    rows = table.filter(pa.array(np.isin(table.column("id").to_numpy(), ids)))
    return any(value for name in rows.column_names[1:] for value in rows.column(name).to_pylist())


def _has(storage: Storage, path: str, ids: Int64, key: str) -> bool:
    with open_part(storage, path) as part:
        schema = part.schema_arrow
        names = [
            field.name
            for field in schema
            if (field.type == pa.int64() and (field.name == "id" or field.name.endswith("_id")))
            or (key and pa.types.is_string(field.type))
            or (path.startswith("graphs/") and field.name == "neighbor")
        ]
        for batch in part.iter_batches(batch_size=_BATCH, columns=names) if names else ():
            for name in names:
                column = batch.column(name)
                if name == "neighbor":
                    column = column.flatten()
                if pa.types.is_string(column.type):
                    if pc.any(pc.equal(column, key)).as_py():
                        return True
                elif np.isin(column.to_numpy(zero_copy_only=False), ids).any():
                    return True
    return False


def _manifests(storage: Storage, key: str) -> Iterator[str]:
    """Yield the manifests whose texts contain the key: in findings of stored results, or in attribute values."""
    told = json.dumps(key, ensure_ascii=False)[1:-1].encode()
    for number in generations.numbers(storage) if key else ():
        path = layout.generation(number)
        if told in storage.read(path):
            yield path


def _pictures(storage: Storage, newest: Manifest) -> Iterator[str]:
    """Yield the uploaded images without an existing image: those of the deleted image may be among them."""
    kept = {path for path in storage.walk() if path.startswith(f"{uploaded_images.FOLDER}/")}
    if not kept:
        return
    reader = CollectionReader(storage, newest)
    for path in newest.images:
        table = read_part(storage, path, ["id", "uri"])
        living = table.filter(pa.array(reader.live(table.column("id").to_numpy()))).column("uri")
        own = living.filter(uploaded_images.is_uploaded_column(living)).to_pylist()
        kept.difference_update(uploaded_images.path_of(uri) for uri in own)
    # A change that is not part of a generation yet may need an image, too.
    later = [one.name.path for one in changelog.segments(storage)]
    folded = set(changelog.removable(storage, newest.folded_through))
    yield from kept - uploaded_images.named_by_log(storage, [path for path in later if path not in folded])


def _indexes(storage: Storage, ids: Int64) -> Iterator[str]:
    """Yield the indexes that were filled from rows of the images, and those that no generation describes."""
    known: dict[str, bool] = {}
    for number in generations.numbers(storage):
        manifest = generations.read(storage, number)
        reader = CollectionReader(storage, manifest)
        for entry in manifest.indexes.values():
            if known.keys() >= {*entry.index_files}:
                continue
            there, start = np.isin(reader.ids_of(manifest.parts_of(entry)), ids), 0
            rows = [entry.base_rows, *(one.rows for one in entry.increments)]
            for path, count in zip(entry.index_files, rows, strict=True):
                known[path] = bool(there[start : start + count].any())
                start += count
    yield from (path for path, has in known.items() if has)
    kinds = (".faiss", layout.INCREMENT)
    yield from (path for path in storage.walk() if path.endswith(kinds) and path not in known)
