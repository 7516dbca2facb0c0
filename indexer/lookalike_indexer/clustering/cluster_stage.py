"""Clustering stage of a space: sample, train, assign part by part."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.clustering import tables
from lookalike_indexer.clustering.assign import AssignedVectors
from lookalike_indexer.clustering.assignment_rule import Rule
from lookalike_indexer.clustering.choice import choose_clusters, choose_name, choose_restarts
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.clustering.strategies import check_paired
from lookalike_indexer.clustering.training import TrainedClustering, find_centroids, sample_size
from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.current import next_creation_order
from lookalike_indexer.collection.lock import witness
from lookalike_indexer.collection.manifest import ClusteringEntry, Manifest
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.settings_digest import settings_digest
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.machines.work import Work
from lookalike_indexer.progress import Progress
from lookalike_indexer.vectors.sample import choose_rows, read_rows


@dataclass(frozen=True)
class ClusterReport:
    """The result of the stage.

    `reason` explains the number of clusters; `sizes` are the members of each cluster, shape (k,); `reused` is the
    number of the clustering's files that an earlier run had finished.
    """

    entry: ClusteringEntry
    reason: str
    sizes: Int64
    reused: int

    @property
    def empty(self) -> int:
        """The number of clusters without members."""
        return int(np.count_nonzero(self.sizes == 0))


def run_cluster(
    storage: Storage,
    draft: Manifest,
    settings: ClusterSettings,
    progress: Progress,
    machines: Machines | None = None,
) -> tuple[Manifest, ClusterReport]:
    """Cluster a space of a completed draft and return the draft with the clustering; publish nothing.

    Files that an earlier run with the same settings and embeddings finished are reused. With `machines` the machines of
    a cluster train and assign. Raise NotFoundError if the space does not exist. Raise NotBuiltError if the space is
    empty. Raise UsageError for more clusters than images. Raise IndexerError if an embedding is not finite.
    """
    reader = CollectionReader(storage, draft)
    space, entry = reader.space(settings.space)
    if entry.rows == 0:
        raise NotBuiltError(f"The space {space} has no embeddings to cluster; index a source with readable images.")
    k, reason = choose_clusters(reader, space, settings.clusters)
    if settings.strategy == "agglomerative":
        check_paired(entry.rows, k)
    name = choose_name(settings)
    sampled = sample_size(entry.rows, k, settings)
    dim = min(k, entry.dim) if settings.strategy == "whitened" else entry.dim
    restarts = choose_restarts(sampled, k, dim, settings)
    asked, settings = settings, dataclasses.replace(settings, restarts=restarts)
    before = draft.clusterings.get(f"{space}/{name}")
    same = before is not None and _is_same(before, entry.parts, k, settings)
    digest = before.digest if before and same else _digest(draft, space, k, settings)
    folder = layout.clustering(space, name, digest)

    centroids = f"{folder}/centroids.parquet"
    whitening = f"{folder}/whitening.parquet" if settings.strategy == "whitened" else ""
    reused = int(storage.exists(centroids)) + int(bool(whitening) and storage.exists(whitening))
    if machines is not None:
        machines.check(witness(storage))
    found = _reused_or_trained(reader, space, k, centroids, whitening, settings, progress, machines)
    rule = Rule(settings.metric, found.trained.centroids, found.whitening, settings.gpus)
    # The assignments of an extended clustering have their own names.
    named = dict(zip(before.parts, before.assignments, strict=False)) if before and same else {}
    plain = [f"{folder}/assignments/{layout.part_name(layout.part_number(path))}" for path in entry.parts]
    assignments = [named.get(path, name) for path, name in zip(entry.parts, plain, strict=True)]
    reused += sum(storage.exists(path) for path in assignments)
    sizes = _assign_parts(reader, space, rule, assignments, progress, machines)

    clustering = ClusteringEntry(
        space=space,
        name=name,
        k=k,
        metric=settings.metric,
        strategy=settings.strategy,
        seed=settings.seed,
        iterations=settings.iterations,
        restarts=restarts,
        trained_on=sampled,
        inertia=found.trained.inertia,
        rows=draft.spaces[space].rows,
        centroids=centroids,
        whitening=whitening,
        assignments=assignments,
        digest=digest,
        automatic=asked.clusters is None,
        asked_restarts=asked.restarts,
        points_per_centroid=settings.points_per_centroid,
        parts=list(entry.parts),
        made=next_creation_order(draft.clusterings, f"{space}/{name}", space),
        trained_rows=before.trained_rows if before and same else 0,
    )
    clusterings = {**draft.clusterings, f"{space}/{name}": clustering}
    finished = generations.complete(storage, dataclasses.replace(draft, clusterings=clusterings))
    return finished, ClusterReport(clustering, reason, sizes, reused)


def _is_same(entry: ClusteringEntry, parts: list[str], k: int, settings: ClusterSettings) -> bool:
    """Return whether a clustering has the same embeddings and settings, so that its files are valid after `compact`.

    `compact` merges parts, which changes their digests but not their rows.
    """
    return entry.parts == parts and _decisive(entry.k, entry) == _decisive(k, settings)


def _decisive(k: int, of: ClusterSettings | ClusteringEntry) -> dict[str, int | str | bool | None]:
    return {
        "k": k,
        "metric": of.metric,
        # Keep the form used before there were more than two strategies, so that older clusterings keep their digests.
        "spherical": of.strategy == "spherical",
        **({} if of.strategy in ("kmeans", "spherical") else {"strategy": of.strategy}),
        "seed": of.seed,
        "iterations": of.iterations,
        "restarts": of.restarts,
        "points_per_centroid": of.points_per_centroid,
    }


def _digest(draft: Manifest, space: str, k: int, settings: ClusterSettings) -> str:
    return settings_digest(draft, space, _decisive(k, settings))


def _reused_or_trained(
    reader: CollectionReader,
    space: str,
    k: int,
    centroids: str,
    whitening: str,
    settings: ClusterSettings,
    progress: Progress,
    machines: Machines | None,
) -> TrainedClustering:
    """Return the centroids, and the whitening if there is one, from an earlier run's files or newly trained."""
    storage = reader.storage
    # The whitening is written before the centroids, which depend on it.
    if not storage.exists(centroids) or (whitening and not storage.exists(whitening)):
        rows = reader.space(space)[1].rows
        # In ascending order the sample of a small space is the space itself.
        chosen = np.sort(choose_rows(rows, sample_size(rows, k, settings), settings.seed))
        sample = read_rows(reader, space, chosen, settings.metric, progress)
        found = find_centroids(sample, k, settings, progress, machines)
        if found.whitening is not None:
            tables.write_whitening(storage, whitening, found.whitening)
        tables.write_centroids(storage, centroids, found.trained)
    return TrainedClustering(
        tables.read_centroids(storage, centroids), tables.read_whitening(storage, whitening) if whitening else None
    )


