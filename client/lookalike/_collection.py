"""What is in a collection: its description and its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from lookalike._columns import Columns, Int32, Int64
from lookalike._served import Served

Metric = Literal["cosine", "l2", "unknown"]


@dataclass(frozen=True)
class RecallPoint:
    """recall@k as measured when the index was built, with `nprobe` lists visited."""

    nprobe: int
    recall: float
    k: int = 10


@dataclass(frozen=True)
class Index:
    """A search index.

    `factory` is as faiss's index_factory spells it. Distances are 1 - cosine
    similarity ("cosine") or Euclidean ("l2"). `nlist` is 0 when the index has no
    inverted lists. `recall` is by ascending k, then nprobe. `name` tells the
    indexes of a space apart. `missing` counts the images of the space that are not in it.
    """

    factory: str
    metric: Metric
    nlist: int
    default_nprobe: int
    recall: tuple[RecallPoint, ...]
    images: int
    name: str = ""
    missing: int = 0


@dataclass(frozen=True)
class Space:
    """An embedding space: model, weights, layer and pooling.

    `pretrained` is False when the weights are untrained. `fingerprint` is equal
    for spaces whose embeddings may be compared. `index` is the one that is
    served, None when none was built; `indexes` are all of them.
    `default_clustering` answers when a call names none: "space/name", or "" when
    the space has none.
    """

    name: str
    model: str
    weights: str
    pretrained: bool
    layer: str
    pooling: str
    dim: int
    images: int
    fingerprint: str
    index: Index | None
    indexes: tuple[Index, ...] = ()
    default_clustering: str = ""


@dataclass(frozen=True)
class Clustering:
    """A k-means clustering, named "space/name". `missing` counts the images of the space that are not in it."""

    name: str
    space: str
    k: int
    spherical: bool
    inertia: float
    images: int
    missing: int = 0


@dataclass(frozen=True)
class Collection:
    """A generation of a collection.

    `rejects` is the number of source files that could not be read, `labels` that
    of distinct labels. `default_space` is used when a call names none.
    """

    name: str
    generation: int
    images: int
    rejects: int
    labels: int
    default_space: str
    spaces: tuple[Space, ...]
    clusterings: tuple[Clustering, ...]


class StoredImage(NamedTuple):
    """An image of the collection; width and height in pixels, upright. `uri` is "" where the server hides it."""

    id: int
    key: str
    label: str | None
    uri: str
    width: int
    height: int


@dataclass(frozen=True, eq=False, repr=False)
class StoredImages(Columns[StoredImage]):
    """Images of the collection as columns of length n.

    ids: int64, (n,). labels: None where an image has none. uris: where each
    image's bytes are, "" where the server hides that. widths, heights: int32,
    (n,), in pixels, upright. Arrays are read-only.
    """

    ids: Int64
    keys: tuple[str, ...]
    labels: tuple[str | None, ...]
    uris: tuple[str, ...]
    widths: Int32
    heights: Int32

    def __len__(self) -> int:
        return len(self.ids)

    def _row(self, index: int) -> StoredImage:
        return StoredImage(
            int(self.ids[index]),
            self.keys[index],
            self.labels[index],
            self.uris[index],
            int(self.widths[index]),
            int(self.heights[index]),
        )

    def __repr__(self) -> str:
        keys = ", ".join(map(repr, self.keys[:3]))
        return f"<StoredImages {len(self)}: {keys}{', ...' if len(self) > 3 else ''}>"


@dataclass(frozen=True, eq=False, repr=False)
class Thumbnails(Columns["bytes | None"]):
    """Small upright JPEGs in the order asked for; None where the source can no longer be read."""

    jpegs: tuple[bytes | None, ...]
    served: Served

    def __len__(self) -> int:
        return len(self.jpegs)

    def _row(self, index: int) -> bytes | None:
        return self.jpegs[index]

    def __repr__(self) -> str:
        return f"<Thumbnails {len(self)}, {sum(len(jpeg or b'') for jpeg in self.jpegs)} bytes>"
