"""The passport of a generation: every file with its digest, and how each thing was made.

A manifest holds no times and no machine names, so that the same inputs and
settings give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from lookalike_indexer.collection.spec import Metric, ModelSpec, Pooling, SpaceSpec
from lookalike_indexer.errors import DataLossError, MismatchError

FORMAT = 1


@dataclass(frozen=True)
class FileEntry:
    """A file of the collection: its length in bytes, its SHA-256, its rows where it is a table."""

    bytes: int
    sha256: str
    rows: int | None = None


@dataclass(frozen=True)
class SourceEntry:
    """Where the images came from: `uri` is an absolute path."""

    kind: Literal["directory", "list", "parquet"]
    uri: str


@dataclass(frozen=True)
class ModelEntry:
    """A model that embedded the images; `files` are those that the model itself needs."""

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
    """A k-means result.

    `metric` "cosine" means that embeddings were L2-normalised first. `inertia`
    is the sum of squared distances of the training vectors to their centroids
    before each update, by iteration, of the best restart. `digest` is that of
    the settings and the embeddings' digests.
    """

    space: str
    name: str
    k: int
    metric: Metric
    spherical: bool
    seed: int
    iterations: int
    restarts: int
    trained_on: int
    inertia: list[float]
    rows: int
    centroids: str
    assignments: list[str]
    digest: str


@dataclass(frozen=True)
class RecallPoint:
    """recall@10 as measured at build time with `nprobe` lists visited."""

    nprobe: int
    recall: float


@dataclass(frozen=True)
class IndexEntry:
    """A faiss index over a space's rows in order: entry i of the index is row i of the space."""

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


Setting = str | int | float | bool | None | list[str | int]


@dataclass(frozen=True)
class ResultEntry:
    """An experiment's stored outcome: its tables, by a short name, with its figures and findings.

    `inputs` is the digest of the files that the collection had when it was
    made; another one than the generation's own says that it is out of date.
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

    Keys of `clusterings` are "space/name", of `indexes` the space's name, of
    `results` "kind/name".
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

    def rows(self, paths: list[str]) -> int:
        """The rows of some table parts together."""
        return sum(self.files[path].rows or 0 for path in paths)

    def space_spec(self, name: str) -> SpaceSpec:
        space = self.spaces[name]
        return SpaceSpec(self.models[space.model].spec, space.layer, space.pooling)


def encode(manifest: Manifest) -> bytes:
    """Canonical JSON: equal manifests give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1) + b"\n"


def decode(data: bytes, name: str) -> Manifest:
    """Parse a manifest; `name` is for the message of the error.

    MismatchError: a format that this version does not know. DataLossError: not a manifest.
    """
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.format != FORMAT:
            raise MismatchError(
                f"{name} has collection format {head.format}, this version of Lookalike reads format {FORMAT}: "
                "use the version that wrote it, or index into a new folder."
            )
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise DataLossError(f"{name} is not a readable manifest: {error}.") from error


@dataclass(frozen=True)
class _Head:
    format: int
