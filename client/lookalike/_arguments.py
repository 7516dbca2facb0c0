"""The arguments of a query and what may go with it, as types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Required, SupportsIndex, TypeAlias, TypedDict, Union

import numpy as np
import numpy.typing as npt

from lookalike._changes import After
from lookalike._filters import Where
from lookalike._pictures import Picture

# Whether a query of a batch that cannot be answered fails the call, or its row.
Errors: TypeAlias = Literal["raise", "rows"]
# The names of columns that a result has besides, or "*" for all attributes of the collection.
Fields: TypeAlias = Sequence[str] | str
Order: TypeAlias = Literal["id", "spread"]
# Called with the number of rows that are done, and of all; True draws a bar by tqdm.
Progress: TypeAlias = Callable[[int, int], object] | bool
# A part of a picture: (x, y, width, height) in pixels, after EXIF orientation has been applied.
Box: TypeAlias = tuple[int, int, int, int]
# What a query, the mean of examples and the mean of counter-examples count for.
Weights: TypeAlias = tuple[float, float, float]
IdSequence: TypeAlias = Union[Sequence[SupportsIndex], "npt.NDArray[np.integer[Any]]"]


class OneQuery(TypedDict, total=False):
    """Exactly one of `key`, `id`, `image`, `vector` and `text`.

    `fingerprint` may go with `vector`, and `box` with `image`.
    """

    key: str
    id: SupportsIndex
    image: Picture
    vector: npt.ArrayLike
    text: str
    fingerprint: str
    box: Box


class ManyQueries(TypedDict, total=False):
    """Exactly one of `keys`, `ids`, `images`, `vectors` and `texts`.

    `fingerprint` may go with `vectors`, and `boxes` with `images`: None for a whole picture.
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
    """Exactly one of `key` and `id`."""

    key: str
    id: SupportsIndex


class ManyImages(TypedDict, total=False):
    """Exactly one of `keys` and `ids`."""

    keys: Sequence[str]
    ids: IdSequence


class SearchOptions(TypedDict, total=False):
    """What a search may be told besides the query; the clients' `search` explains each."""

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
    """What a question for clusters may be told besides the query; the clients' `clusters` explains each."""

    clusterings: Sequence[str] | str
    space: str | None
    members: int
    where: Where | None
    fields: Fields


class SearchOne(OneQuery, SearchOptions, total=False):
    """The arguments of a search that gives a single result."""


class SearchMany(ManyQueries, SearchOptions, total=False):
    """The arguments of a search that gives a batch of results."""


class SearchExamples(OneQuery, SearchOptions, total=False):
    """The arguments of a search by examples, which gives a single result."""

    keys: Sequence[str]
    not_keys: Required[Sequence[str]]
    weights: Weights | None


class ClustersOne(OneQuery, ClustersOptions, total=False):
    """The arguments of a question for the clusters of one image."""


class ClustersMany(ManyQueries, ClustersOptions, total=False):
    """The arguments of a question for the clusters of several images."""
