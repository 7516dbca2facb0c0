"""Starting rows of k-means: k-means++, or random rows if that would take too long.

k-means++ draws each next row in proportion to its squared distance from the rows drawn before (Arthur and
Vassilvitskii, 2007); scikit-learn's greedy version draws several candidates and keeps the best. For large tasks it uses
a random projection of the vectors, because projections preserve the objective of k-means (Boutsidis, Zouzias and
Drineas, 2010). For small ones it uses all dimensions: with few images for each cluster, the inertia is up to 2% less.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float64, Int64
from lookalike_indexer.numerics.grid import on_grid, unit_scale
from lookalike_indexer.numerics.single_thread import one_thread

_PROJECTED_DIMS = 64
# The number of multiplications up to which all dimensions are used: a tenth of a second.
_FEW_OPERATIONS = 1e9
# A projection is about as long as the vector. 2^-16 keeps sums of squared distances exact for a million points.
_PROJECTED_BITS = 16
# Rows of the largest block that is projected.
_BLOCK = 1 << 14
# k-means++ uses this many random rows for each centroid, or fewer if it would take too long.
_ROWS_PER_CENTROID = 64
_FEWEST_ROWS_PER_CENTROID = 4
# The maximum number of multiplications of k-means++: some seconds of one thread. Larger tasks start from random rows,
# because many centroids spread by themselves.
_MOST_OPERATIONS = 5e10


def starting_rows(vectors: npt.NDArray[np.floating], k: int, seed: int) -> Int64:
    """Return K distinct rows of vectors (n, dim), n >= k; they depend only on `seed`, not on CPU or threads."""
    draw = np.random.default_rng(seed)
    affordable = int(_MOST_OPERATIONS / _operations(k))
    if affordable < _FEWEST_ROWS_PER_CENTROID * k:
        return _drawn(draw, len(vectors), k)
    candidates = _drawn(draw, len(vectors), min(len(vectors), _ROWS_PER_CENTROID * k, affordable))
    dim = vectors.shape[1]
    is_small = len(candidates) * _operations(k) * dim / _PROJECTED_DIMS <= _FEW_OPERATIONS
    points = _projected(vectors, candidates, seed, dim if is_small else _PROJECTED_DIMS)
    return _completed(candidates[_plus_plus(points, k, seed)], candidates, k)


def _projected(vectors: npt.NDArray[np.floating], rows: Int64, seed: int, most: int) -> Float64:
    """Return some rows on a coarse grid, projected to `most` dimensions; random signs (Achlioptas, 2003) keep sums
    exact.

    The longest of the rows becomes a unit vector.
    """
    dim = vectors.shape[1]
    longest = max(float(np.linalg.norm(vectors[some], axis=1).max()) for some in _blocks(rows))
    scale = unit_scale(longest)
    signs = np.random.default_rng(seed).integers(0, 2, (dim, most)) * 2.0 - 1 if dim > most else None
    pieces = []
    for some in _blocks(rows):
        points = on_grid(vectors[some] * scale)
        if signs is not None:
            points = points @ signs / math.sqrt(most)
        pieces.append(on_grid(points, _PROJECTED_BITS))
    return np.concatenate(pieces)


def _plus_plus(points: Float64, k: int, seed: int) -> Int64:
    from sklearn.cluster import kmeans_plusplus

    # Use one thread: for so few dimensions, synchronization costs more than further threads gain.
    with one_thread():
        _, rows = kmeans_plusplus(points, k, random_state=seed)
    chosen: Int64 = rows.astype(np.int64)
    return chosen


def _completed(chosen: Int64, candidates: Int64, k: int) -> Int64:
    """Return the chosen rows without repetitions, which only duplicates cause; further candidates replace them."""
    _, first = np.unique(chosen, return_index=True)
    different = chosen[np.sort(first)]
    others = candidates[~np.isin(candidates, different)]
    return np.concatenate([different, others[: k - len(different)]])


def _operations(k: int) -> float:
    """Return the multiplications of greedy k-means++ for each row: it draws 2 + ln(k) candidates for each centroid."""
    return k * _PROJECTED_DIMS * (2 + math.log(k))


def _drawn(draw: np.random.Generator, total: int, count: int) -> Int64:
    """Return `count` rows in ascending order."""
    rows: Int64 = np.arange(total)
    return rows if count == total else np.sort(draw.choice(total, count, replace=False))


def _blocks(rows: Int64) -> list[Int64]:
    return [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
