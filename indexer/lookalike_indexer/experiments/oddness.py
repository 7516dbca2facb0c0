"""Oddness of each image for its label: by its embedding, or only by its cluster."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Bools, Float32, Float64, Int32
from lookalike_indexer.collection.metrics import metric_of
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.experiments.main_clusters import Cells
from lookalike_indexer.experiments.view import AssignedImages, View
from lookalike_indexer.numerics.variation import NEGLIGIBLE
from lookalike_indexer.progress import Progress
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import prepare

# Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993) label modified z-scores above this as outliers.
FAR = 3.5
_TO_DEVIATIONS = 0.6745


@dataclass(frozen=True)
class Measured:
    """The oddness of images; all of shape (images,), by the rows of the view.

    `judged` are the images that could be judged. `distance` is that to the center of the own label, `other_distance`
    that to the center of the label it `looks_like` (-1: none), `z` the modified z-score of `distance`. `score` is low
    for odd images. The ways of being odd are those of `oddballs`. `single` are labels of one image.
    """

    judged: Bools
    score: Float64
    distance: Float64
    other_distance: Float64
    looks_like: Int32
    z: Float64
    nearer: Bools
    outside: Bools
    secondary: Bools
    single: tuple[str, ...] = ()

    @property
    def far(self) -> Bools:
        """Return whether each image is an outlier by distance."""
        with np.errstate(invalid="ignore"):
            return (self.z > FAR) & self.judged

    @property
    def odd(self) -> Bools:
        """Return whether each image is odd in at least one way."""
        return self.outside | self.secondary | self.far | self.nearer

    @property
    def reasons(self) -> npt.NDArray[np.int64]:
        """The number of ways in which each image is odd."""
        flags = [self.outside, self.secondary, self.far, self.nearer]
        counts: npt.NDArray[np.int64] = np.sum(flags, axis=0, dtype=np.int64)
        return counts

    def kinds(self) -> dict[str, Bools]:
        """Return the ways of being odd, by name."""
        return {
            "odd": self.odd,
            "outside": self.outside,
            "secondary": self.secondary,
            "far": self.far,
            "nearer": self.nearer,
        }

    def why(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """Return the ways in which some images are odd, such as "outside, nearer"."""
        kinds = {name: flags[rows].tolist() for name, flags in self.kinds().items() if name != "odd"}
        return [", ".join(name for name, flags in kinds.items() if flags[place]) for place in range(len(rows))]

    def placed(self, home: Bools, secondary: Bools) -> Measured:
        """Return a copy with the images outside of their labels' clusters, and those in secondary clusters."""
        return dataclasses.replace(self, outside=self.judged & ~home, secondary=self.judged & secondary)


def at_home(labels: Int32, clusters: Int32, cells: Cells) -> Bools:
    """Return whether each image is in a main cluster of its label, or in one with a tenth of the label's images."""
    return _in_cells(labels, clusters, cells, cells.is_main | cells.is_secondary)


def with_others(labels: Int32, clusters: Int32, cells: Cells) -> Bools:
    """Return whether each image is in a secondary cluster of its label that is a main one of another label."""
    theirs = np.isin(cells.columns, cells.columns[cells.is_main])
    return _in_cells(labels, clusters, cells, cells.is_secondary & theirs)


def _in_cells(labels: Int32, clusters: Int32, cells: Cells, some: Bools) -> Bools:
    width = int(clusters.max(initial=0)) + 1
    wanted = np.sort(cells.rows[some] * width + cells.columns[some])
    here = labels.astype(np.int64) * width + clusters
    at = np.minimum(np.searchsorted(wanted, here), max(len(wanted) - 1, 0))
    found: Bools = (wanted[at] == here) if len(wanted) else np.zeros(len(here), bool)
    return found & (labels >= 0) & (clusters >= 0)