def _assign_parts(
    reader: CollectionReader,
    space: str,
    rule: Rule,
    assignments: list[str],
    progress: Progress,
    machines: Machines | None,
) -> Int64:
    """Write the missing parts; return the size of each cluster, without deleted images."""
    storage, entry = reader.storage, reader.manifest.spaces[space]
    sizes = np.zeros(len(rule.centroids), np.int64)
    rows = [reader.manifest.files[path].rows or 0 for path in entry.parts]
    missing = [place for place, path in enumerate(assignments) if not storage.exists(path)]
    with progress.stage(
        f"assign {space}", entry.rows, "image", sum(rows) - sum(rows[place] for place in missing)
    ) as bar:
        parts = [(entry.parts[place], assignments[place]) for place in missing]
        if machines is None:
            for _ in write_assignments(reader, rule, iter(parts), bar.advance):
                pass
        else:
            (device,) = machines.devices
            gpus = (0,) if device.startswith("cuda") else ()
            make = _Assigning(storage, reader.manifest, Rule(rule.metric, rule.centroids, rule.whitening, gpus))
            for _ in machines.run(make, parts, bar.advance, "assignment of part"):
                pass
        for path in assignments:
            ids, clusters = tables.read_clusters(storage, path)
            sizes += np.bincount(clusters[reader.live(ids)], minlength=len(sizes))
    return sizes


def write_assignments(
    reader: CollectionReader, rule: Rule, parts: Iterator[tuple[str, str]], advance: Callable[[int], None]
) -> Iterator[str]:
    """Assign the images of some parts of a space, each with the path of the table to write; yield that path."""
    taken: deque[str] = deque()

    def embeddings() -> Iterator[str]:
        for part, path in parts:
            taken.append(path)
            yield part

    for blocks in reader.parts_ahead(embeddings()):
        ids, assigned = _assigned(blocks, rule)
        tables.write_assignments(reader.storage, taken[0], ids, assigned)
        advance(len(ids))
        yield taken.popleft()


@dataclass(frozen=True)
class _Assigning:
    """Factory of a worker's function."""

    storage: Storage
    manifest: Manifest
    rule: Rule

    def __call__(self) -> Work[tuple[str, str], str]:
        reader = CollectionReader(self.storage, self.manifest)
        return lambda parts, advance: write_assignments(reader, self.rule, parts, advance)


def _assigned(blocks: Iterable[tuple[Int64, Float32]], rule: Rule) -> tuple[Int64, AssignedVectors]:
    """Return the ids and the assignment of all images of one part."""
    ids: list[Int64] = [np.empty(0, np.int64)]
    pieces = [AssignedVectors(np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.float32))]
    for block_ids, vectors in blocks:
        ids.append(block_ids)
        pieces.append(rule.assign(vectors))
    return np.concatenate(ids), AssignedVectors(
        np.concatenate([piece.clusters for piece in pieces]),
        np.concatenate([piece.distances for piece in pieces]),
        np.concatenate([piece.margins for piece in pieces]),
    )
