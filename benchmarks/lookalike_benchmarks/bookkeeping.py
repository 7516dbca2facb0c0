"""Cost of a collection besides computing: listing, resuming, verifying and publishing, against its size.

The source has empty files and the parts have generated rows of four dimensions, since these
tasks read only names, ids and manifests. `make` and `measure` each run in a process of
their own.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lookalike_benchmarks import timing
from lookalike_benchmarks.processes import peak_bytes, resident_bytes
from lookalike_benchmarks.synthetic import PART_ROWS, embeddings_table, images_table, key
from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.clustering.assign import AssignedVectors
from lookalike_indexer.clustering.extend import extend_clustering
from lookalike_indexer.clustering.tables import write_assignments, write_centroids
from lookalike_indexer.clustering.trained_centroids import Trained
from lookalike_indexer.collection import encoding, generations, layout, schema
from lookalike_indexer.collection.manifest import (
    FORMAT,
    ClusteringEntry,
    IndexEntry,
    Manifest,
    ModelEntry,
    SourceEntry,
    SpaceEntry,
)
from lookalike_indexer.collection.parts import write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import ModelSpec, PreprocessingSpec, SpaceSpec, WeightsSpec
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.tombstones import with_tombstones
from lookalike_indexer.embedding.inventory import Inventory
from lookalike_indexer.embedding.plan import ModelPlan, SpacePlan
from lookalike_indexer.models.network import Node
from lookalike_indexer.progress import Silent
from lookalike_indexer.sources.listing import update_listing
from lookalike_indexer.sources.open import open_source
from lookalike_indexer.sources.sync import Sync
from lookalike_indexer.verification.examination import Examination, VerifySettings
from lookalike_indexer.verification.join import check_join

Measured = dict[str, Any]
_NAME = "bookkeeping"
_DIM = 4
_ROUNDS = 5
_SPEC = ModelSpec(
    "resnet152",
    1000,
    WeightsSpec("untrained", "0", "0" * 64),
    PreprocessingSpec(232, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", True),
)
_FINGERPRINT = SpaceSpec(_SPEC, "flatten", "avg").fingerprint


def make(root: str, photos: str, images: int) -> Measured:
    """Make the source, list it for the first time, and write and publish all other tables."""
    _make_source(photos, images)
    storage, source = Storage(root), open_source(photos)
    began = time.perf_counter()
    listing = update_listing(storage, source, None, PART_ROWS, Silent())
    listed = time.perf_counter() - began
    _write_tables(storage, listing.parts, images)
    generations.publish(storage, _draft(source.entry, listing.parts, images))
    return {"first_listing_us_an_image": 1e6 * listed / images}


def _make_source(photos: str, images: int) -> None:
    """Create empty files with the names of images."""
    for row in range(images):
        path = f"{photos}/{key(row)}"
        if row == 0 or os.path.dirname(key(row)) != os.path.dirname(key(row - 1)):  # noqa: PTH120 - a million times
            Path(path).parent.mkdir(parents=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


def measure(root: str, photos: str) -> dict[str, Measured]:
    """Measure each task, by name. The listing comes first, so that its peak memory does not include other tasks."""
    listed = relist(root, photos)
    costs = {"relist": listed, "resume": resume(root), "join": join(root), "publish": publish(root)}
    # Last, since it changes the collection.
    return {**costs, "sync": sync(root, photos)}


def relist(root: str, photos: str) -> Measured:
    """List a source again in which nothing has changed."""
    _warm()
    storage, source = Storage(root), open_source(photos)
    draft = generations.require_latest(storage)
    before = resident_bytes()
    began = time.perf_counter()
    report = update_listing(storage, source, None, PART_ROWS, Silent(), draft)
    seconds = time.perf_counter() - began
    _check(report.new == report.gone == report.changed == 0)
    return {
        "relist_seconds": seconds,
        "us_an_image": 1e6 * seconds / report.rows,
        "peak_bytes_an_image": (peak_bytes() - before) / report.rows,
    }


def _warm() -> None:
    """List a small source twice, so that the measurement does not include first-time imports."""
    with tempfile.TemporaryDirectory() as folder:
        _make_source(f"{folder}/photos", 10)
        for _ in range(2):
            update_listing(Storage(f"{folder}/c"), open_source(f"{folder}/photos"), None, PART_ROWS, Silent())


def resume(root: str) -> Measured:
    """Detect that there is nothing to embed."""
    storage = Storage(root)
    draft = generations.require_latest(storage)
    space = SpacePlan(_NAME, Node("flatten", "avg"), _DIM, "float32", _FINGERPRINT)
    plan = ModelPlan(_NAME, _SPEC, "", (space,), "float32", 64)
    began = time.perf_counter()
    inventory = Inventory(storage, draft, plan, draft.listing)
    todo = [inventory.todo(inventory.files(path)) for path in draft.listing]
    seconds = time.perf_counter() - began
    _check(todo == [None] * len(draft.listing))
    return {"resume_seconds": seconds, "resume_ms_a_part": 1e3 * seconds / len(draft.listing)}


def sync(root: str, photos: str) -> Measured:
    """Follow a source with one new and one deleted file, without the time of embedding an image.

    `share_read` is the bytes read divided by the size of the same number of embeddings of 2,048 float16.
    """
    storage = Storage(root)
    Path(f"{photos}/new.jpg").touch()
    Path(f"{photos}/{key(0)}").unlink()
    space = SpacePlan(_NAME, Node("flatten", "avg"), _DIM, "float32", _FINGERPRINT)
    plan = ModelPlan(_NAME, _SPEC, "", (space,), "float32", 64)
    began, worked, before = time.perf_counter(), time.process_time(), _bytes_read()
    draft = generations.require_latest(storage)
    report = update_listing(storage, open_source(photos), None, PART_ROWS, Silent(), draft, Sync())
    inventory = Inventory(storage, draft, plan, report.parts, np.array(report.gone_ids, np.int64))
    todo = [one for one in (inventory.todo(inventory.files(path)) for path in report.parts) if one is not None]
    _check([len(one.rows) for one in todo] == [1] and len(report.gone_ids) == 1)
    number = layout.part_number(report.parts[-1])
    _write_part(storage, number, np.array(todo[0].rows.column("id").to_numpy()), np.zeros((1, _DIM), np.float32))
    after = _draft(draft.source, report.parts, 0)
    images = draft.rows(draft.images) + 1
    spaces = {_NAME: dataclasses.replace(after.spaces[_NAME], rows=images)}
    draft = dataclasses.replace(draft, listing=after.listing, images=after.images, models=after.models, spaces=spaces)
    draft = generations.complete(storage, draft)
    draft = with_tombstones(storage, draft, report.gone_ids, "gone")
    clustering = extend_clustering(storage, draft, draft.clusterings[f"{_NAME}/made"], Silent())
    draft = dataclasses.replace(draft, clusterings={f"{_NAME}/made": clustering})
    _check(generations.publish(storage, draft).rows(clustering.assignments) == images)
    read = _bytes_read() - before
    return {
        "sync_seconds": time.perf_counter() - began,
        "sync_processor_seconds": time.process_time() - worked,
        "sync_mib_read": read / 2**20,
        "share_read": read / (images * 2048 * 2),
    }


def _bytes_read() -> int:
    """Return the bytes that this process has read from files so far, from disk or page cache."""
    return int(Path("/proc/self/io").read_text().split()[1])


def join(root: str) -> Measured:
    """Verify that the tables join."""
    reader = CollectionReader.open(root)
    examination = Examination(reader, VerifySettings(), Silent())
    seconds = timing.seconds(lambda: check_join(examination))
    _check(not examination.damages)
    return {"join_seconds": seconds, "join_ms_a_part": 1e3 * seconds / len(reader.manifest.listing)}


def publish(root: str) -> Measured:
    """Encode and decode the manifest, and a manifest with one more part in every table."""
    manifest = generations.require_latest(Storage(root))
    before, after = encoding.encode(manifest), encoding.encode(_with_another(manifest))
    new = [data for path, data in after.lists.items() if path not in before.lists]
    encodes = [timing.seconds(lambda: encoding.encode(manifest)) for _ in range(_ROUNDS)]
    decode = lambda: encoding.decode(before.manifest, root, before.lists.__getitem__)  # noqa: E731
    decodes = [timing.seconds(decode) for _ in range(_ROUNDS)]
    return {
        "encode_seconds": statistics.median(encodes),
        "decode_seconds": statistics.median(decodes),
        "bytes_a_part": (len(before.manifest) + sum(map(len, before.lists.values()))) / len(manifest.listing),
        "bytes_to_add_a_part": len(after.manifest) + sum(map(len, new)),
    }


def exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Return the exponent of growth: the slope of log cost over log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def parts_of(images: int) -> int:
    """Return the number of parts for `images` images."""
    return math.ceil(images / PART_ROWS)


def _check(fits: bool) -> None:
    if not fits:
        raise RuntimeError("What was made for the benchmark is not what it should be.")


def _write_tables(storage: Storage, listing: Sequence[str], images: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((PART_ROWS, _DIM)).astype(np.float32)
    write_centroids(storage, f"{_folder()}/centroids.parquet", Trained(np.eye(2, _DIM, dtype=np.float32), [1.0]))
    with storage.staged(_index()) as temporary:
        temporary.write_bytes(b"no index is read here")
    for path in listing:
        number = layout.part_number(path)
        start = number * PART_ROWS
        rows = min(PART_ROWS, images - start)
        ids = np.arange(start, start + rows)
        _write_part(storage, number, ids, vectors[:rows])


def _write_part(storage: Storage, number: int, ids: Int64, vectors: Float32) -> None:
    """Write a part of all tables except the listing, and of assignments to one cluster; ids are consecutive."""
    start, rows = int(ids[0]), len(ids)
    # In the order of the listing, which is by name; these names ascend with their numbers.
    table = images_table(start, rows)
    folders = [[name.partition("/")[0] for name in map(key, ids.tolist())]]
    table = table.set_column(2, schema.IMAGES.field(2), folders)
    table = table.set_column(3, schema.IMAGES.field(3), table.column("key"))
    write_part(storage, layout.images(number), table)
    write_part(storage, layout.rejects(_NAME, number), schema.REJECTS.empty_table())
    write_part(storage, layout.predictions(_NAME, number), _predictions(ids))
    write_part(storage, layout.embeddings(_NAME, number), embeddings_table(start, vectors))
    zeros = np.zeros(rows, np.float32)
    write_assignments(storage, _assignments(number), ids, AssignedVectors(zeros.astype(np.int32), zeros, zeros))


def _predictions(ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.Table:
    kind = schema.predictions(1)
    columns = [np.zeros(len(ids), np.int32), ["tench"] * len(ids), np.ones(len(ids), np.float32)]
    lists = [
        pa.FixedSizeListArray.from_arrays(pa.array(column), type=kind.field(place).type)
        for place, column in enumerate(columns, 1)
    ]
    return pa.table([pa.array(ids), *lists], kind)


def _draft(source: SourceEntry, listing: Sequence[str], images: int) -> Manifest:
    numbers = [layout.part_number(path) for path in listing]
    parts = [layout.embeddings(_NAME, number) for number in numbers]
    model = ModelEntry(
        _SPEC,
        "float32",
        [layout.predictions(_NAME, number) for number in numbers],
        [layout.rejects(_NAME, number) for number in numbers],
    )
    clustering = ClusteringEntry(
        _NAME, "made", 2, "cosine", "kmeans", 0, 1, 1, images, [1.0], images,
        f"{_folder()}/centroids.parquet", [_assignments(number) for number in numbers], "0" * 64, parts=parts,
    )  # fmt: skip
    index = IndexEntry(
        _NAME, "Flat", "cosine", 0, 0, [], 0, 0, 0, images, _index(), "0" * 64, name="main", parts=parts
    )  # fmt: skip
    return Manifest(
        format=FORMAT,
        generation=0,
        source=source,
        files={},
        listing=list(listing),
        images=[layout.images(number) for number in numbers],
        models={_NAME: model},
        spaces={_NAME: SpaceEntry(_NAME, "flatten", "avg", _DIM, "float32", _FINGERPRINT, images, parts)},
        clusterings={f"{_NAME}/made": clustering},
        indexes={f"{_NAME}/main": index},
        default_space=_NAME,
    )


def _with_another(manifest: Manifest) -> Manifest:
    """Return the next generation's manifest, with one more part in every table."""
    number = len(manifest.listing)
    before = _draft(manifest.source, manifest.listing, 0)
    after = _draft(manifest.source, [*manifest.listing, layout.source(number)], 0)
    last = manifest.files[manifest.images[-1]]
    # Each new file needs its own digest.
    new = sorted(set(_paths(after)) - set(_paths(before)))
    files = {path: dataclasses.replace(last, sha256=f"{place:064x}") for place, path in enumerate(new)}
    return dataclasses.replace(after, generation=manifest.generation + 1, files={**manifest.files, **files})


def _paths(manifest: Manifest) -> list[str]:
    [model], [space], [clustering] = (
        manifest.models.values(),
        manifest.spaces.values(),
        manifest.clusterings.values(),
    )
    tables = [manifest.listing, manifest.images, model.predictions, model.rejects, space.parts, clustering.assignments]
    return [path for paths in tables for path in paths]


def _folder() -> str:
    return layout.clustering(_NAME, "made", "0" * 64)


def _assignments(number: int) -> str:
    return f"{_folder()}/assignments/{layout.part_name(number)}"


def _index() -> str:
    return layout.index(_NAME, "0" * 64)
