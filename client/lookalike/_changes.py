"""Results of changes to a served collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, SupportsIndex, TypeAlias, Union

import numpy.typing as npt

from lookalike._columns import Int64
from lookalike._images import Picture

# Images, or vectors of shape (dim,), by key. With several spaces: a mapping of space names to vectors.
NewPictures: TypeAlias = Mapping[str, Picture]
NewVectors: TypeAlias = Mapping[str, Union["npt.ArrayLike", Mapping[str, "npt.ArrayLike"]]]
# The attribute values of one image by name: bool, int, float, str, datetime, or a list of str; None for no value.
Values: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Upserted:
    """Result of `Client.upsert`: images that were added or replaced.

    `ids`, int64 (n,), has the new id of each of `keys`, -1 for a rejected image. `rejects` has the reason for each
    rejected image, by key. `replaced` counts the images that replaced an image of the same key. `sequence` is the
    number of the change: pass this object to `search(after=...)` to search with the change applied.
    """

    keys: tuple[str, ...]
    ids: Int64
    sequence: int
    replaced: int = 0
    rejects: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Deleted:
    """Numbers of deleted images and of keys that no image had. `sequence` is as in Upserted."""

    deleted: int
    unknown: int
    sequence: int


@dataclass(frozen=True)
class Restored:
    """Numbers of restored images and of ids that could not be restored. `sequence` is as in Upserted."""

    restored: int
    unknown: int
    sequence: int


@dataclass(frozen=True)
class Described:
    """Result of setting labels or attributes of images. `sequence` is as in Upserted."""

    sequence: int


@dataclass(frozen=True)
class Folded:
    """The generation that contains all changes up to `sequence`."""

    generation: int
    sequence: int


# A change that a search waits for: a result of a change, or its sequence number.
After: TypeAlias = Upserted | Deleted | Restored | Described | SupportsIndex | None
