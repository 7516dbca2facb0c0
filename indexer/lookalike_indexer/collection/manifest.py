"""Manifest of a generation: every file with its digest, and the provenance of each entry.

A manifest contains no times and no machine names, so that the same inputs and settings give the same bytes.
`encoding.py` writes and reads its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lookalike_indexer.collection.limits import DEFAULT_LIMITS, ImageLimits
from lookalike_indexer.collection.spec import Metric, ModelSpec, Pooling, SpaceSpec
from lookalike_indexer.collection.strategy import STRATEGIES as STRATEGIES
from lookalike_indexer.collection.strategy import Strategy as Strategy

# The newest format. It is written if an index has increments: older readers would take the index's first file for the
# whole index, so they must reject the collection.
FORMAT = 4
# Written if there are tombstones, because older readers would show deleted images.
_WITH_TOMBSTONES = 3
_WITHOUT_TOMBSTONES = 2
# The default name of a space's index.
MAIN = "main"


@dataclass(frozen=True)
class FileEntry:
    """A file of the collection: its length in bytes, its SHA-256, and its rows if it is a table.

    `compute` is the arithmetic that produced a part of embeddings, such as "float32" or "nvjpeg bfloat16"; several are
    joined by " + ".
    """

    bytes: int
    sha256: str
    rows: int | None = None
    compute: str = ""


@dataclass(frozen=True)
class SourceEntry:
    """The source of the images.

    `uri` is an absolute path. The kind "shards" is a folder of Parquet, tar or zip files. `exclude` are gitignore
    patterns of paths below `uri` that are left out, in addition to the defaults.
    """

    kind: Literal["directory", "list", "parquet", "tar", "zip", "shards"]
    uri: str
    exclude: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ModelEntry:
    """A model that embedded the images; `files` are those that the model itself needs.

    `compute` is the arithmetic of the last run that embedded images; each part's own is in its FileEntry.
    """

    spec: ModelSpec
    compute: str
    predictions: list[str]
    rejects: list[str]
    files: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SpaceEntry:
    """An embedding space; `model` is a key of Manifest.models, `dtype` is the stored type."""

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
    """The centroids of a clustering, and the assignment of each image to the nearest of them.

    `metric` "cosine" means that embeddings were L2-normalized first. `strategy` is the algorithm that found the
    centroids. For "whitened", the file `whitening` transforms embeddings before the nearest centroid is chosen; ""
    otherwise.

    `inertia` is the sum of squared distances of the training vectors to their centroids before each update, by
    iteration, of the best restart. It has a single value if the strategy has no iterations. `digest` covers the
    settings and the embeddings' digests. `automatic` means that the collection chose k. `asked_restarts` is the number
    that the user requested. `parts` are the clustered embedding parts, in order; format 1 does not list them and means
    the first ones of the space. `made` is the creation order among the space's clusterings. `trained_rows` is the
    number of rows at the time of training if images were assigned later; 0 if all rows were there.
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
        """The files that define the cluster of an embedding: the centroids, and the whitening if there is one."""
        return [self.centroids, *([self.whitening] if self.whitening else [])]


@dataclass(frozen=True)
class AttributeColumn:
    """A column of an attribute table.

    `type` is a key of schema.ATTRIBUTE_TYPES. `count` is the number of images with a value. `examples` are the first
    distinct values, by ascending id, as short strings.
    """

    name: str
    type: str
    count: int
    examples: list[str]


@dataclass(frozen=True)
class AttributesEntry:
    """An attribute table: columns about images that a user attached.

    Each part has the column id and then `columns`, by ascending id. It covers the images part of the same number, as
    that was when the table was attached. Images without a row have no values. `rows` is the number of images that the
    user's table has a row for. `digest` covers the user's table and the images' ids and keys.
    """

    columns: list[AttributeColumn]
    rows: int
    parts: list[str]
    digest: str


