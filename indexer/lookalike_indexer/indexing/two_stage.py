"""Two-stage indexes: principal components find candidates, codes of the whole vectors order them.

Such an index is a faiss IndexRefine. Its base is an index of the projected vectors behind a LinearTransform; its
refine_index holds codes of all dimensions. Both use Euclidean distance. For cosine the vectors have unit length, which
gives the same order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.errors import UsageError
from lookalike_indexer.indexing.params import search_parameters
from lookalike_indexer.indexing.projection import TRAINED_ON, projectable, train_components, transform

# The first stage searches this many times k candidates, and at least LEAST.
FACTOR = 4
LEAST = 40
# Candidates beyond k that are ranked exactly: rounded queries and codes rank a few neighbors too low, and copies tie.
SPARE = 4
# Candidates for the links of a new entry of a graph. With faiss's 40, a search for 0.99 of the neighbors compares
# twice as many vectors.
_LINK_CANDIDATES = 80
# The `k_factor` of an index whose graph returns only the candidates that its search keeps. Other indexes have FACTOR.
_AS_KEPT = 1
_MOST_PARAMETERS = 1024
# Codes that can be decoded row by row, so that distances are exact.
_FACTORY = re.compile(r"PCA(\d+),(.+),Refine\((Flat|SQ[a-z0-9]+)\)")


@dataclass(frozen=True)
class TwoStage:
    """A parsed factory string: the number of components, the factory strings of the two stages."""

    components: int
    first: str
    second: str


def parse(factory: str) -> TwoStage | None:
    """Return the stages of a factory string such as "PCA128,HNSW32,SQ8,Refine(SQ8)"; None for other strings."""
    found = _FACTORY.fullmatch(factory)
    return TwoStage(int(found[1]), found[2], found[3]) if found else None


def empty(stages: TwoStage, dim: int) -> faiss.IndexRefine:
    """Return an untrained index of `dim` dimensions.

    Raise UsageError for more components than dimensions. Raise RuntimeError if faiss cannot create one of the stages.
    """
    if not 1 <= stages.components <= dim:
        raise UsageError(f"--index: {stages.components} components; the embeddings have {dim} dimensions.")
    first = faiss.index_factory(stages.components, stages.first, faiss.METRIC_L2)
    projected = faiss.IndexPreTransform(faiss.LinearTransform(dim, stages.components, False), first)
    index = faiss.IndexRefine(projected, faiss.index_factory(dim, stages.second, faiss.METRIC_L2))
    index.k_factor = FACTOR
    if isinstance(first, faiss.IndexHNSW):
        first.hnsw.efConstruction = _LINK_CANDIDATES
        index.k_factor = _AS_KEPT
    return index


def is_two_stage(index: Any) -> bool:
    """Return whether a faiss index has the form that `empty` creates."""
    kind = faiss.downcast_index(index) if isinstance(index, faiss.Index) else None
    return isinstance(kind, faiss.IndexRefine) and _linear(kind) is not None


def train(index: faiss.IndexRefine, sample: Float32) -> None:
    """Train both stages on prepared vectors (n, dim), n at least the number of components."""
    projected, linear = _projected(index), _linear(index)
    trained = transform(train_components(sample[:TRAINED_ON], linear.d_out))
    linear.A = trained.A
    linear.is_trained = True
    first_stage(index).train(project(index, sample))
    index.refine_index.train(sample)
    projected.is_trained = index.is_trained = True


def add(index: faiss.IndexRefine, vectors: Float32) -> None:
    """Add prepared vectors (n, dim) to both stages; the projection of a row does not depend on other rows."""
    first_stage(index).add(project(index, vectors))
    index.refine_index.add(vectors)
    _projected(index).ntotal = index.ntotal = index.refine_index.ntotal


def project(index: faiss.IndexRefine, vectors: Float32) -> Float32:
    """Return prepared vectors (n, dim) projected for the first stage, (n, components)."""
    return Projection(index)(vectors)


class Projection:
    """Projects prepared vectors (n, dim) for the first stage of an index, (n, components).

    `unit`: the metric is cosine, so all vectors have length 1 or are zero. This only saves time.
    """

    def __init__(self, index: faiss.IndexRefine, unit: bool = False) -> None:
        # A copy of the transform, because `index` may be a view that does not keep its index alive.
        self._owner = emptied(index)
        # Looked up once, because that takes as long as projecting a vector.
        self.linear: faiss.LinearTransform = _linear(self._owner)
        self._unit = unit

    def __call__(self, vectors: Float32) -> Float32:
        projected: Float32 = self.linear.apply(projectable(vectors, self._unit))
        return projected


def emptied(index: faiss.IndexRefine) -> faiss.IndexRefine:
    """Return an index with the projection of another one, without vectors."""
    made = empty(TwoStage(int(_linear(index).d_out), "Flat", "Flat"), int(index.d))
    linear = _linear(made)
    linear.A = _linear(index).A
    linear.is_trained = True
    return made


def first_stage(index: faiss.IndexRefine) -> faiss.Index:
    """Return the index over the projected vectors, downcast to its class."""
    return faiss.downcast_index(_projected(index).index)


def candidates_for(k: int, ntotal: int, kept: int | None = None) -> int:
    """Return how many candidates the first stage searches for k neighbors.

    `kept` is the efSearch of a graph that returns only the candidates that its search keeps; at least k + SPARE.
    """
    most = max(FACTOR * k, LEAST)
    return min(most if kept is None else min(most, max(kept, k + SPARE)), ntotal)


def kept_by(index: faiss.IndexRefine, effort: int) -> int | None:
    """Return the `kept` of `candidates_for` for a search with an effort; None if the effort does not limit candidates.

    Indexes of earlier releases search for all candidates, because their recall was measured with them.
    """
    graph = isinstance(first_stage(index), faiss.IndexHNSW)
    return effort if graph and index.k_factor == _AS_KEPT else None


class TwoStageSearch:
    """Searches a trained and filled two-stage index. Thread-safe. `unit` is as for Projection."""

    def __init__(self, index: faiss.Index, unit: bool = False) -> None:
        # Hold the caller's index, which may have the only reference.
        self._owner = index
        self._unit = unit
        self._index = faiss.downcast_index(index)
        self._base = _projected(self._index)
        # Creating parameters costs as much as a quick search; faiss only reads them.
        self._parameters: dict[tuple[int, int, int], faiss.SearchParameters] = {}

    def __call__(self, queries: Float32, k: int, candidates: int, effort: int) -> tuple[Float32, Int64]:
        """Return the k best of `candidates` by the second stage: squared distances and rows, both (n, k), ascending.

        `queries` (n, dim) are prepared. `effort` is the nprobe or efSearch of the first stage. Missing rows are -1 at
        the end. If the first stage compares one query at a time, as graphs and scans of codes do, the result of a query
        does not depend on the others.
        """
        kept = min(k, candidates)
        parameters = self._parameters_for(kept, candidates, effort)
        distances, rows = self._index.search(projectable(queries, self._unit), kept, params=parameters)
        if kept < k:
            rows = np.pad(rows, ((0, 0), (0, k - kept)), constant_values=-1)
            distances = np.pad(distances, ((0, 0), (0, k - kept)), constant_values=np.inf)
        return distances, rows

    def _parameters_for(self, kept: int, candidates: int, effort: int) -> faiss.SearchParameters:
        key = (kept, candidates, effort)
        if key not in self._parameters:
            if len(self._parameters) >= _MOST_PARAMETERS:
                self._parameters.clear()
            # Just above the quotient, because faiss truncates the product to an integer.
            self._parameters[key] = faiss.IndexRefineSearchParameters(
                k_factor=(candidates + 0.5) / kept, base_index_params=search_parameters(self._base, effort)
            )
        return self._parameters[key]


def searched(index: faiss.Index, queries: Float32, k: int, effort: int) -> npt.NDArray[np.int64]:
    """Return the rows (n, k) that any index finds for prepared queries (n, dim) with an nprobe or efSearch."""
    if is_two_stage(index):
        kept = kept_by(faiss.downcast_index(index), effort)
        return TwoStageSearch(index)(queries, k, candidates_for(k, int(index.ntotal), kept), effort)[1]
    rows: npt.NDArray[np.int64] = index.search(queries, k, params=search_parameters(index, effort))[1]
    return rows


def _projected(index: faiss.IndexRefine) -> faiss.IndexPreTransform:
    return faiss.downcast_index(index.base_index)


def _linear(index: faiss.IndexRefine) -> Any:
    """Return the transform of a base index with a single one, without a bias; else None."""
    base = faiss.downcast_index(index.base_index)
    if not isinstance(base, faiss.IndexPreTransform) or base.chain.size() != 1:
        return None
    linear = faiss.downcast_VectorTransform(base.chain.at(0))
    return linear if is_projection(linear) else None


def is_projection(transform: faiss.VectorTransform) -> bool:
    """Return whether a downcast transform is the projection of such an index."""
    return type(transform) is faiss.LinearTransform and not transform.have_bias
