"""Whether the source's pictures still give the embeddings that are stored."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.reader import Float32, Int64
from lookalike_indexer.embedding.stored import stored_module
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.images.prepare import Prepared
from lookalike_indexer.images.preprocessing import Pixels
from lookalike_indexer.images.workers import DecodePool, PoolSettings
from lookalike_indexer.indexing.sample import choose_rows
from lookalike_indexer.models.compute import Compute, resolve_compute
from lookalike_indexer.models.network import Network, Node
from lookalike_indexer.models.nodes import trace
from lookalike_indexer.progress import Bar
from lookalike_indexer.threads import processors
from lookalike_indexer.verification.examination import Examination

_BATCH = 16
# How far an embedding may lie from the stored one, as a share of its length: what rounding in the computing type adds
# up to in a deep network, on another device or in other batches.
TOLERANCES = {"float32": 5e-3, "float16": 3e-2, "bfloat16": 1e-1}
# Pictures that a GPU decoded have other chroma than here: a cosine of 0.97 was the least that was seen.
_NVJPEG_TOLERANCE = 3e-1


def check_embeddings(examination: Examination) -> None:
    """Embed some images of each model again, or all of them, where source and weights are there."""
    manifest = examination.reader.manifest
    for name in sorted(manifest.models):
        spaces = [space for space, entry in sorted(manifest.spaces.items()) if entry.model == name]
        if spaces:
            _Model(examination, name, spaces).check()


class _Model:
    def __init__(self, examination: Examination, name: str, spaces: list[str]) -> None:
        self._examination, self._name, self._spaces = examination, name, spaces
        self._reader = examination.reader
        self._entry = self._reader.manifest.models[name]
        words = self._entry.compute.split()
        self._compute: Compute = resolve_compute(words[-1] if words[-1] == "bfloat16" else "float32", "cpu")
        rounding = TOLERANCES.get(words[-1], max(TOLERANCES.values()))
        self._tolerance = _NVJPEG_TOLERANCE if "nvjpeg" in words else rounding
        self._left_out: Counter[str] = Counter()
        self._looked = 0

    def check(self) -> None:
        """Compare, and say how many images were."""
        name = f"embeddings of {self._name}"
        spaces = self._reader.manifest.spaces
        if not self._examination.intact([path for space in self._spaces for path in spaces[space].parts]):
            self._examination.checked(name, 0, "images", "not embedded again: some of them are damaged")
            return
        ids = self._chosen()
        if not len(ids):
            self._examination.checked(name, 0, "images", "none was chosen")
            return
        try:
            module = stored_module(self._reader, self._name)
            nodes = [Node(spaces[space].layer, spaces[space].pooling) for space in self._spaces]
            network = Network(trace(module), nodes, self._entry.spec.preprocessing, "cpu", self._compute)
        except IndexerError as error:
            self._examination.checked(name, 0, "images", f"not embedded again: {error}")
            return
        with self._examination.progress.stage(f"embed {self._name}", len(ids), "image") as bar:
            self._compare_all(network, ids, bar)
        self._examination.checked(name, self._looked, "images", self._note())

    def _chosen(self) -> Int64:
        """The ids to embed: those that every space of the model has."""
        settings = self._examination.settings
        ids = self._reader.ids(self._spaces[0])
        for space in self._spaces[1:]:
            ids = np.intersect1d(ids, self._reader.ids(space))
        return ids if settings.deep else ids[np.sort(choose_rows(len(ids), settings.images, settings.seed))]

    def _compare_all(self, network: Network, ids: Int64, bar: Bar) -> None:
        rows = self._there(ids)
        pool = PoolSettings(max(1, min(processors(), len(rows))), limits=self._reader.manifest.limits)
        batch: list[tuple[int, Pixels]] = []
        with DecodePool(pool, self._entry.spec.preprocessing) as workers:
            for image_id, image in workers.stream(iter(rows.items()), 4 * _BATCH):
                if isinstance(image, Prepared):
                    batch.append((image_id, image.pixels))
                else:
                    self._left_out["can no longer be decoded"] += 1
                if len(batch) == _BATCH:
                    self._compare(network, batch, bar)
                    batch = []
        if batch:
            self._compare(network, batch, bar)

    def _there(self, ids: Int64) -> dict[int, str]:
        """The URIs of those images that are in the source as they were listed."""
        listing = _listed(self._reader.manifest, self._examination, ids)
        there = {}
        for image_id, (uri, modified) in listing.items():
            path = Path(uri)
            if not path.exists() and "#" not in uri:
                self._left_out["are gone from the source"] += 1
            elif path.exists() and path.stat().st_mtime_ns != modified:
                self._left_out["have changed in the source"] += 1
            else:
                there[image_id] = uri
        return there

    def _compare(self, network: Network, batch: list[tuple[int, Pixels]], bar: Bar) -> None:
        found = network.embed([pixels for _, pixels in batch]).embeddings
        ids = np.array([image_id for image_id, _ in batch], np.int64)
        for space, vectors in zip(self._spaces, found, strict=True):
            self._compare_space(space, ids, vectors)
        self._looked += len(batch)
        bar.advance(len(batch))

    def _compare_space(self, space: str, ids: Int64, vectors: Float32) -> None:
        rows = np.searchsorted(self._reader.ids(space), ids).astype(np.int64, copy=False)
        stored = self._reader.vectors(space, rows)
        lengths = np.maximum(np.linalg.norm(stored, axis=1), np.finfo(np.float32).tiny)
        errors = np.linalg.norm(vectors - stored, axis=1) / lengths
        worst = int(np.argmax(errors))
        if errors[worst] > self._tolerance:
            parts = self._reader.manifest.spaces[space].parts
            ends = np.cumsum([self._reader.manifest.files[path].rows or 0 for path in parts])
            self._examination.damaged(
                parts[int(np.searchsorted(ends, rows[worst], side="right"))],
                f"holds an embedding of image {ids[worst]} that is off by {errors[worst]:.2g} of its length from what "
                f"its picture gives now (at most {self._tolerance:g} is rounding)",
            )

    def _note(self) -> str:
        said = f"within {self._tolerance:g} of their length ({self._compute})" if self._looked else ""
        left = [f"{count} {why}" for why, count in sorted(self._left_out.items())]
        return "; ".join([said, *left] if said else left)


def _listed(manifest: Manifest, examination: Examination, ids: Int64) -> dict[int, tuple[str, int]]:
    """The URI and time of some images, by id, from the listing."""
    found: dict[int, tuple[str, int]] = {}
    for path in manifest.listing:
        if not examination.intact([path]):
            continue
        table = read_part(examination.reader.storage, path, ["id", "uri", "modified_ns"])
        chosen = table.filter(np.isin(table.column("id").to_numpy(), ids))
        for row in chosen.to_pylist():
            found[row["id"]] = (row["uri"], row["modified_ns"])
    return found
