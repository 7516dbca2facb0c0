"""Pairs of near-duplicates: by the graph of nearest neighbors, or by the bytes of their files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Bools, Float32, Int64
from lookalike_indexer.collection.commands import graph_command
from lookalike_indexer.collection.current import covers
from lookalike_indexer.collection.metrics import NAMES
from lookalike_indexer.errors import UsageError
from lookalike_indexer.experiments.alike_hashes import RULE, HashRule
from lookalike_indexer.experiments.valley import valley
from lookalike_indexer.experiments.view import View


@dataclass(frozen=True)
class Cut:
    """The distance up to which images are near-duplicates; `depth` is the valley's, NaN if a user gave the distance.

    With `by_hash`, farther neighbors are near-duplicates too if their perceptual hashes are similar.
    """

    distance: float
    depth: float
    finding: str
    by_hash: bool = False


@dataclass(frozen=True)
class Pairs:
    """Pairs of images by row, all of shape (n,): `left` < `right`, each pair once, by ascending left, then right.

    `by_hash` marks pairs that are near-duplicates only by their perceptual hashes.
    """

    left: Int64
    right: Int64
    distances: Float32
    same_bytes: Bools
    by_hash: Bools

    def __len__(self) -> int:
        return len(self.left)

    def select(self, wanted: Bools) -> Pairs:
        """Return the pairs selected by a mask (n,)."""
        return Pairs(
            self.left[wanted],
            self.right[wanted],
            self.distances[wanted],
            self.same_bytes[wanted],
            self.by_hash[wanted],
        )


def chosen_cut(view: View, space: str, max_distance: float | None) -> Cut:
    """Return the user's cut, or for None the valley of the distances to the nearest image, by the graph's metric."""
    by = NAMES[view.reader.graph(space).metric]
    if max_distance is not None:
        if not max_distance >= 0:
            raise UsageError(f"--max-distance {max_distance:g} must be 0 or more, or auto.")
        finding = f"Near-duplicates are at a {by} distance of at most {max_distance:g}."
        return Cut(max_distance, float("nan"), finding)
    nearest = [np.empty(0, np.float32), *(part[:, 0] for _, _, part in view.reader.stream_graph(space))]
    found = valley(np.concatenate(nearest))
    by_hash = HashRule.has_hashes(view)
    if not found.depth:
        near = f"copies and {RULE}" if by_hash else "copies only"
        finding = (
            f"The {by} distances to the nearest image have no valley. Near-duplicates are {near}. Look at them, and "
            "give --max-distance D to include others."
        )
        return Cut(found.distance, 0.0, finding, by_hash)
    hashed = f" So are {RULE}." if by_hash else ""
    finding = (
        f"The {by} distances to the nearest image have a valley at {found.distance:.4g}, {found.depth:.0%} deep "
        f"({found.sureness}): near-duplicates are at most that far.{hashed}"
    )
    return Cut(found.distance, found.depth, finding, by_hash)


def near_pairs(view: View, space: str, cut: Cut) -> Pairs:
    """Return the pairs of the graph within a cut, and all copies by digest; stream the graph."""
    left, right, apart = [], [], []
    limit = np.float32(cut.distance)
    hashes = HashRule.of(view, space) if cut.by_hash else None
    for ids, neighbors, distances in view.reader.stream_graph(space):
        wanted = distances <= limit
        if hashes is not None:
            wanted |= hashes.alike(ids, neighbors, distances)
        image, place = np.nonzero(wanted & (neighbors >= 0))
        left.append(view.rows_of_ids(ids)[image])
        right.append(view.rows_of_ids(neighbors[image, place]))
        apart.append(distances[image, place])
    copies = copied_pairs(view)
    return _once(
        np.concatenate([*left, copies.left]),
        np.concatenate([*right, copies.right]),
        np.concatenate([*apart, copies.distances]),
        limit,
        view,
    )


def copied_pairs(view: View) -> Pairs:
    """Return each image with the first one of the same bytes, at distance 0; images without a digest are left out."""
    codes = digest_codes(view)
    order = np.argsort(codes, kind="stable")
    order = order[codes[order] >= 0]
    ordered = codes[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(order) else np.empty(0, np.int64)
    firsts = np.repeat(order[starts], np.diff(np.r_[starts, len(order)]))
    others = order != firsts
    zeros = np.zeros(int(others.sum()), np.float32)
    return _once(firsts[others], order[others], zeros, np.float32(0), view)


def digest_codes(view: View) -> Int64:
    """Return codes, int64 (images,), that are equal if the bytes of two images are; -1 without a digest."""
    column = view.reader.images(["sha256"]).column("sha256").combine_chunks()
    encoded = pc.dictionary_encode(column)
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    codes: Int64 = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy()
    return codes


def graph_notes(view: View, space: str) -> tuple[str, ...]:
    """Return sentences about the graph's limitations: missing images, or that it is approximate."""
    entry = view.reader.graph(space)
    notes = []
    if not covers(view.reader.manifest, entry):
        lacking = view.reader.manifest.spaces[space].rows - entry.rows
        notes.append(
            f"The graph of {space} is of other embeddings ({lacking:,} images more now); go on with: "
            f"{graph_command(view.reader.storage.location, entry)}"
        )
    deleted = view.reader.manifest.rows(view.reader.manifest.tombstones) - entry.deleted
    if deleted:
        notes.append(
            f"{deleted:,} images were deleted since the graph of {space} was made, and its lists are shorter by them; "
            f"make it again with: {graph_command(view.reader.storage.location, entry)}"
        )
    if entry.method != "exact":
        by = "an index" if entry.method == "index" else "principal components"
        notes.append(f"The graph was made by {by}; it holds {entry.recall:.1%} of the {entry.k} nearest.")
    return tuple(notes)


def _once(one: Int64, other: Int64, distances: Float32, limit: np.float32, view: View) -> Pairs:
    """Return each pair once, at its smallest distance; those beyond the limit are by hash."""
    left, right = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((distances, right, left))
    left, right, distances = left[order], right[order], distances[order]
    first = np.r_[True, (left[1:] != left[:-1]) | (right[1:] != right[:-1])] if len(left) else np.empty(0, np.bool_)
    left, right = left[first].astype(np.int64), right[first].astype(np.int64)
    codes = digest_codes(view)
    same = (codes[left] == codes[right]) & (codes[left] >= 0)
    distances = distances[first].astype(np.float32)
    return Pairs(left, right, distances, same, (distances > limit) & ~same)
