"""Relocation of a source: the collection follows once a sample of its images was found with the same bytes."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.manifest import Manifest, SourceEntry
from lookalike_indexer.collection.parts import open_part, read_part, with_columns, write_part
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.uploaded_images import is_uploaded
from lookalike_indexer.collection.uris import absolute, by_key, root
from lookalike_indexer.errors import MismatchError
from lookalike_indexer.progress import Progress
from lookalike_indexer.sources.digests import SourceDigests
from lookalike_indexer.sources.fetch import is_contained
from lookalike_indexer.sources.row import Source

# The kinds of source that are one file, which may have another name at its new location.
_SINGLE = {"parquet", "tar", "zip"}


@dataclass(frozen=True)
class Relocation:
    """The former and the new location: `checked` images of a sample have the same bytes there; `missing` ones do not
    exist.
    """

    before: str
    now: str
    checked: int
    missing: int


def relocate(
    storage: Storage, draft: Manifest, source: Source, sample: int, progress: Progress
) -> tuple[Manifest, Relocation]:
    """Return the completed draft with the source's new location; nothing is embedded or published.

    Raise MismatchError if the source is of another kind, an image of the sample has other bytes, or most of them do not
    exist.
    """
    before, now = draft.source, source.entry
    if before.kind != now.kind:
        raise MismatchError(
            f"The collection {storage.location} was made from a {before.kind}, and {now.uri} is a {now.kind}; name the "
            f"{before.kind} that has moved."
        )
    moved = dataclasses.replace(before, uri=now.uri)
    checked, missing = _check(storage, draft, moved, sample, progress)
    if missing > checked:
        raise MismatchError(
            f"{missing} of {checked + missing} images of the collection are not in {now.uri}; name the {before.kind} "
            f"that now contains the images of {before.uri}."
        )
    listing = [_moved(storage, path, before, moved, schema.SOURCE.names) for path in draft.listing]
    images = [_moved(storage, path, before, moved, schema.IMAGES.names) for path in draft.images]
    models = {
        name: dataclasses.replace(
            model, rejects=[_moved(storage, path, before, moved, schema.REJECTS.names) for path in model.rejects]
        )
        for name, model in draft.models.items()
    }
    finished = dataclasses.replace(draft, source=moved, listing=listing, images=images, models=models)
    return generations.complete(storage, finished), Relocation(before.uri, now.uri, checked, missing)


def _check(storage: Storage, draft: Manifest, moved: SourceEntry, sample: int, progress: Progress) -> tuple[int, int]:
    """Return how many images of a sample have the same bytes at the new location, and how many do not exist."""
    checked = missing = 0
    with SourceDigests() as digests, progress.stage("Checking", min(sample, draft.rows(draft.images)), "images") as bar:
        for row in _sampled(storage, draft, sample):
            uri = absolute(moved, _below(row["uri"], row["key"], draft.source, moved))
            now = digests.digest(uri)
            if now is None:
                missing += 1
            elif now != row["sha256"] and (row["sha256"] or _length(uri) not in (None, row["bytes"])):
                raise MismatchError(
                    f"{uri} differs from the image {row['key']!r} of the collection; name the {moved.kind} "
                    f"that now contains the images of {draft.source.uri}, or create a new collection."
                )
            else:
                checked += 1
            bar.advance()
    return checked, missing


def _sampled(storage: Storage, draft: Manifest, sample: int) -> Iterator[dict[str, Any]]:
    """Yield at most `sample` images, evenly spread over the collection."""
    total = draft.rows(draft.images)
    listing = {layout.part_number(path): path for path in draft.listing}
    wanted = np.unique(np.linspace(0, total - 1, min(sample, total)).astype(np.int64)) if total else np.empty(0)
    start = 0
    for path in draft.images:
        end = start + (draft.files[path].rows or 0)
        rows = wanted[(wanted >= start) & (wanted < end)] - start
        if len(rows):
            changed = _changed(storage, listing[layout.part_number(path)])
            for row in read_part(storage, path, ["id", "key", "uri", "bytes", "sha256"]).take(rows).to_pylist():
                if not row["uri"] or is_uploaded(row["uri"]):
                    # It was added while the collection was served, so it is not part of the source.
                    continue
                # An image that had changed before the move is compared with its changed content.
                yield {**row, "sha256": changed.get(row["id"], row["sha256"])}
        start = end


def _changed(storage: Storage, listing: str) -> dict[int, str]:
    """Return the digests of the images of a part whose content has changed since they were embedded, by id."""
    rows = read_part(storage, listing, ["id", "changed_sha256"]).to_pylist()
    return {row["id"]: row["changed_sha256"] for row in rows if row["changed_sha256"]}


def _moved(storage: Storage, path: str, before: SourceEntry, now: SourceEntry, columns: list[str]) -> str:
    """Write a part with its URIs at the new location, if they differ; return the path of the valid part.

    Parts of format 1 have absolute URIs. The URIs of a source that is one file start with the name of that file.
    """
    table = with_columns(read_part(storage, path), columns)
    uris, keys = table.column("uri").to_pylist(), table.column("key").to_pylist()
    below = [_below(uri, key, before, now) for uri, key in zip(uris, keys, strict=True)]
    if below == uris:
        return path
    with open_part(storage, path) as part:
        metadata = part.schema_arrow.metadata
    at = table.column_names.index("uri")
    revised = layout.revised(path, digest_of([path, "relative", posixpath.basename(now.uri)]))
    changed = table.set_column(at, table.schema.field(at), [below]).replace_schema_metadata(metadata)
    write_part(storage, revised, changed)
    return revised


def _length(uri: str) -> int | None:
    """Return the length of a file; None for an image in a container, whose file also holds others."""
    return None if is_contained(uri) else Path(uri).stat().st_size


def _below(uri: str, key: str, before: SourceEntry, now: SourceEntry) -> str:
    """Return a stored URI relative to the root of the source at its new location, if it is below the old root."""
    if is_uploaded(uri):
        return uri
    below = by_key(before, uri, key).removeprefix(root(before).rstrip("/") + "/")
    old, new = (f"{posixpath.basename(source.uri)}#" for source in (before, now))
    return new + below.removeprefix(old) if before.kind in _SINGLE and below.startswith(old) else below