def by_embeddings(view: View, assigned: AssignedImages, progress: Progress) -> Measured:
    """Compare each embedding with the mean of its label's other images and of each other label.

    Reads the space twice. Memory: one block, and one float64 vector for each label. Distances use the metric of the
    space.
    """
    space = assigned.entry.space
    metric = metric_of(view.reader.manifest, space)
    entry = view.reader.manifest.spaces[space]
    names = view.label_names
    sums = np.zeros((len(names), entry.dim))
    counts = np.zeros(len(names), np.int64)
    with progress.stage("centroids of classes", entry.rows, "image") as bar:
        for rows, vectors in view.stream(space):
            codes = view.labels[rows]
            known = codes >= 0
            _add_rows(sums, codes[known], prepare(vectors[known], metric))
            counts += np.bincount(codes[known], minlength=len(names))
            bar.advance(len(rows))
    distance, other_distance = np.full(len(view), np.nan), np.full(len(view), np.nan)
    looks_like = np.full(len(view), -1, np.int32)
    there = np.flatnonzero(counts)
    centroids = sums / np.maximum(counts, 1)[:, None]
    middles = there, centroids[there].astype(np.float32)
    nothing = negligible(centroids, metric)
    with progress.stage("distances to classes", entry.rows, "image") as bar:
        for rows, vectors in view.stream(space):
            known = view.labels[rows] >= 0
            some = rows[known]
            prepared = prepare(vectors[known], metric)
            own, other, nearest = _distances(prepared, view.labels[some], sums, counts, middles, metric)
            distance[some] = np.where(own <= nothing, 0, own)
            other_distance[some] = np.where(other <= nothing, 0, other)
            looks_like[some] = nearest
            bar.advance(len(rows))
    judged = np.isfinite(distance)
    z = robust_z(distance, view.labels, judged)
    with np.errstate(invalid="ignore", divide="ignore"):
        longer = np.maximum(distance, other_distance)
        score = np.where(longer > 0, (other_distance - distance) / longer, 0.0)
        nearer = other_distance < distance
    score = np.where(np.isfinite(other_distance), score, -z / (1 + np.abs(z)))
    single = tuple(name for name, count in zip(names, counts.tolist(), strict=True) if count == 1)
    never = np.zeros(len(view), bool)
    return Measured(judged, score, distance, other_distance, looks_like, z, nearer & judged, never, never, single)


def by_clusters(labels: Int32, assigned: AssignedImages, cells: Cells, centroids: Float32) -> Measured:
    """Measure oddness by the clustering only, see `oddballs`. `centroids` (k, dim) are those of the clustering."""
    clusters = assigned.clusters
    judged = (labels >= 0) & (clusters >= 0)
    k = assigned.entry.k
    # For each cluster the label with the highest share of its images there: its images look like that label.
    strongest = np.zeros(k)
    np.maximum.at(strongest, cells.columns, cells.share)
    leader = np.full(k, -1, np.int32)
    leads = cells.share >= strongest[cells.columns]
    # Backwards, so that the first label wins among equal shares.
    leader[cells.columns[leads][::-1]] = cells.rows[leads][::-1]
    flat = np.sort(cells.rows * k + cells.columns)
    order = np.argsort(cells.rows * k + cells.columns)
    own = np.zeros(len(labels))
    here = labels[judged].astype(np.int64) * k + clusters[judged]
    place = np.searchsorted(flat, here)
    own[judged] = cells.share[order][place]
    looks_like = np.full(len(labels), -1, np.int32)
    looks_like[judged] = leader[clusters[judged]]
    score = np.zeros(len(labels))
    score[judged] = own[judged] - strongest[clusters[judged]]
    there = np.unique(clusters[judged])
    nothing = negligible(centroids[there].astype(np.float64), assigned.entry.metric)
    distance = np.where(assigned.distances <= nothing, 0.0, assigned.distances.astype(np.float64))
    distance[~judged] = np.nan
    groups = np.full(len(labels), -1, np.int64)
    groups[judged] = place
    z = robust_z(distance, groups, judged)
    never = np.zeros(len(labels), bool)
    return Measured(judged, score, distance, np.full(len(labels), np.nan), looks_like, z, never, never, never)


