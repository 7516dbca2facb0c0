"""Collection of synthetic vectors that can be served: indexed, clustered, and with a real network.

The vectors do not come from images, but the network is real, so that queries by image
have their real cost.
"""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lookalike_benchmarks.synthetic import SPACE, write_collection
from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.manifest import ModelEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import ModelSpec, WeightsSpec, digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.models.nodes import trace
from lookalike_indexer.models.normalize import Normalizer
from lookalike_indexer.models.presets import preprocessing, published
from lookalike_indexer.models.untrained import CLASSES, FILE, calibrate, state_digest, statistics, untrained
from lookalike_indexer.models.weights import WeightsRequest, load_pretrained
from lookalike_indexer.progress import Silent

# The length of a network's embeddings, by its name.
DIMS = {"resnet18": 512, "resnet50": 2048}


@dataclass(frozen=True)
class Servable:
    """Size of the collection: `rows` vectors of the dimension of `arch`, an index, a clustering of `clusters` clusters.

    Without `weights`, a state dict of `arch`, the network is untrained.
    """

    rows: int
    arch: str
    index: str
    clusters: int
    seed: int
    weights: Path | None = None

    @property
    def vectors(self) -> Clustered:
        return Clustered(rows=self.rows, dim=DIMS[self.arch], seed=self.seed)

    def params(self) -> dict[str, Any]:
        """Return the parameters for a row."""
        return {
            **dataclasses.asdict(self.vectors),
            "arch": self.arch,
            "weights": "untrained" if self.weights is None else self.weights.name,
            "index": self.index,
            "k_means_clusters": self.clusters,
        }


def collection(cache: Path, wanted: Servable) -> CollectionReader:
    """Open the collection, which this or an earlier run has written to the folder `cache`."""
    root = cache / f"collection-{digest_of(wanted.params())[:12]}"
    storage = Storage(root)
    if len(generations.numbers(storage)) < 2:
        entry, layer = _network(storage, wanted)
        write_collection(str(root), wanted.vectors, entry, layer)
        draft = generations.require_latest(storage)
        draft, _ = run_build(storage, draft, BuildSettings(index=wanted.index), Silent())
        # One restart and few points, since the quality of the clusters does not matter here.
        clusters = ClusterSettings(clusters=wanted.clusters, restarts=1, iterations=10, points_per_centroid=64)
        draft, _ = run_cluster(storage, draft, clusters, Silent())
        generations.publish(storage, draft)
    return CollectionReader.open(str(root))


def pictures(count: int, seed: int) -> list[bytes]:
    """Return JPEG files of 500 x 375 pixels of soft noise, about as large as photographs."""
    generator = np.random.default_rng(seed)
    files = []
    for _ in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (47, 63, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def _network(storage: Storage, wanted: Servable) -> tuple[ModelEntry, str]:
    """Return the network's entry and the name of the layer of its embeddings."""
    transforms = preprocessing(published(wanted.arch, ""))
    files = []
    if wanted.weights is not None:
        request = WeightsRequest("file", str(wanted.weights.absolute()))
        module, classes, weights = load_pretrained(wanted.arch, request)
    else:
        module, classes = untrained(wanted.arch, 0), CLASSES
        side = transforms.crop
        noise = np.random.default_rng(0).integers(0, 256, (8, 3, side, side), dtype=np.uint8)
        calibrate(module, module, Normalizer(transforms, torch.device("cpu"))(torch.from_numpy(noise)))
        files = [layout.model_file(SPACE, FILE)]
        with storage.staged(files[0]) as temporary:
            temporary.write_bytes(statistics(module, SPACE))
        weights = WeightsSpec("untrained", "0", state_digest(module))
    spec = ModelSpec(wanted.arch, classes, weights, transforms)
    return ModelEntry(spec, "cpu float32", [], [], files), trace(module).head_input()
