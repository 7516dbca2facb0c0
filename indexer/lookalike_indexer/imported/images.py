"""Images of a source for a new collection: listed, decoded and described, without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from lookalike_indexer.collection import generations, layout, schema, uploaded_images
from lookalike_indexer.collection.manifest import FORMAT, Manifest
from lookalike_indexer.collection.parts import open_part, read_part, write_part
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.inventory import about, listing_identity
from lookalike_indexer.embedding.requests import ImageRequests, image_row, reject_row
from lookalike_indexer.embedding.resolve import nothing_readable
from lookalike_indexer.errors import UsageError
from lookalike_indexer.images.prepare import Prepared, Rejected
from lookalike_indexer.images.workers import DecodePool, PoolSettings
from lookalike_indexer.imported.vector_keys import VectorsByKey
from lookalike_indexer.imported.vectors import InputVectors
from lookalike_indexer.progress import Bar, Progress
from lookalike_indexer.sources.listing import ListingReport, require_pictures, update_listing
from lookalike_indexer.sources.row import Source
from lookalike_indexer.threads import processors

# Images per part, as embedding uses by default.
PART = 1024
_AHEAD = 64


@dataclass(frozen=True)
class Pictured:
    """A completed draft with the images of a source, the paths of its rejects, and the listing report."""

    draft: Manifest
    rejects: list[str]
    listing: ListingReport


@dataclass(frozen=True)
class _For:
    """The owner of the rejects: the model's name, its identity, and the transforms of the decoding."""

    model: str
    identity: str
    preprocessing: PreprocessingSpec


def pictured(
    storage: Storage,
    source: Source,
    given: InputVectors,
    model: str,
    identity: str,
    preprocessing: PreprocessingSpec,
    progress: Progress,
) -> Pictured:
    """List and decode the images of a source, part by part; publish nothing.

    An unreadable image becomes a reject of `model`, whose digest is `identity`. A part that a killed run finished is
    not decoded again. Raise UsageError if the source is empty, no vector has the key of one of its images, or none can
    be read; in the first two cases nothing is written.
    """
    require_pictures(source)
    keys = VectorsByKey(given, source.entry)
    _check_matches(source, given, keys)
    listing = update_listing(storage, source, keys, PART, progress)
    wanted = _For(model, identity, preprocessing)
    left = [] if listing.changed else [path for path in listing.parts if _is_leftover(storage, path, wanted)]
    todo = [path for path in listing.parts if path not in set(left)]
    done = sum(read_part(storage, path, ["id"]).num_rows for path in left)
    with progress.stage("Decoding", listing.rows, "images", done) as bar:
        for path, (images, rejects) in zip(todo, described(storage, source, todo, wanted, bar), strict=True):
            _write(storage, path, images, rejects, wanted)
    numbers = [layout.part_number(path) for path in listing.parts]
    rejects_of = [layout.rejects(model, number) for number in numbers]
    draft = Manifest(
        FORMAT, 0, source.entry, {}, listing.parts, [layout.images(number) for number in numbers],
        left_out=listing.left_out,
    )  # fmt: skip
    draft = generations.complete(storage, draft)
    if not draft.rows(draft.images):
        raise nothing_readable(_first(storage, rejects_of), source.entry)
    return Pictured(draft, rejects_of, listing)


def described(
    storage: Storage, source: Source, parts: Sequence[str], wanted: _For, bar: Bar
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield the images and the rejects of each of some parts of the listing, decoded by worker processes."""
    pool_settings = PoolSettings(processors())
    requests = ImageRequests(source.entry, uploaded_images.folder(storage), pool_settings.limits.max_bytes)
    try:
        with DecodePool(pool_settings, wanted.preprocessing) as pool:
            for path in parts:
                rows = read_part(storage, path, ["id", "key", "label", "uri", "bytes", "modified_ns"]).to_pylist()
                images, rejects = [], []
                for (_, row), image in pool.stream(requests.stream(iter(enumerate(rows))), _AHEAD):
                    if isinstance(image, Rejected):
                        rejects.append(reject_row(row, image))
                    elif isinstance(image, Prepared):
                        images.append(image_row(row, image))
                    bar.advance(1)
                yield pa.Table.from_pylist(images, schema.IMAGES), pa.Table.from_pylist(rejects, schema.REJECTS)
    finally:
        requests.close()


def _check_matches(source: Source, given: InputVectors, keys: VectorsByKey) -> None:
    """Raise UsageError if no vector has the key of an image; read the source up to the first match."""
    first = ""
    for row in source.rows():
        first = first or row.key
        if keys.rows([row.key])[0] >= 0:
            return
    raise UsageError(
        f"No key of the vectors names an image of {source.entry.uri}: the vectors have keys such as {given.keys[0]!r}, "
        f"and the source {first!r}; write the keys as the source does."
    )


def _write(storage: Storage, listing: str, images: pa.Table, rejects: pa.Table, wanted: _For) -> None:
    """Write rejects before images, as embedding does: if the images exist, both are complete."""
    number = layout.part_number(listing)
    mark = {schema.FINGERPRINT: wanted.identity.encode(), schema.ABOUT: about(images).encode()}
    write_part(storage, layout.rejects(wanted.model, number), rejects.replace_schema_metadata(mark))
    told = images.replace_schema_metadata({schema.ABOUT: listing_identity(storage, listing).encode()})
    write_part(storage, layout.images(number), told)


def _is_leftover(storage: Storage, listing: str, wanted: _For) -> bool:
    """Return whether a killed run left the images of this part of the listing, and its rejects."""
    number = layout.part_number(listing)
    images, rejects = layout.images(number), layout.rejects(wanted.model, number)
    if not (storage.exists(images) and storage.exists(rejects)):
        return False
    if _metadata(storage, images).get(schema.ABOUT, b"").decode() != listing_identity(storage, listing):
        return False
    found = _metadata(storage, rejects)
    mark = about(read_part(storage, images, ["id", "sha256"]))
    return [found.get(schema.FINGERPRINT), found.get(schema.ABOUT)] == [wanted.identity.encode(), mark.encode()]


def _metadata(storage: Storage, path: str) -> dict[bytes, bytes]:
    with open_part(storage, path) as part:
        return dict(part.schema_arrow.metadata or {})


def _first(storage: Storage, rejects: Sequence[str]) -> tuple[str, str] | None:
    for path in rejects:
        for row in read_part(storage, path, ["key", "reason"]).to_pylist():
            return row["key"], row["reason"]
    return None