def robust_z(values: Float64, groups: npt.NDArray[np.integer], judged: Bools) -> Float64:
    """Return the modified z-score of each value within its group: 0.6745 (x - median) / MAD.

    It is 0 if the MAD is 0 up to rounding, because most values are equal; NaN for values that are not judged.
    """
    z = np.full(len(values), np.nan)
    rows = np.flatnonzero(judged)
    _, codes = np.unique(groups[rows], return_inverse=True)
    apart = values[rows] - _medians(values[rows], codes)[codes]
    spread = _medians(np.abs(apart), codes)[codes]
    varied = spread > NEGLIGIBLE * np.abs(values[rows]).max(initial=0)
    z[rows] = np.where(varied, _TO_DEVIATIONS * apart / np.where(varied, spread, 1), 0.0)
    return z


def _medians(values: Float64, codes: npt.NDArray[np.int64]) -> Float64:
    """Return the median of the values of each code, all of which occur; vectorized, because there may be many small
    groups.
    """
    ordered = values[np.lexsort((values, codes))]
    sizes = np.bincount(codes)
    starts = np.cumsum(sizes) - sizes
    medians: Float64 = (ordered[starts + (sizes - 1) // 2] + ordered[starts + sizes // 2]) / 2
    return medians


def _add_rows(sums: Float64, codes: Int32, vectors: npt.NDArray[np.float32]) -> None:
    """Add each vector to the sum of its code, in float64, by one matrix product instead of scattered additions."""
    from scipy.sparse import csr_array

    here = np.unique(codes)
    shape = (len(here), len(codes))
    chosen = csr_array((np.ones(len(codes)), (np.searchsorted(here, codes), np.arange(len(codes)))), shape=shape)
    sums[here] += chosen @ vectors.astype(np.float64)


def _distances(
    vectors: Float32,
    codes: Int32,
    sums: Float64,
    counts: npt.NDArray[np.int64],
    middles: tuple[npt.NDArray[np.int64], Float32],
    metric: Metric,
) -> tuple[Float64, Float64, Int32]:
    """Return the distance to the centroid of the own label's other images, to the nearest other label's, and that
    label.

    `sums` (labels, dim) and `counts` (labels,) are those of each label's images; `middles` are the labels that have
    images, with their centroids.
    """
    exact = vectors.astype(np.float64)
    size = counts[codes]
    own = _apart(exact, (sums[codes] - exact) / np.maximum(size - 1, 1)[:, None], metric)
    # Two, because the nearest one may be the own label.
    found, _ = exact_search([middles], vectors, 2, metric)
    nearest = np.where(found[:, 0] == codes, found[:, 1], found[:, 0])
    others = sums[nearest] / np.maximum(counts[nearest], 1)[:, None]
    other = np.where(nearest < 0, np.nan, _apart(exact, others, metric))
    return np.where(size > 1, own, np.nan), other, nearest.astype(np.int32)


def _apart(vectors: Float64, others: Float64, metric: Metric) -> Float64:
    """Return the distance of each row to that of the other array; the cosine distance of a zero row is 1."""
    apart: Float64
    if metric == "l2":
        apart = np.linalg.norm(vectors - others, axis=1)
        return apart
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(others, axis=1)
    products = (vectors * others).sum(axis=1)
    apart = 1 - np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return np.maximum(apart, 0)


def negligible(centroids: Float64, metric: Metric) -> float:
    """Return the distance to some centroids (k, dim) that rounding can give to copies of an image."""
    if metric == "cosine":
        # The cosine distance of unit vectors is half the square of the Euclidean one.
        return NEGLIGIBLE**2 / 2
    return NEGLIGIBLE * float(np.sqrt(np.square(centroids).sum(axis=1).max(initial=0)))
