"""Import stage: vectors become a space of a collection, for a source's images, or for images without a file."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.attributes.images import Images
from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.manifest import FORMAT, Manifest, ModelEntry, SourceEntry, SpaceEntry
from lookalike_indexer.collection.parts import read_part, write_part
from lookalike_indexer.collection.spec import IMPORTED, ModelSpec, PreprocessingSpec, SpaceSpec, WeightsSpec, digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.plan import model_identity
from lookalike_indexer.errors import UsageError
from lookalike_indexer.imported.images import Pictured, pictured
from lookalike_indexer.imported.vector_keys import VectorsByKey
from lookalike_indexer.imported.vectors import InputVectors
from lookalike_indexer.progress import Progress
from lookalike_indexer.sources.row import Source

# Rows per part of a collection that import creates.
_PART = 4096
_LAYER = "imported"


@dataclass(frozen=True)
class Imported:
    """The result of an import: the space, its rows and dimensions, and the mismatches.

    `without` is the number of images without a vector, `unmatched` that of vectors whose key matches no image of the
    source, and `rejected` that of vectors whose image cannot be read; the examples are a key of each, or "".
    `unreadable` is the number of rejects of the source, with or without a vector. `left_out` and `unreadable_folders`
    are as in ListingReport.
    """

    space: str
    rows: int
    dim: int
    without: int
    without_example: str = ""
    unmatched: int = 0
    unmatched_example: str = ""
    rejected: int = 0
    unreadable: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    unreadable_folders: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Matched:
    """The row of the given vectors for each image, -1 if there is none, and the vectors that match no image."""

    rows: Int64
    unused: Int64


def import_vectors(
    storage: Storage,
    draft: Manifest | None,
    path: Path,
    space: str,
    given: InputVectors,
    progress: Progress,
    source: Source | None = None,
) -> tuple[Manifest, Imported]:
    """Return the completed draft with a space of the vectors in `given`; publish nothing.

    With a draft, each key must match one of its images. Without one, the images are those of `source`, or else the keys
    become images without a file. The caller holds the collection's lock. Raise UsageError if the name of the space is
    taken or invalid, a key matches no image of the draft, no key matches one of the source, both a draft with images
    and a source are given, or a vector is not finite.
    """
    layout.checked_name(space, "space")
    if draft is not None and source is not None:
        raise UsageError(
            "The collection has images already, and the keys are matched with those; leave out --images, or name "
            "another --collection."
        )
    if draft is not None and (space in draft.spaces or space in draft.models):
        raise UsageError(f"The collection has a space or a model {space!r} already; give another --space.")
    spec = _spec(path, space, given)
    fingerprint = SpaceSpec(spec, _LAYER, "avg").fingerprint
    found: Pictured | None = None
    if source is not None:
        found = pictured(storage, source, given, space, model_identity(spec), spec.preprocessing, progress)
        draft = found.draft
    if draft is None:
        draft = _listed(storage, path, given)
        rows_of = np.arange(len(given.keys), dtype=np.int64)
        matched = _Matched(rows_of, np.empty(0, np.int64))
        ends = np.minimum(np.arange(_PART, len(rows_of) + _PART, _PART), len(rows_of))
        ids = rows_of
    else:
        images = Images.read(storage, draft)
        matched, ends = _matched(images, given, all_of_them=found is None), images.ends
        ids = np.concatenate([np.empty(0, np.int64), *(images.ids(part) for part in range(len(draft.images)))])
    rows_of = matched.rows
    published = generations.PublishedFiles(storage)
    parts: list[str] = []
    start = 0
    with progress.stage(f"import {space}", len(given.keys) - len(matched.unused), "vectors") as bar:
        for part, end in zip(draft.images, ends.tolist(), strict=True):
            wanted = rows_of[start:end]
            there = np.flatnonzero(wanted >= 0)
            vectors = given.rows(wanted[there])
            parts.append(_path(published, space, layout.part_number(part), vectors))
            _write(storage, parts[-1], ids[start:end][there], vectors, fingerprint)
            start = end
            bar.advance(len(there))
    rows = len(given.keys) - len(matched.unused)
    entry = SpaceEntry(space, _LAYER, "avg", given.vectors.shape[1], "float32", fingerprint, rows, parts)
    after = dataclasses.replace(
        draft,
        models={**draft.models, space: ModelEntry(spec, "", [], found.rejects if found else [])},
        spaces={**draft.spaces, space: entry},
        default_space=draft.default_space or space,
    )
    without = np.flatnonzero(rows_of < 0)
    done = Imported(space, rows, entry.dim, len(without))
    if len(without):
        done = dataclasses.replace(done, without_example=images.key(int(without[0])))
    if found is not None:
        done = _report(storage, done, found, given, matched.unused)
    return generations.complete(storage, after, parts), done


def _report(storage: Storage, done: Imported, found: Pictured, given: InputVectors, unused: Int64) -> Imported:
    """Return the result with the mismatches of a source: a vector without an image may belong to a reject."""
    rejects = [key for path in found.rejects for key in read_part(storage, path, ["key"]).column("key").to_pylist()]
    refused = VectorsByKey(given, found.draft.source).rows(rejects)
    unmatched = np.setdiff1d(unused, refused)
    return dataclasses.replace(
        done,
        unmatched=len(unmatched),
        unmatched_example=given.keys[int(unmatched[0])] if len(unmatched) else "",
        rejected=len(unused) - len(unmatched),
        unreadable=len(rejects),
        left_out=found.listing.left_out,
        unreadable_folders=found.listing.unreadable_folders,
    )


def _path(published: generations.PublishedFiles, space: str, part: int, vectors: Float32) -> str:
    """Return the path of a part; another one if older generations have a space of this name."""
    path = layout.embeddings(space, part)
    return layout.revised(path, hashlib.sha256(vectors.tobytes()).hexdigest()) if path in published else path


def _spec(path: Path, space: str, given: InputVectors) -> ModelSpec:
    """Return a spec in place of the unknown network: two imports always differ, whatever their vectors."""
    origin = WeightsSpec("file", str(path.absolute()), digest_of([space, str(path.absolute()), given.vectors.shape[1]]))
    return ModelSpec(IMPORTED, 0, origin, PreprocessingSpec(1, 1, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear", True))


def _matched(images: Images, given: InputVectors, all_of_them: bool) -> _Matched:
    """Match vectors with images.

    Raise UsageError if none match, a required match is missing, or two match the same image.
    """
    found = images.rows(given.keys)
    unknown = np.flatnonzero(found < 0)
    if len(unknown) and (all_of_them or len(unknown) == len(found)):
        raise UsageError(
            f"{len(unknown):,} of {len(found):,} keys name no image of the collection, such as "
            f"{given.keys[int(unknown[0])]!r}; it has keys such as {images.key(0)!r}."
        )
    known = np.flatnonzero(found >= 0)
    rows = np.full(len(images), -1, np.int64)
    rows[found[known]] = known
    if np.count_nonzero(rows >= 0) < len(known):
        raise UsageError("Two keys name one image; give one vector for each image.")
    return _Matched(rows, unknown)


def _listed(storage: Storage, path: Path, given: InputVectors) -> Manifest:
    """Create a collection from the keys: images without a file."""
    listing, images = [], []
    labels = given.labels or [None] * len(given.keys)
    for part, start in enumerate(range(0, len(given.keys), _PART)):
        block = slice(start, start + _PART)
        keys = given.keys[block]
        count = len(keys)
        common = [np.arange(start, start + count, dtype=np.int64), keys, labels[block], [""] * count, [0] * count]
        listing.append(layout.source(part))
        images.append(layout.images(part))
        write_part(storage, listing[-1], _table([*common, [0] * count], schema.SOURCE))
        write_part(storage, images[-1], _table([*common, [""] * count, [0] * count, [0] * count], schema.IMAGES))
    return Manifest(FORMAT, 0, SourceEntry("list", str(path.absolute())), {}, listing, images)


def _table(columns: list[object], of: pa.Schema) -> pa.Table:
    """Return a table of the first columns of a schema; the others are null."""
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, of, strict=False)]
    arrays += [pa.nulls(len(arrays[0]), field.type) for field in list(of)[len(columns) :]]
    return pa.table(arrays, schema=of)


def _write(storage: Storage, path: str, ids: Int64, vectors: Float32, fingerprint: str) -> None:
    columns = schema.embeddings(vectors.shape[1], "float32").with_metadata({schema.FINGERPRINT: fingerprint.encode()})
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=columns.field("embedding").type)
    write_part(storage, path, pa.table([pa.array(ids), lists], schema=columns))