@dataclass(frozen=True)
class GraphEntry:
    """The k-nearest-neighbor graph of a space: the ids and distances of the k nearest other images of each image.

    `neighbors` are its parts, each for the images of the embedding part at the same position of `parts`. `method` is
    how candidates were found: "exact" by comparison with all images, "index" by the index `index` ("space/name"),
    "components" by principal components. `recall` is the share of the true k nearest in the graph, measured on
    `recall_queries` images. Rows with fewer than k neighbors end with id -1 at distance infinity. `digest` covers the
    settings and the embeddings' digests. `deleted` is the number of tombstones when the graph was made: it lists none
    of those images.
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
    """recall@k, measured at build time with `nprobe` lists visited; for an HNSW graph `nprobe` is its efSearch."""

    nprobe: int
    recall: float
    k: int = 10


@dataclass(frozen=True)
class Candidate:
    """An index type that was tried on a sample of a space during automatic selection.

    `nprobe` is the smallest value that reached the target, with `recall`. With it, one thread answered
    `queries_per_second` in batches of 64 over the sample, and is expected to answer `expected_queries_per_second` over
    all images (0: unknown). `verdict` is the reason why the type was chosen or rejected.
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
    """Rows that an index gained after its file was written: the file and its number of rows; see
    indexing/increments.py.
    """

    path: str
    rows: int


@dataclass(frozen=True)
class IndexEntry:
    """A faiss index over rows of a space: entry i of the index is row i of the embedding parts `parts`, in order.

    The index consists of the file `path` and the `increments`, in order; `rows` counts all of them. Format 1 lists no
    parts and means the first ones of the space.

    `candidates` are the index types that were tried on `sampled` images. `choice` is the digest of the inputs of that
    trial, so that it is not repeated. `asked` is the type or factory string that the user requested ("" in format 1),
    with `asked_nlist`, `asked_train_size`, `target_recall` and `max_memory` (bytes). `made` is the creation order among
    the space's indexes. `recall` is sorted by k, then nprobe. `target_recall` determined `default_nprobe` by recall@10,
    and determines the nprobe of a larger k. `ids` is the file with the image of each row; "" in indexes that older
    releases built. `trained_rows` is the number of rows at the time of training if images were added later; 0 if all
    rows were there.
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
        """The files that the index is read from: the first one and the increments."""
        return [self.path, *(one.path for one in self.increments)]

    @property
    def files(self) -> list[str]:
        """The index's own files."""
        return [*self.index_files, *([self.ids] if self.ids else [])]

    @property
    def base_rows(self) -> int:
        """The rows of the file `path`, whose images are in `ids`."""
        return self.rows - sum(one.rows for one in self.increments)


Setting = str | int | float | bool | None | list[str | int]


@dataclass(frozen=True)
class ResultEntry:
    """The stored result of an experiment: its tables by short name, its figures and findings.

    `inputs` is the digest of the files that it was computed from. If it differs from the generation's, the result is
    outdated (`experiments/stored_results.py`).
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

    Keys of `clusterings` and `indexes` are "space/name", of `results` "kind/name", of `attributes` the table names, of
    `graphs` the spaces. `limits` are the limits that the images were decoded with. `tombstones` are the parts with the
    ids of deleted images, see tombstones.py. `left_out` counts the files of the source that became no image, by reason.
    `default_space_is_set` means that a user chose the default space. `folded_through` is the sequence of the last
    change of the change log that the generation includes; see `changelog.py`.
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
        """The oldest format whose readers leave out deleted images and read all of each index."""
        if any(index.increments for index in self.indexes.values()):
            return FORMAT
        return _WITH_TOMBSTONES if self.tombstones else _WITHOUT_TOMBSTONES

    def rows(self, paths: list[str]) -> int:
        """Return the total number of rows of some table parts."""
        return sum(self.files[path].rows or 0 for path in paths)

    def space_spec(self, name: str) -> SpaceSpec:
        space = self.spaces[name]
        return SpaceSpec(self.models[space.model].spec, space.layer, space.pooling)

    def parts_of(self, entry: ClusteringEntry | IndexEntry | GraphEntry) -> list[str]:
        """Return the embedding parts that a clustering, an index or a graph was made from, in order."""
        if entry.parts or entry.space not in self.spaces:
            return entry.parts
        # Format 1 only ever appended parts to a space, so its entries cover the first ones.
        parts, rows = self.spaces[entry.space].parts, 0
        for number, path in enumerate(parts):
            if rows >= entry.rows:
                return parts[:number]
            file = self.files.get(path)
            rows += (file.rows or 0) if file else 0
        return parts
