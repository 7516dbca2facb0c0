"""Check that the source's images still give the stored embeddings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection import layout, tombstones, uploaded_images
from lookalike_indexer.collection.commands import command
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.uris import stored
from lookalike_indexer.embedding.stored_network import stored_module
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.images.prepare import Expected, ImageRequest, Prepared, Rejected
from lookalike_indexer.images.preprocessing import Pixels
from lookalike_indexer.images.workers import DecodePool, PoolSettings
from lookalike_indexer.models.compute import Compute, resolve_compute
from lookalike_indexer.models.network import Network, Node
from lookalike_indexer.models.nodes import trace
from lookalike_indexer.progress import Bar
from lookalike_indexer.threads import processors
from lookalike_indexer.vectors.sample import choose_rows
from lookalike_indexer.verification.examination import Examination

_BATCH = 16
# The maximum distance of an embedding to the stored one, relative to its length: the accumulated rounding of the
# compute type in a deep network, on another device or in other batches.
TOLERANCES = {"float32": 5e-3, "float16": 3e-2, "bfloat16": 1e-1}
# Images that a GPU decoded have other chroma than here: the lowest observed cosine was 0.97.
_NVJPEG_TOLERANCE = 3e-1
_REJECTED = {
    "missing": "are gone from the source",
    "changed": "have changed in the source",
    "unreadable": "cannot be read at the moment",
}


def check_embeddings(examination: Examination) -> None:
    """Embed some images of each model again, or all of them, if source and weights are available."""
    manifest = examination.reader.manifest
    for name in sorted(manifest.models):
        spaces = [space for space, entry in sorted(manifest.spaces.items()) if entry.model == name]
        if spaces:
            _Model(examination, name, spaces).check()


@dataclass(frozen=True)
class _Image:
    """An image to embed again: its id, its absolute URI, and its expected SHA-256, None if unknown."""

    id: int
    uri: str
    sha256: str | None

    @property
    def request(self) -> ImageRequest:
        return Expected(self.uri, self.sha256) if self.sha256 else self.uri


class _Model:
    def __init__(self, examination: Examination, name: str, spaces: list[str]) -> None:
        self._examination, self._name, self._spaces = examination, name, spaces
        self._reader = examination.reader
        self._manifest = examination.reader.manifest
        self._entry = self._manifest.models[name]
        self._ids: dict[str, Int64] = {}
        self._left_out: Counter[str] = Counter()
        self._tolerances: dict[str, float] = {}
        self._looked = 0

    def check(self) -> None:
        """Compare, and record the number of images."""
        name = f"embeddings of {self._name}"
        spaces = self._manifest.spaces
        parts = [path for space in self._spaces for path in spaces[space].parts]
        if not self._examination.intact([*parts, *self._manifest.images]):
            self._examination.checked(name, 0, "images", "not embedded again: some of them are damaged")
            return
        # Read once: a deep check needs them for each batch.
        self._ids = {space: self._reader.ids(space) for space in self._spaces}
        ids = self._chosen()
        if not len(ids):
            self._examination.checked(name, 0, "images", "none was chosen")
            return
        try:
            module = trace(stored_module(self._reader, self._name))
            nodes = [Node(spaces[space].layer, spaces[space].pooling) for space in self._spaces]
            with self._examination.progress.stage(f"embed {self._name}", len(ids), "image") as bar:
                for arithmetic, paths in sorted(self._by_arithmetic().items()):
                    images = self._images(paths, ids)
                    first = next(images, None)
                    if first is None:
                        continue
                    compute = computed_in(arithmetic)
                    network = Network(module, nodes, self._entry.spec.preprocessing, "cpu", compute)
                    self._tolerances[compute] = tolerance(arithmetic)
                    workers = max(1, min(processors(), len(ids)))
                    self._compare_all(network, chain([first], images), workers, tolerance(arithmetic), bar)
        except IndexerError as error:
            self._examination.checked(name, self._looked, "images", f"not embedded again: {error}")
            return
        self._examination.checked(name, self._looked, "images", self._note())

    def _chosen(self) -> Int64:
        """Return the ids to embed: those that every space of the model has."""
        settings = self._examination.settings
        ids = self._ids[self._spaces[0]]
        for space in self._spaces[1:]:
            ids = np.intersect1d(ids, self._ids[space])
        # For deleted images the source has no image, or another one.
        ids = ids[~tombstones.contains(tombstones.deleted_ids(self._reader.storage, self._manifest), ids)]
        return ids if settings.deep else ids[np.sort(choose_rows(len(ids), settings.images, settings.seed))]

    def _by_arithmetic(self) -> dict[str, list[str]]:
        """Return the parts of the images, by the arithmetic that produced their embeddings."""
        made: dict[int, set[str]] = {}
        for space in self._spaces:
            for path in self._manifest.spaces[space].parts:
                made.setdefault(layout.part_number(path), set()).add(self._manifest.files[path].compute)
        found: dict[str, list[str]] = defaultdict(list)
        for path in self._manifest.images:
            found[" + ".join(sorted(made.get(layout.part_number(path), ())))].append(path)
        return found

    def _images(self, paths: list[str], ids: Int64) -> Iterator[_Image]:
        """Yield the images of some parts with one of these ids; one part is in memory at a time."""
        listing = {layout.part_number(path): path for path in self._manifest.listing}
        kept = uploaded_images.folder(self._reader.storage)
        for path in paths:
            table = read_part(self._reader.storage, path, ["id", "key", "uri", "sha256"])
            chosen = table.filter(pa.array(np.isin(table.column("id").to_numpy(), ids, assume_unique=True)))
            times = self._times(listing.get(layout.part_number(path))) if chosen.column("sha256").null_count else {}
            for row in chosen.to_pylist():
                uri = stored(self._manifest.source, row["uri"], row["key"], kept)
                image = _Image(row["id"], uri, row["sha256"])
                if image.sha256 is None and _modified(image.uri) not in (None, times.get(image.id)):
                    self._left_out[_REJECTED["changed"]] += 1
                else:
                    yield image

    def _times(self, listing: str | None) -> dict[int, int]:
        """Return the modification times of a part's files, by id, because format 1 has no digests."""
        if listing is None or not self._examination.intact([listing]):
            return {}
        table = read_part(self._reader.storage, listing, ["id", "modified_ns"])
        return dict(zip(table.column("id").to_pylist(), table.column("modified_ns").to_pylist(), strict=True))

    def _compare_all(
        self, network: Network, images: Iterable[_Image], workers: int, tolerance: float, bar: Bar
    ) -> None:
        pool = PoolSettings(workers, limits=self._manifest.limits)
        batch: list[tuple[int, Pixels]] = []
        with DecodePool(pool, self._entry.spec.preprocessing) as decoders:
            asked = ((image.id, image.request) for image in images)
            for image_id, image in decoders.stream(asked, 4 * _BATCH):
                if isinstance(image, Prepared):
                    batch.append((image_id, image.pixels))
                elif isinstance(image, Rejected):
                    self._left_out[_REJECTED.get(image.kind, "can no longer be decoded")] += 1
                if len(batch) == _BATCH:
                    self._compare(network, batch, tolerance, bar)
                    batch = []
        if batch:
            self._compare(network, batch, tolerance, bar)

    def _compare(self, network: Network, batch: list[tuple[int, Pixels]], tolerance: float, bar: Bar) -> None:
        found = network.embed([pixels for _, pixels in batch]).embeddings
        ids = np.array([image_id for image_id, _ in batch], np.int64)
        for space, vectors in zip(self._spaces, found, strict=True):
            self._compare_space(space, ids, vectors, tolerance)
        self._looked += len(batch)
        bar.advance(len(batch))

    def _compare_space(self, space: str, ids: Int64, vectors: Float32, tolerance: float) -> None:
        rows = np.searchsorted(self._ids[space], ids).astype(np.int64, copy=False)
        stored = self._reader.vectors(space, rows)
        lengths = np.maximum(np.linalg.norm(stored, axis=1), np.finfo(np.float32).tiny)
        errors = np.linalg.norm(vectors - stored, axis=1) / lengths
        worst = int(np.argmax(errors))
        if errors[worst] > tolerance:
            parts = self._manifest.spaces[space].parts
            ends = np.cumsum([self._manifest.files[path].rows or 0 for path in parts])
            self._examination.damaged(
                parts[int(np.searchsorted(ends, rows[worst], side="right"))],
                f"holds an embedding of image {ids[worst]} that is off by {errors[worst]:.2g} of its length from what "
                f"its file gives now (at most {tolerance:g} is rounding)",
            )

    def _note(self) -> str:
        bounds = [f"{bound:g} of their length ({compute})" for compute, bound in sorted(self._tolerances.items())]
        said = f"within {', '.join(bounds)}" if self._looked else ""
        left = [f"{count} {why}" for why, count in sorted(self._left_out.items())]
        if left and not self._looked:
            left.append("no embedding was checked")
            if self._left_out[_REJECTED["missing"]]:
                moved = command("relocate", self._reader.storage.location, "FOLDER")
                left.append(f"if the images are elsewhere now, say where: {moved}")
        return "; ".join([said, *left] if said else left)


def _modified(uri: str) -> int | None:
    """Return when a file was modified; None if it does not exist, or is in a container."""
    path = Path(uri)
    return path.stat().st_mtime_ns if path.is_file() else None


def computed_in(arithmetic: str) -> Compute:
    """Return the type for embedding again, by the arithmetic of a part."""
    return resolve_compute("bfloat16" if arithmetic.endswith("bfloat16") else "float32", "cpu")


def tolerance(arithmetic: str) -> float:
    """Return the maximum relative distance of an embedding to the stored one, by the arithmetic of its part."""
    words = arithmetic.split()
    if "nvjpeg" in words:
        return _NVJPEG_TOLERANCE
    known = [TOLERANCES[word] for word in words if word in TOLERANCES]
    return max(known, default=max(TOLERANCES.values()))
