"""Types of the arguments of queries and searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Required, SupportsIndex, TypeAlias, TypedDict, Union

import numpy as np
import numpy.typing as npt

from lookalike._changes import After
from lookalike._filters import Where
from lookalike._images import Picture

# "raise": a query of a batch that cannot be answered fails the call. "rows": it fails only its own row.
Errors: TypeAlias = Literal["raise", "rows"]
# Names of attribute columns to add to a result, or "*" for all attributes of the collection.
Fields: TypeAlias = Sequence[str] | str
Order: TypeAlias = Literal["id", "spread"]
# Called with the number of completed rows and the total. True draws a tqdm progress bar.
Progress: TypeAlias = Callable[[int, int], object] | bool
# A part of an image: (x, y, width, height) in pixels, after EXIF orientation has been applied.
Box: TypeAlias = tuple[int, int, int, int]
# Weights of the query, of the mean of the examples, and of the mean of the counter-examples.
Weights: TypeAlias = tuple[float, float, float]
IdSequence: TypeAlias = Union[Sequence[SupportsIndex], "npt.NDArray[np.integer[Any]]"]


class OneQuery(TypedDict, total=False):
    """One query: exactly one of `key`, `id`, `image`, `vector` and `text`.

    `fingerprint` goes with `vector`, and `box` with `image`; both are optional.
    """

    key: str
    id: SupportsIndex
    image: Picture
    vector: npt.ArrayLike
    text: str
    fingerprint: str
    box: Box


class ManyQueries(TypedDict, total=False):
    """A batch of queries: exactly one of `keys`, `ids`, `images`, `vectors` and `texts`.

    `fingerprint` goes with `vectors`, and `boxes` with `images`; both are optional. A box is None for a whole image.
    """

    keys: Sequence[str]
    ids: IdSequence
    images: Sequence[Picture]
    vectors: npt.ArrayLike
    texts: Sequence[str]
    fingerprint: str
    boxes: Sequence[Box | None]
    errors: Errors
    batch_size: int | None
    progress: Progress


class OneImage(TypedDict, total=False):
    """One stored image: exactly one of `key` and `id`."""

    key: str
    id: SupportsIndex


class ManyImages(TypedDict, total=False):
    """Several stored images: exactly one of `keys` and `ids`."""

    keys: Sequence[str]
    ids: IdSequence


class SearchOptions(TypedDict, total=False):
    """Options of a search; see `Client.search`."""

    k: int
    space: str | None
    nprobe: int | None
    recall: float | None
    exact: bool
    include_self: bool
    uris: bool
    where: Where | None
    fields: Fields
    explain: bool
    max_distance: float | None
    group_by: str | None
    per_group: int
    with_vectors: bool
    after: After


class ClustersOptions(TypedDict, total=False):
    """Options of a cluster lookup; see `Client.clusters`."""

    clusterings: Sequence[str] | str
    space: str | None
    members: int
    where: Where | None
    fields: Fields


class SearchOne(OneQuery, SearchOptions, total=False):
    """Arguments of a search with one query."""


class SearchMany(ManyQueries, SearchOptions, total=False):
    """Arguments of a search with a batch of queries."""


class SearchExamples(OneQuery, SearchOptions, total=False):
    """Arguments of a search by examples and counter-examples, which returns one result."""

    keys: Sequence[str]
    not_keys: Required[Sequence[str]]
    weights: Weights | None


class ClustersOne(OneQuery, ClustersOptions, total=False):
    """Arguments of a cluster lookup of one image."""


class ClustersMany(ManyQueries, ClustersOptions, total=False):
    """Arguments of a cluster lookup of several images."""
