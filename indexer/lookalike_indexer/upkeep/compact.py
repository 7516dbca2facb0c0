"""Merging of small parts: fewer and larger files of every table, with the same rows in the same order."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.commands import command
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.parts import open_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import DataLossError, MismatchError, UsageError
from lookalike_indexer.experiments.stored_results import out_of_date, read_by
from lookalike_indexer.progress import Progress
from lookalike_indexer.sources.listing import listed_parts
from lookalike_indexer.upkeep.grouping import ROWS, Grouping, Tables, group, small_parts
from lookalike_indexer.upkeep.merging import Merger

# The number of small parts from which the user gets a note.
_MANY = 8


@dataclass(frozen=True)
class Compacted:
    """The result of a merge, or of its plan.

    The listing had `parts_before` parts and has `parts_after`; `merged` of them became `into`. `files` of all tables,
    with a total size of `bytes`, became `new_files`. `apart` small parts stay.
    """

    parts_before: int
    parts_after: int
    merged: int
    into: int
    files: int
    new_files: int
    bytes: int
    apart: int


def planned(storage: Storage, draft: Manifest, rows: int = ROWS) -> tuple[Grouping, Compacted]:
    """Return the groups of parts that `compact` merges, and its report; write nothing. UsageError as in `compact`."""
    _check_finished(storage, draft)
    found = group(draft, rows, lambda path: _columns(storage, path))
    tables = Tables.of(draft)
    merges = [
        paths
        for numbers in found.groups
        for paths in (
            *(table.all_of(numbers) for table in [*tables.every(), *tables.attributes]),
            *(paths for space in draft.spaces for paths in tables.assigned(space, numbers)),
        )
        if paths
    ]
    size = sum(draft.files[path].bytes for paths in merges for path in paths)
    before, into = len(draft.listing), len(found.groups)
    after = before - found.merged + into
    files = sum(map(len, merges))
    return found, Compacted(before, after, found.merged, into, files, len(merges), size, found.apart)


def compact(storage: Storage, draft: Manifest, rows: int, progress: Progress) -> tuple[Manifest, Compacted]:
    """Merge small parts into parts of at most `rows` images; return the completed, unpublished draft and the report.

    `draft` is the newest generation. The caller holds the collection's lock. Merged parts get new numbers, so that the
    files of earlier generations stay unchanged. Clusterings, indexes and results stay valid. Raise UsageError if a
    stopped run left parts that no generation has yet. Raise DataLossError if a file was changed.
    """
    found, report = planned(storage, draft, rows)
    merger = Merger(CollectionReader(storage, draft), Tables.of(draft))
    following = 1 + max(_numbers(draft), default=-1)
    with progress.stage("Merging", found.merged, "parts") as bar:
        for into, numbers in enumerate(found.groups, following):
            merger.merge(numbers, into)
            bar.advance(len(numbers))
    merged = generations.complete(storage, _renamed(draft, merger.paths))
    return _same_results(draft, merged), report


def compact_note(manifest: Manifest, root: str) -> str:
    """Return a sentence with the command that merges small parts; "" if there are few."""
    count = small_parts(manifest)
    if count < _MANY:
        return ""
    return f"The collection has {count:,} small parts, which make every command slower; merge them with: " + command(
        "compact", root
    )


def _renamed(draft: Manifest, paths: Mapping[str, str]) -> Manifest:
    """Return the manifest with merged files in place of their inputs."""

    def now(before: Iterable[str]) -> list[str]:
        # A dictionary keeps the first position of each.
        return list(dict.fromkeys(paths.get(path, path) for path in before))

    return dataclasses.replace(
        draft,
        listing=now(draft.listing),
        images=now(draft.images),
        models={
            name: dataclasses.replace(entry, predictions=now(entry.predictions), rejects=now(entry.rejects))
            for name, entry in draft.models.items()
        },
        spaces={name: dataclasses.replace(entry, parts=now(entry.parts)) for name, entry in draft.spaces.items()},
        clusterings={
            name: dataclasses.replace(entry, parts=now(draft.parts_of(entry)), assignments=now(entry.assignments))
            for name, entry in draft.clusterings.items()
        },
        indexes={
            name: dataclasses.replace(entry, parts=now(draft.parts_of(entry))) for name, entry in draft.indexes.items()
        },
        graphs={
            name: dataclasses.replace(entry, parts=now(entry.parts), neighbors=now(entry.neighbors))
            for name, entry in draft.graphs.items()
        },
        attributes={
            name: dataclasses.replace(entry, parts=now(entry.parts)) for name, entry in draft.attributes.items()
        },
    )


def _same_results(before: Manifest, after: Manifest) -> Manifest:
    """Return the manifest with its up-to-date results still marked as such, because their rows are unchanged."""
    results = {
        name: entry
        if out_of_date(before, name)
        else dataclasses.replace(entry, inputs=read_by(after, entry.kind, entry.settings))
        for name, entry in after.results.items()
    }
    return dataclasses.replace(after, results=results)


def _numbers(draft: Manifest) -> set[int]:
    """Return the part numbers that any table uses.

    Files that no generation refers to do not count, so that a repeated run after a kill uses the same names.
    """
    every = Tables.of(draft)
    tables = [table.paths for table in [*every.every(), *every.attributes]]
    for clustering in draft.clusterings.values():
        tables += [draft.parts_of(clustering), clustering.assignments]
    tables += [draft.parts_of(index) for index in draft.indexes.values()]
    tables += [paths for graph in draft.graphs.values() for paths in (graph.parts, graph.neighbors)]
    return {layout.part_number(path) for paths in tables for path in paths}


def _check_finished(storage: Storage, draft: Manifest) -> None:
    """Raise UsageError if a stopped run left parts that its continuation needs, because merging would prevent that."""
    left = listed_parts(storage, draft.source, draft)[len(draft.listing) :]
    numbers = {layout.part_number(path) for path in draft.listing}
    unnamed = [path for path in storage.walk() if path not in draft.files and _is_part(path, numbers)]
    if unnamed:
        before = _named_before(storage)
        left += [path for path in unnamed if path not in before]
    if left:
        raise UsageError(
            f"A run that was stopped, or is still active, left {len(left)} unpublished files in {storage.location}, "
            f"such as {min(left)}; run its command again, or remove them with: "
            f"{command('gc', storage.location)}"
        )


def _is_part(path: str, numbers: set[int]) -> bool:
    """Return whether a file is the first version of a model's part for these parts of the listing."""
    folder, _, name = path.rpartition("/")
    if folder.partition("/")[0] not in ("embeddings", "predictions", "rejects") or not name.startswith("part-"):
        return False
    number = name.removeprefix("part-").partition(".")[0]
    return layout.is_first(path) and number.isdecimal() and int(number) in numbers


def _named_before(storage: Storage) -> set[str]:
    """Return the files that readable generations refer to."""
    named: set[str] = set()
    for number in generations.numbers(storage):
        # Of the newest one, too: a purge has taken files out of the draft.
        with contextlib.suppress(DataLossError, MismatchError):
            named.update(generations.read(storage, number).files)
    return named


def _columns(storage: Storage, path: str) -> pa.Schema:
    with open_part(storage, path) as part:
        return part.schema_arrow.remove_metadata()
