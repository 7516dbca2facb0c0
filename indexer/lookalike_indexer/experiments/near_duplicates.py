"""Pairs of images that are near-duplicates: by the graph of nearest neighbors, or by the bytes of their files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Bools, Float32, Int64
from lookalike_indexer.collection.commands import graph_command
from lookalike_indexer.collection.current import covers
from lookalike_indexer.collection.metrics import NAMES
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.errors import UsageError
from lookalike_indexer.experiments.valley import valley
from lookalike_indexer.experiments.view import View
from lookalike_indexer.quality.flags import HASH, TABLE

# The bits that are 1 in each byte.
_ONES = np.array([number.bit_count() for number in range(256)], np.uint8)
# Of 64. Of the photographs of docs/experiments.md no two others differ by so few.
_BITS = 8


@dataclass(frozen=True)
class Cut:
    """The distance up to which images are near-duplicates; `depth` is that of the valley, NaN where a user gave it.

    With `bits` neighbors whose perceptual hashes differ by no more bits are near-duplicates at any distance.
    """

    distance: float
    depth: float
    finding: str
    bits: int | None = None


@dataclass(frozen=True)
class Pairs:
    """Pairs of images by row, all of shape (n,): `left` < `right`, each pair once, by ascending left, then right."""

    left: Int64
    right: Int64
    distances: Float32
    same_bytes: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.left)


def chosen_cut(view: View, space: str, max_distance: float | None) -> Cut:
    """The cut that a user gave, or for None the valley of the distances to the nearest image, by the graph's metric."""
    by = NAMES[view.reader.graph(space).metric]
    if max_distance is not None:
        if not max_distance >= 0:
            raise UsageError(f"--max-distance {max_distance:g} must be 0 or more, or auto.")
        finding = f"Near-duplicates are at a {by} distance of at most {max_distance:g}."
        return Cut(max_distance, float("nan"), finding)
    nearest = [np.empty(0, np.float32), *(part[:, 0] for _, _, part in view.reader.stream_graph(space))]
    found = valley(np.concatenate(nearest))
    bits = _BITS if HASH in _hash_columns(view) else None
    hashed = f" So are neighbors whose perceptual hashes differ by at most {_BITS} of 64 bits." if bits else ""
    if not found.depth:
        return Cut(
            found.distance,
            0.0,
            f"The {by} distances to the nearest image have no valley, so that only copies count; look at them and give "
            f"--max-distance D.{hashed}",
            bits,
        )
    finding = (
        f"The {by} distances to the nearest image have a valley at {found.distance:.4g}, {found.depth:.0%} deep "
        f"({found.sureness}): near-duplicates are at most that far.{hashed}"
    )
    return Cut(found.distance, found.depth, finding, bits)


def near_pairs(view: View, space: str, cut: Cut) -> Pairs:
    """The pairs of the graph within a cut, and all neighboring copies by digest; streams the graph."""
    left, right, apart = [], [], []
    limit = np.float32(cut.distance)
    hashes, known = _hashes(view) if cut.bits is not None else (np.zeros(0, np.uint64), np.zeros(0, np.bool_))
    for ids, neighbors, distances in view.reader.stream_graph(space):
        wanted = distances <= limit
        if cut.bits is not None:
            wanted |= _alike(view, ids, neighbors, hashes, known, cut.bits)
        image, place = np.nonzero(wanted & (neighbors >= 0))
        left.append(view.rows_of_ids(ids)[image])
        right.append(view.rows_of_ids(neighbors[image, place]))
        apart.append(distances[image, place])
    copies = copied_pairs(view)
    return _once(
        np.concatenate([*left, copies.left]),
        np.concatenate([*right, copies.right]),
        np.concatenate([*apart, copies.distances]),
        view,
    )


def _hash_columns(view: View) -> set[str]:
    entry = view.reader.manifest.attributes.get(TABLE)
    return {column.name for column in entry.columns} if entry is not None else set()


def _hashes(view: View) -> tuple[npt.NDArray[np.uint64], Bools]:
    """The perceptual hash of each image, and whether it has one: a uniform picture has none that tells anything."""
    hashes, known = np.zeros(len(view), np.uint64), np.zeros(len(view), np.bool_)
    for path in view.reader.manifest.attributes[TABLE].parts:
        table = read_part(view.reader.storage, path, ["id", HASH, "uniform"])
        there = np.flatnonzero(np.isin(table.column("id").to_numpy(), view.ids))
        table = table.take(pa.array(there))
        rows = view.rows_of_ids(table.column("id").to_numpy())
        hashes[rows] = table.column(HASH).fill_null(0).to_numpy().astype(np.int64).view(np.uint64)
        known[rows] = table.column(HASH).is_valid().to_numpy() & ~table.column("uniform").fill_null(True).to_numpy()
    return hashes, known


def _alike(view: View, ids: Int64, neighbors: Int64, hashes: npt.NDArray[np.uint64], known: Bools, bits: int) -> Bools:
    """Which neighbors (n, k) of some images (n,) have a hash that differs by at most so many bits."""
    rows = view.rows_of_ids(ids)
    others = view.rows_of_ids(np.where(neighbors < 0, ids[:, None], neighbors))
    apart = np.ascontiguousarray(hashes[rows][:, None] ^ hashes[others])
    differ = _ONES[apart.view(np.uint8).reshape(*apart.shape, 8)].sum(axis=-1)
    found: Bools = (differ <= bits) & known[rows][:, None] & known[others]
    return found


def copied_pairs(view: View) -> Pairs:
    """Each image with the first one of the same bytes, at distance 0; images without a digest are in none."""
    codes = digest_codes(view)
    order = np.argsort(codes, kind="stable")
    order = order[codes[order] >= 0]
    ordered = codes[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(order) else np.empty(0, np.int64)
    firsts = np.repeat(order[starts], np.diff(np.r_[starts, len(order)]))
    others = order != firsts
    zeros = np.zeros(int(others.sum()), np.float32)
    return _once(firsts[others], order[others], zeros, view)


def digest_codes(view: View) -> Int64:
    """int64 (images,): equal where the bytes of two images are equal; -1 where no digest is known."""
    column = view.reader.images(["sha256"]).column("sha256").combine_chunks()
    encoded = pc.dictionary_encode(column)
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    codes: Int64 = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy()
    return codes


def graph_notes(view: View, space: str) -> tuple[str, ...]:
    """What is to be said of the graph: that it lacks images, or that an index made it."""
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


def _once(one: Int64, other: Int64, distances: Float32, view: View) -> Pairs:
    """Each pair once, at its smallest distance."""
    left, right = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((distances, right, left))
    left, right, distances = left[order], right[order], distances[order]
    first = np.r_[True, (left[1:] != left[:-1]) | (right[1:] != right[:-1])] if len(left) else np.empty(0, np.bool_)
    left, right = left[first].astype(np.int64), right[first].astype(np.int64)
    codes = digest_codes(view)
    same = (codes[left] == codes[right]) & (codes[left] >= 0)
    return Pairs(left, right, distances[first].astype(np.float32), same)
