"""The passport of a generation: every file with its digest, and how each thing was made.

A manifest holds no times and no machine names, so that the same inputs and
settings give the same bytes. `encoding.py` writes and reads its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lookalike_indexer.collection.limits import DEFAULT_LIMITS, ImageLimits
from lookalike_indexer.collection.spec import Metric, ModelSpec, Pooling, SpaceSpec
from lookalike_indexer.collection.strategy import STRATEGIES as STRATEGIES
from lookalike_indexer.collection.strategy import Strategy as Strategy

# The newest format. It is written where an index has increments: older readers, which would take its first file for all
# of it, refuse the collection.
FORMAT = 4
# Written where there are tombstones, since older readers would show deleted images.
_WITH_TOMBSTONES = 3
_WITHOUT_TOMBSTONES = 2
# The name of a space's index when the user gives none.
MAIN = "main"


@dataclass(frozen=True)
class FileEntry:
    """A file of the collection: its length in bytes, its SHA-256, its rows where it is a table.

    `compute` is the arithmetic that made a part of embeddings, such as
    "float32" or "nvjpeg bfloat16"; several are joined by " + ".
    """

    bytes: int
    sha256: str
    rows: int | None = None
    compute: str = ""


@dataclass(frozen=True)
class SourceEntry:
    """Where the images came from.

    `uri` is an absolute path. The kind "shards" is a folder of Parquet, tar or
    zip files. `exclude` are gitignore patterns of paths below `uri` that are
    left out, besides the defaults.
    """

    kind: Literal["directory", "list", "parquet", "tar", "zip", "shards"]
    uri: str
    exclude: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ModelEntry:
    """A model that embedded the images; `files` are those that the model itself needs.

    `compute` is the arithmetic of the last run that embedded something; that of each part is in its FileEntry.
    """

    spec: ModelSpec
    compute: str
    predictions: list[str]
    rejects: list[str]
    files: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SpaceEntry:
    """An embedding space; `model` names an entry of Manifest.models, `dtype` is the stored type."""

    model: str
    layer: str
    pooling: Pooling
    dim: int
    dtype: Literal["float16", "float32"]
    fingerprint: str
    rows: int
    parts: list[str]


@dataclass(frozen=True)
class ClusteringEntry:
    """Centroids, and the assignment of each image to the nearest of them.

    `metric` "cosine" means that embeddings were L2-normalised first. `strategy`
    says how the centroids were found. Where it is "whitened", the file
    `whitening` transforms embeddings before the nearest centroid is taken; ""
    for the others. `inertia`
    is the sum of squared distances of the training vectors to their centroids
    before each update, by iteration, of the best restart; one figure where
    the strategy has no iterations. `digest` is that of
    the settings and the embeddings' digests. `automatic` says that the
    collection chose k, `asked_restarts` what the user asked for. `parts` are the
    embedding parts that were clustered, in order; format 1 does not name them
    and means the first ones of the space. `made` is the place in the order of making
    among the space's clusterings. `trained_rows` are the rows that there were when it was trained, where images were
    assigned to its centroids later; 0 where they are all its rows.
    """

    space: str
    name: str
    k: int
    metric: Metric
    strategy: Strategy
    seed: int
    iterations: int
    restarts: int
    trained_on: int
    inertia: list[float]
    rows: int
    centroids: str
    assignments: list[str]
    digest: str
    automatic: bool = False
    asked_restarts: int | None = None
    points_per_centroid: int = 256
    parts: list[str] = field(default_factory=list)
    made: int = 0
    whitening: str = ""
    trained_rows: int = 0

    @property
    def files(self) -> list[str]:
        """What says which cluster an embedding belongs to: the centroids, and the whitening where there is one."""
        return [self.centroids, *([self.whitening] if self.whitening else [])]


@dataclass(frozen=True)
class AttributeColumn:
    """A column of an attribute table.

    `type` is the name of one of schema.ATTRIBUTE_TYPES. `count` images have a
    value; `examples` are the first different ones, by ascending id, as short texts.
    """

    name: str
    type: str
    count: int
    examples: list[str]


@dataclass(frozen=True)
class AttributesEntry:
    """An attribute table: columns about images, which a user attached.

    `parts` have the column id and then `columns`, by ascending id; each is about the images of the images part of
    its number, as that was when the table was attached. Images without a row have no values. `rows` is the number
    of images that a row of the user's table named. `digest` is that of the user's table and of the images' ids and
    keys.
    """

    columns: list[AttributeColumn]
    rows: int
    parts: list[str]
    digest: str


@dataclass(frozen=True)
class GraphEntry:
    """The k-nearest-neighbor graph of a space: the ids and distances of the k nearest others of each image.

    `neighbors` are its parts, each about the images of the embedding part in its place of `parts`. `method` says what
    found the candidates: "exact" a comparison with all, "index" the index `index` ("space/name"), "components" the
    principal components. `recall` is the share of the k nearest that it holds, as measured on `recall_queries` images.
    Rows that have fewer than k others end with id -1 at distance infinity. `digest` is that of the settings and of the
    embeddings' digests. `deleted` is the number of tombstones when it was made: its lists name none of those images.
    """

    space: str
    k: int
    metric: Metric
    method: Literal["exact", "index", "components"]
    rows: int
    neighbors: list[str]
    parts: list[str]
    digest: str
    index: str = ""
    recall: float = 1.0
    recall_queries: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class RecallPoint:
    """recall@k as measured at build time with `nprobe` lists visited, of a graph with `nprobe` as its efSearch."""

    nprobe: int
    recall: float
    k: int = 10


@dataclass(frozen=True)
class Candidate:
    """A kind of index that was tried on a sample of a space, when the kind was to be chosen.

    `nprobe` is the least that reached the target, with `recall`; at it, one
    thread answered `queries_per_second` in batches of 64 over the sample, and is
    expected to answer `expected_queries_per_second` over all images (0: not
    known). `verdict` says why it was taken, or was not.
    """

    index: str
    factory: str
    nprobe: int
    recall: float
    queries_per_second: float
    bytes_per_image: float
    verdict: str
    expected_queries_per_second: float = 0.0


@dataclass(frozen=True)
class IndexIncrement:
    """What an index gained after its file was written: the file, and its rows; see indexing/increments.py."""

    path: str
    rows: int


@dataclass(frozen=True)
class IndexEntry:
    """A faiss index over rows of a space: entry i of the index is row i of the embedding parts `parts`, in order.

    It is the file `path` with the `increments`, in order; `rows` counts all of them.

    Format 1 names no parts and means the first ones of the space. `candidates` were
    tried on `sampled` images before; `choice` is the digest of what decides
    such a trial, so that it is not made again. `asked` is the kind or factory
    string that the user asked for ("" in format 1), with `asked_nlist`,
    `asked_train_size`, `target_recall` and `max_memory` (bytes). `made` is the
    place in the order of making among the space's indexes. `recall` goes by
    ascending k, then nprobe; `target_recall` decided `default_nprobe` by
    recall@10, and decides the nprobe of a larger k. `ids` is the file that names the image of each row; "" in
    indexes that older releases built. `trained_rows` are the rows that there were when it was trained,
    where images were added to it later; 0 where they are all its rows.
    """

    space: str
    factory: str
    metric: Metric
    nlist: int
    default_nprobe: int
    recall: list[RecallPoint]
    recall_queries: int
    trained_on: int
    seed: int
    rows: int
    path: str
    digest: str
    candidates: list[Candidate] = field(default_factory=list)
    sampled: int = 0
    choice: str = ""
    name: str = MAIN
    asked: str = ""
    asked_nlist: int | None = None
    asked_train_size: int | None = None
    target_recall: float = 0.95
    max_memory: int | None = None
    parts: list[str] = field(default_factory=list)
    made: int = 0
    trained_rows: int = 0
    ids: str = ""
    increments: list[IndexIncrement] = field(default_factory=list)

    @property
    def index_files(self) -> list[str]:
        """The files that it is read from: the first one and the increments."""
        return [self.path, *(one.path for one in self.increments)]

    @property
    def files(self) -> list[str]:
        """The index's own files."""
        return [*self.index_files, *([self.ids] if self.ids else [])]

    @property
    def base_rows(self) -> int:
        """The rows of the file `path`, which `ids` has the images of."""
        return self.rows - sum(one.rows for one in self.increments)


