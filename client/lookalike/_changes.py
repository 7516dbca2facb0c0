"""Results of changes to a served collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, SupportsIndex, TypeAlias, Union

import numpy.typing as npt

from lookalike._columns import Int64
from lookalike._pictures import Picture

# Pictures, or vectors of shape (dim,), by key. Where a collection has several spaces, the vectors of each by its name.
NewPictures: TypeAlias = Mapping[str, Picture]
NewVectors: TypeAlias = Mapping[str, Union["npt.ArrayLike", Mapping[str, "npt.ArrayLike"]]]
# The values of one image's attributes by name: bool, int, float, str, datetime, or a list of str; None for no value.
Values: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Upserted:
    """Images that were added or replaced.

    `ids` (n,) are the new ids of `keys`, -1 for a reject. `rejects` has the reasons of those that were not stored, by
    key. `replaced` counts the images that were there before under their keys. `sequence` is the number of the change:
    give the object to `search(after=...)`.
    """

    keys: tuple[str, ...]
    ids: Int64
    sequence: int
    replaced: int = 0
    rejects: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Deleted:
    """How many images were deleted, and how many of the keys no image had. `sequence` as in Upserted."""

    deleted: int
    unknown: int
    sequence: int


@dataclass(frozen=True)
class Restored:
    """How many images came back, and how many of the ids could not. `sequence` as in Upserted."""

    restored: int
    unknown: int
    sequence: int


@dataclass(frozen=True)
class Described:
    """Labels or attributes of images were set. `sequence` as in Upserted."""

    sequence: int


@dataclass(frozen=True)
class Folded:
    """The generation that has the changes up to `sequence`."""

    generation: int
    sequence: int


# What a search may have to wait for.
After: TypeAlias = Upserted | Deleted | Restored | Described | SupportsIndex | None
