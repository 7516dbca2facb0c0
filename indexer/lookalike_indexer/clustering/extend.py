"""Assignment of the images that a clustering lacks to its stored centroids."""

from __future__ import annotations

import dataclasses

import numpy as np

from lookalike_indexer.clustering import tables
from lookalike_indexer.clustering.assign import AssignedVectors
from lookalike_indexer.clustering.assignment_rule import Rule
from lookalike_indexer.collection import layout
from lookalike_indexer.collection.manifest import ClusteringEntry, Manifest
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.progress import Progress

_COLUMNS = ("clusters", "distances", "margins")


def extend_clustering(
    storage: Storage, draft: Manifest, entry: ClusteringEntry, progress: Progress, gpus: tuple[int, ...] = ()
) -> ClusteringEntry:
    """Return the clustering with every part of its space assigned; existing assignments stay.

    A part of assignments is named by the digest of its embeddings, so that a part that a killed run left is reused.
    Raise IndexerError if an embedding is not finite.
    """
    reader = CollectionReader(storage, draft)
    stored = Rule.of(reader, f"{entry.space}/{entry.name}")
    rule = Rule(stored.metric, stored.centroids, stored.whitening, gpus)
    known = dict(zip(draft.parts_of(entry), entry.assignments, strict=False))
    parts = draft.spaces[entry.space].parts
    folder = layout.clustering(entry.space, entry.name, entry.digest)
    with progress.stage(f"assign {entry.space}/{entry.name}", len(parts) - len(known), "part") as bar:
        for path in parts:
            if path not in known:
                plain = f"{folder}/assignments/{layout.part_name(layout.part_number(path))}"
                known[path] = layout.revised(plain, draft.files[path].sha256)
                if not storage.exists(known[path]):
                    _assign(reader, rule, path, known[path])
                bar.advance()
    return dataclasses.replace(
        entry,
        parts=list(parts),
        assignments=[known[path] for path in parts],
        rows=draft.rows(parts),
        trained_rows=entry.trained_rows or entry.rows,
    )


def _assign(reader: CollectionReader, rule: Rule, path: str, target: str) -> None:
    ids = [np.empty(0, np.int64)]
    pieces = [AssignedVectors(np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.float32))]
    for block, vectors in reader.stream_part(path):
        ids.append(block)
        pieces.append(rule.assign(vectors))
    assigned = AssignedVectors(*(np.concatenate([getattr(piece, name) for piece in pieces]) for name in _COLUMNS))
    tables.write_assignments(reader.storage, target, np.concatenate(ids), assigned)
