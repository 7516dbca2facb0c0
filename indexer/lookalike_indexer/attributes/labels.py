"""Label corrections from the column `label` of a user's table: in the listing and the images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Int64
from lookalike_indexer.collection import layout
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.relabel import relabel
from lookalike_indexer.sources.listing import listing_metadata
from lookalike_indexer.sources.revisions import revise_part


class LabelChanges:
    """Writes revised parts for changed labels; `count` is their number."""

    def __init__(self, storage: Storage, draft: Manifest) -> None:
        self._storage, self._draft = storage, draft
        self._listing = {layout.part_number(path): path for path in draft.listing}
        self._revised: dict[str, str] = {}
        self.count = 0

    def add(self, part: int, ids: Int64, labels: pa.ChunkedArray) -> None:
        """Correct the labels of some images (n,) of a part, by its position. Null keeps a label, "" removes it."""
        images = self._draft.images[part]
        listing = self._listing[layout.part_number(images)]
        table = read_part(self._storage, listing, ["id", "label"])
        rows = np.searchsorted(table.column("id").to_numpy(), ids).tolist()
        before = table.column("label").to_pylist()
        given = zip(rows, labels.to_pylist(), strict=True)
        changes = {row: {"label": label or None} for row, label in given if label is not None}
        changes = {row: change for row, change in changes.items() if change["label"] != before[row]}
        if not changes:
            return
        self.count += len(changes)
        metadata = listing_metadata(self._draft.source)
        self._revised[listing] = revise_part(self._storage, listing, changes, metadata)
        self._revised[images] = relabel(self._storage, images, self._revised[listing])

    def applied(self, draft: Manifest) -> Manifest:
        """Return the draft with the revised parts in place of the previous ones."""
        return dataclasses.replace(
            draft,
            listing=[self._revised.get(path, path) for path in draft.listing],
            images=[self._revised.get(path, path) for path in draft.images],
        )
