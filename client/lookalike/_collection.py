"""What is in a collection: its description and its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from lookalike._attributes import NO_VALUES, Attributes
from lookalike._columns import Columns, Int32, Int64
from lookalike._metrics import Metric
from lookalike._notebook import html
from lookalike._notebook.frames import Column
from lookalike._notebook.pictures import MOST_PICTURES
from lookalike._notebook.shown import foot, strip
from lookalike._served import Served


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
    the space has none. `takes_text` tells that a query may be a text.
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
    takes_text: bool = False


@dataclass(frozen=True)
class Clustering:
    """A clustering, named "space/name".

    `missing` counts the images of the space that are not in it. `strategy` says
    how the centroids were found: "kmeans", "spherical", "bisecting",
    "agglomerative" or "whitened"; `spherical` is true for the second.
    """

    name: str
    space: str
    k: int
    spherical: bool
    inertia: float
    images: int
    missing: int = 0
    strategy: str = "kmeans"


@dataclass(frozen=True)
class Attribute:
    """A column about images that was attached to the collection.

    `type` is "bool", "int64", "float64", "string", "timestamp" or "list<string>". `count` images have a value,
    `examples` are some of them as text. `table` is the attribute table that it came with.
    """

    table: str
    name: str
    type: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Collection:
    """A generation of a collection.

    `rejects` is the number of source files that could not be read, `labels` that
    of distinct labels. `default_space` is used when a call names none. `deleted`
    images are still in the collection's files; no other number counts them.
    """

    name: str
    generation: int
    images: int
    rejects: int
    labels: int
    default_space: str
    spaces: tuple[Space, ...]
    clusterings: tuple[Clustering, ...]
    attributes: tuple[Attribute, ...] = ()
    deleted: int = 0

    def _repr_html_(self) -> str:
        about = (
            f"generation {self.generation}: {self.images:,} images, {self.labels:,} labels, {self.rejects:,} rejects"
        )
        spaces = {
            "space": [each.name for each in self.spaces],
            "weights": [each.weights for each in self.spaces],
            "dim": [each.dim for each in self.spaces],
            "images": [each.images for each in self.spaces],
            "index": [each.index.factory if each.index else None for each in self.spaces],
            "clustering": [each.default_clustering or None for each in self.spaces],
        }
        clusterings = {
            "clustering": [each.name for each in self.clusterings],
            "strategy": [each.strategy for each in self.clusterings],
            "k": [each.k for each in self.clusterings],
            "inertia": [each.inertia for each in self.clusterings],
            "images": [each.images for each in self.clusterings],
        }
        attributes = {
            "attribute": [each.name for each in self.attributes],
            "type": [each.type for each in self.attributes],
            "images": [each.count for each in self.attributes],
            "examples": [", ".join(each.examples) for each in self.attributes],
        }
        untrained = ", ".join(each.name for each in self.spaces if not each.pretrained)
        return html.box(
            html.heading(self.name, faint=about),
            html.note(f"The default space is {self.default_space}.") if self.default_space else "",
            html.table(spaces, len(self.spaces), most=len(self.spaces)),
            html.table(clusterings, len(self.clusterings), most=len(self.clusterings)),
            html.table(attributes, len(self.attributes), most=len(self.attributes)) if self.attributes else "",
            html.note(f"UNTRAINED weights: {untrained}." if untrained else ""),
        )


class StoredImage(NamedTuple):
    """An image of the collection; width and height in pixels, upright. `uri` is "" where the server hides it.

    `attributes` are those that were asked for, by name.
    """

    id: int
    key: str
    label: str | None
    uri: str
    width: int
    height: int
    attributes: Mapping[str, Any] = NO_VALUES


@dataclass(frozen=True, eq=False, repr=False)
class StoredImages(Columns[StoredImage]):
    """Images of the collection as columns of length n.

    ids: int64, (n,). labels: None where an image has none. uris: where each
    image's bytes are, "" where the server hides that. widths, heights: int32,
    (n,), in pixels, upright. attributes: the columns that were asked for. served:
    what answered; of several calls, their sum. Arrays are read-only.
    """

    ids: Int64
    keys: tuple[str, ...]
    labels: tuple[str | None, ...]
    uris: tuple[str, ...]
    widths: Int32
    heights: Int32
    attributes: Attributes = field(default_factory=Attributes)
    served: Served | None = None

    _sliced: ClassVar = ("ids", "keys", "labels", "uris", "widths", "heights", "attributes")

    def __len__(self) -> int:
        return len(self.ids)

    def _table(self) -> Mapping[str, Column]:
        columns: dict[str, Column] = {
            "id": self.ids,
            "key": self.keys,
            "label": self.labels,
            "uri": self.uris,
            "width": self.widths,
            "height": self.heights,
        }
        return self.attributes.beside(columns)

    def _repr_html_(self) -> str:
        gallery = self._gallery(self.ids.tolist(), self.keys)
        lines = [(label or "",) for label in self.labels]
        pictures = strip(gallery, self.ids.tolist(), self.keys, lines)
        return html.box(html.heading("Images", faint=str(len(self))), pictures, foot(None, gallery))

    def _row(self, index: int) -> StoredImage:
        return StoredImage(
            int(self.ids[index]),
            self.keys[index],
            self.labels[index],
            self.uris[index],
            int(self.widths[index]),
            int(self.heights[index]),
            self.attributes.row(index),
        )

    def __repr__(self) -> str:
        keys = ", ".join(map(repr, self.keys[:3]))
        return f"<StoredImages {len(self)}: {keys}{', ...' if len(self) > 3 else ''}>"


@dataclass(frozen=True, eq=False, repr=False)
class Thumbnails(Columns["bytes | None"]):
    """Small upright JPEGs in the order asked for; None where the source can no longer be read."""

    jpegs: tuple[bytes | None, ...]
    served: Served

    _sliced: ClassVar = ("jpegs",)

    def __len__(self) -> int:
        return len(self.jpegs)

    def _table(self) -> Mapping[str, Column]:
        return {"jpeg": self.jpegs}

    def _repr_html_(self) -> str:
        shown = self.jpegs[:MOST_PICTURES]
        left = len(self) - len(shown)
        more = html.note(f"... and {left:,} more; a slice shows others." if left else "")
        return html.box(html.tiles(html.tile(jpeg, "") for jpeg in shown), more)

    def _row(self, index: int) -> bytes | None:
        return self.jpegs[index]

    def __repr__(self) -> str:
        return f"<Thumbnails {len(self)}, {sum(len(jpeg or b'') for jpeg in self.jpegs)} bytes>"
