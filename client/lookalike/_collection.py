"""Description of a collection, and its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from lookalike._attributes import NO_VALUES, Attributes
from lookalike._columns import Columns, Int32, Int64
from lookalike._metrics import Metric
from lookalike._notebook import html
from lookalike._notebook.frames import Column
from lookalike._notebook.shown import foot, strip
from lookalike._notebook.thumbnails import MOST_PICTURES
from lookalike._served import Served


@dataclass(frozen=True)
class RecallPoint:
    """recall@k measured when the index was built, with `nprobe` lists visited."""

    nprobe: int
    recall: float
    k: int = 10


@dataclass(frozen=True)
class Index:
    """A search index.

    `name` identifies the index within its space. `factory` is faiss's index_factory string.
    Distances are 1 - cosine similarity ("cosine") or Euclidean ("l2"). `nlist` is 0 if the
    index has no inverted lists. `recall` is sorted by k, then by nprobe. `images` counts the
    indexed images, `missing` the images of the space that are not indexed.
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

    `dim` is the length of its vectors, `images` the number of images that have one.
    `pretrained` is False for untrained weights. Spaces whose embeddings can be compared
    have equal `fingerprint`s. `index` is the served index, None if none was built;
    `indexes` has all of them. `default_clustering`, "space/name", answers calls that name
    no clustering; it is "" if the space has none. `takes_text` is True if a query may be a text.
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

    `k` is the number of clusters, `images` that of clustered images, `missing` that of the
    space's other images. `strategy` is the algorithm: "kmeans", "spherical", "bisecting",
    "agglomerative" or "whitened". `spherical` is True for "spherical".
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
    """A column of values about images, attached to the collection.

    `type` is "bool", "int64", "float64", "string", "timestamp" or "list<string>". `count` images have a value;
    `examples` shows some values as text. `table` is the attribute table that the column belongs to.
    """

    table: str
    name: str
    type: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Collection:
    """One generation of a collection.

    `images` counts the images, `labels` the distinct labels, and `rejects` the source files
    that could not be read. `default_space` answers calls that name no space. `deleted` counts
    deleted images that are still in the collection's files; no other number includes them.
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
    """An image of the collection. `width` and `height` are in pixels, after EXIF orientation.

    `label` is None if the image has none. `uri` is "" if the server hides it. `attributes` has
    the values of the requested columns by name.
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

    - `ids`: int64, (n,).
    - `labels`: None where an image has no label.
    - `uris`: the location of each image's bytes, "" if the server hides it.
    - `widths`, `heights`: int32, (n,), in pixels, after EXIF orientation.
    - `attributes`: the requested columns.
    - `served`: the server's report on the reply; combined over several calls.

    Arrays are read-only.
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
    """Upright JPEG thumbnails in the order requested; None where the source can no longer be read."""

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
