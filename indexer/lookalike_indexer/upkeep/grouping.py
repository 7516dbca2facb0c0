"""Grouping of consecutive parts that can be merged into one part of every table.

Tables join by part number, so a group is merged in all tables or in none. Parts are not grouped across a boundary of a
table, a clustering or an index, if their embeddings have different arithmetic, or if releases gave them different
columns.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from lookalike_indexer.collection import layout
from lookalike_indexer.collection.manifest import ClusteringEntry, GraphEntry, IndexEntry, Manifest

# The maximum rows of a merged part: with 2,048 dimensions in float32 they take 128 MiB.
ROWS = 16_384
# `lookalike embed` writes parts of 1,024 images; less than half of that is small.
SMALL = 512

# Returns the columns of a file by its path.
Columns = Callable[[str], pa.Schema]


@dataclass(frozen=True)
class Grouping:
    """Groups of at least two part numbers, in the order of the listing; `apart` counts small parts in no group."""

    groups: list[tuple[int, ...]]
    apart: int

    @property
    def merged(self) -> int:
        """The number of parts that are merged."""
        return sum(map(len, self.groups))


def group(manifest: Manifest, rows: int = ROWS, columns: Columns | None = None) -> Grouping:
    """Group the parts of the listing, each group with at most `rows` images.

    Each group is as long as possible, from the first part on, so that merged parts are not merged again before others
    follow. Without `columns` the parts are assumed to have the same columns, and no file is read.
    """
    borders = _Borders(manifest, columns)
    groups: list[tuple[int, ...]] = []
    held: list[int] = []
    size = 0
    for place, path in enumerate(manifest.listing):
        number, count = layout.part_number(path), manifest.rows([path])
        if held and size + count <= rows and borders.can_merge(held[0], number, place - len(held), place):
            held.append(number)
            size += count
        else:
            groups.append(tuple(held))
            held, size = [number], count
    groups.append(tuple(held))
    merged = [numbers for numbers in groups if len(numbers) > 1]
    within = {number for numbers in merged for number in numbers}
    small = (path for path in manifest.listing if manifest.rows([path]) < min(SMALL, rows))
    return Grouping(merged, sum(layout.part_number(path) not in within for path in small))


def small_parts(manifest: Manifest) -> int:
    """Return how many small parts `lookalike compact` would merge; read no file."""
    within = {number for numbers in group(manifest).groups for number in numbers}
    small = (path for path in manifest.listing if manifest.rows([path]) < SMALL)
    return sum(layout.part_number(path) in within for path in small)


class Table:
    """The parts of a table by number: their positions in its list."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self._places: dict[int, list[int]] = {}
        for place, path in enumerate(paths):
            self._places.setdefault(layout.part_number(path), []).append(place)

    def places(self, number: int) -> list[int]:
        return self._places.get(number, [])

    def of(self, number: int) -> list[str]:
        """Return the paths of a part, in the order of the table."""
        return [self.paths[place] for place in self.places(number)]

    def all_of(self, numbers: Sequence[int]) -> list[str]:
        """Return the paths of several parts, in order."""
        return [path for number in numbers for path in self.of(number)]


@dataclass(frozen=True)
class Tables:
    """Every table of a manifest.

    `assignments` has the space of each clustering and graph, and its files by embedding part. Attribute tables join by
    id, not by part, so that only some parts of a group may occur in them.
    """

    listing: Table
    images: Table
    predictions: dict[str, Table]
    rejects: dict[str, Table]
    spaces: dict[str, Table]
    assignments: list[tuple[str, dict[str, str]]]
    attributes: list[Table]

    @classmethod
    def of(cls, manifest: Manifest) -> Tables:
        return cls(
            Table(manifest.listing),
            Table(manifest.images),
            {name: Table(entry.predictions) for name, entry in manifest.models.items()},
            {name: Table(entry.rejects) for name, entry in manifest.models.items()},
            {name: Table(entry.parts) for name, entry in manifest.spaces.items()},
            [
                (entry.space, dict(zip(manifest.parts_of(entry), entry.assignments, strict=False)))
                for entry in manifest.clusterings.values()
            ]
            + [
                (entry.space, dict(zip(entry.parts, entry.neighbors, strict=True)))
                for entry in manifest.graphs.values()
            ],
            [Table(entry.parts) for entry in manifest.attributes.values()],
        )

    def single(self) -> list[Table]:
        """Return the tables that have one file for each part."""
        return [self.listing, self.images, *self.predictions.values(), *self.spaces.values()]

    def every(self) -> list[Table]:
        """Return all tables except the assignments and the attributes."""
        return [*self.single(), *self.rejects.values()]

    def assigned(self, space: str, numbers: Sequence[int]) -> Iterator[list[str]]:
        """Yield the paths of some parts' assignments or neighbors, by clustering and graph of their embeddings."""
        parts = self.spaces[space].all_of(numbers)
        for of, by_part in self.assignments:
            paths = [by_part[part] for part in parts if part in by_part] if of == space else []
            if paths:
                yield paths


class _Borders:
    """Compares parts with the first one of their group."""

    def __init__(self, manifest: Manifest, columns: Columns | None) -> None:
        self._manifest, self._columns = manifest, columns
        self._tables = Tables.of(manifest)
        made: list[ClusteringEntry | IndexEntry | GraphEntry] = [
            *manifest.clusterings.values(),
            *manifest.indexes.values(),
            *manifest.graphs.values(),
        ]
        self._made = [(entry, _places(manifest.parts_of(entry))) for entry in made]
        self._first: tuple[int, tuple[Hashable, ...], list[pa.Schema]] | None = None

    def can_merge(self, first: int, number: int, first_place: int, place: int) -> bool:
        """Return whether a part can be merged with the first one of its group, by their numbers and positions."""
        if self._first is None or self._first[0] != first:
            self._first = (first, self._signature(first, first_place), self._schemas(first))
        _, signature, schemas = self._first
        return signature == self._signature(number, place) and schemas == self._schemas(number)

    def _signature(self, number: int, place: int) -> tuple[Hashable, ...]:
        """Return the properties that are equal for all parts of a group, relative to their positions in the listing."""
        single = [table.places(number) for table in self._tables.single()]
        if any(len(places) > 1 for places in single) or not self._tables.images.places(number):
            return ("alone", number)
        found: list[Hashable] = [places[0] - place if places else None for places in single]
        found += [bool(table.places(number)) for table in self._tables.rejects.values()]
        for table in self._tables.spaces.values():
            found.append(tuple(self._manifest.files[path].compute for path in table.of(number)))
        for entry, places in self._made:
            path = next(iter(self._tables.spaces[entry.space].of(number)), None)
            at = places.get(path) if path else None
            if isinstance(entry, ClusteringEntry) and at is not None and at >= len(entry.assignments):
                return ("alone", number)
            # None: the entry covers other embeddings, and keeps them.
            found.append(None if at is None else at - place)
        return tuple(found)

    def _schemas(self, number: int) -> list[pa.Schema]:
        """Return the distinct schemas of each table's files."""
        if self._columns is None:
            return []
        return [schema for table in self._tables.every() for schema in _distinct(self._columns, table.of(number))]


def _distinct(columns: Columns, paths: list[str]) -> Iterator[pa.Schema]:
    seen: list[pa.Schema] = []
    for path in paths:
        found = columns(path)
        if found not in seen:
            seen.append(found)
            yield found


def _places(paths: list[str]) -> dict[str, int]:
    return {path: place for place, path in enumerate(paths)}