Setting = str | int | float | bool | None | list[str | int]


@dataclass(frozen=True)
class ResultEntry:
    """An experiment's stored outcome: its tables, by a short name, with its figures and findings.

    `inputs` is the digest of the files that it was read from; another one than
    the generation's own says that it is out of date (`experiments/stored_results.py`).
    """

    kind: str
    name: str
    settings: dict[str, Setting]
    figures: dict[str, float]
    findings: list[str]
    tables: dict[str, str]
    inputs: str


@dataclass(frozen=True)
class Manifest:
    """A generation.

    Keys of `clusterings` and `indexes` are "space/name", of `results`
    "kind/name", of `attributes` the names of the tables, of `graphs` the spaces. `limits` are those that the images
    were decoded within. `tombstones` are the parts that name the deleted images, see tombstones.py.
    `left_out` counts the files of the source that no image was made of, by the
    reason. `default_space_is_set` says that a user asked for the default space.
    `folded_through` is the sequence of the last change of the log that is in it; see `changelog.py`.
    """

    format: int
    generation: int
    source: SourceEntry
    files: dict[str, FileEntry]
    listing: list[str]
    images: list[str]
    models: dict[str, ModelEntry] = field(default_factory=dict)
    spaces: dict[str, SpaceEntry] = field(default_factory=dict)
    clusterings: dict[str, ClusteringEntry] = field(default_factory=dict)
    indexes: dict[str, IndexEntry] = field(default_factory=dict)
    results: dict[str, ResultEntry] = field(default_factory=dict)
    default_space: str = ""
    default_space_is_set: bool = False
    limits: ImageLimits = DEFAULT_LIMITS
    left_out: dict[str, int] = field(default_factory=dict)
    attributes: dict[str, AttributesEntry] = field(default_factory=dict)
    graphs: dict[str, GraphEntry] = field(default_factory=dict)
    tombstones: list[str] = field(default_factory=list)
    folded_through: int = 0

    @property
    def needed_format(self) -> int:
        """The oldest format that readers must know to leave out what is deleted, and to read all of each index."""
        if any(index.increments for index in self.indexes.values()):
            return FORMAT
        return _WITH_TOMBSTONES if self.tombstones else _WITHOUT_TOMBSTONES

    def rows(self, paths: list[str]) -> int:
        """The rows of some table parts together."""
        return sum(self.files[path].rows or 0 for path in paths)

    def space_spec(self, name: str) -> SpaceSpec:
        space = self.spaces[name]
        return SpaceSpec(self.models[space.model].spec, space.layer, space.pooling)

    def parts_of(self, entry: ClusteringEntry | IndexEntry | GraphEntry) -> list[str]:
        """The embedding parts that a clustering, an index or a graph was made of, in order."""
        if entry.parts or entry.space not in self.spaces:
            return entry.parts
        # Format 1 only ever appended parts to a space, so its entries are of the first ones.
        parts, rows = self.spaces[entry.space].parts, 0
        for number, path in enumerate(parts):
            if rows >= entry.rows:
                return parts[:number]
            file = self.files.get(path)
            rows += (file.rows or 0) if file else 0
        return parts
