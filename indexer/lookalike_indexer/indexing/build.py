"""Creation, training and filling of a faiss index."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import faiss

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import IndexerError, UsageError
from lookalike_indexer.indexing import two_stage
from lookalike_indexer.indexing.params import describe
from lookalike_indexer.indexing.recipes import NAMES, PROJECTED_NAMES
from lookalike_indexer.progress import Progress
from lookalike_indexer.vectors.flat import flat_index
from lookalike_indexer.vectors.metric import faiss_metric, prepare

# A refining index compares this many candidates for each requested neighbor.
_REFINED = 8
# The code words of the 8-bit quantizer within an OPQ.
_CODE_WORDS = 256


def empty_index(factory: str, dim: int, metric: Metric, seed: int) -> faiss.Index:
    """Return an untrained index whose training depends only on the seed. Raise UsageError if faiss cannot create it."""
    stages = two_stage.parse(factory)
    try:
        index = two_stage.empty(stages, dim) if stages else faiss.index_factory(dim, factory, faiss_metric(metric))
    except RuntimeError as error:
        raise UsageError(
            f"--index {factory!r}: faiss cannot make it for {dim} dimensions and {metric} ({_error_text(error)}); "
            f"use {', '.join((*NAMES, *PROJECTED_NAMES))}, or another faiss factory string."
        ) from error
    kind = faiss.downcast_index(index)
    if isinstance(kind, faiss.IndexRefine) and not stages:
        kind.k_factor = _REFINED
    if isinstance(kind, faiss.IndexIDMap):
        raise UsageError(f"--index {factory!r}: leave IDMap out; images are numbered by their rows.")
    for parameters in _clustering_parameters(index):
        parameters.seed = seed
        # The sample is already drawn, and the warning about few points is not useful for users of small collections.
        parameters.min_points_per_centroid = 1
        parameters.max_points_per_centroid = 2**31 - 1
    return index


def train(index: faiss.Index, sample: Float32, factory: str, gpus: Sequence[int], progress: Progress) -> None:
    """Train on vectors of shape (n, dim), prepared for the metric. Raise UsageError for too few vectors."""
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None and len(sample) < ivf.nlist:
        raise UsageError(
            f"--index {factory!r} has {ivf.nlist} lists but {len(sample)} training vectors; ask for fewer lists, "
            "or for more vectors with --train-size."
        )
    with progress.stage(f"train {factory}", None, "vector"), _clustering_on(ivf, gpus):
        try:
            if two_stage.is_two_stage(index):
                two_stage.train(faiss.downcast_index(index), sample)
            else:
                index.train(sample)
        except RuntimeError as error:
            raise UsageError(
                f"--index {factory!r} cannot be trained on {len(sample)} vectors ({_error_text(error)}); "
                "choose a smaller index."
            ) from error


def least_training(index: faiss.Index, dim: int) -> tuple[int, str]:
    """Return the minimum number of vectors to train an untrained index of `dim` dimensions, and what requires them.

    Raise UsageError for a reduction to more dimensions than there are.
    """
    needs = [(0, "")]
    # Use another name: the caller's may hold the only reference to the index.
    kind = faiss.downcast_index(index)
    if isinstance(kind, faiss.IndexPreTransform):
        for number in range(kind.chain.size()):
            transform = faiss.downcast_VectorTransform(kind.chain.at(number))
            if isinstance(transform, faiss.PCAMatrix) or two_stage.is_projection(transform):
                if transform.d_out > transform.d_in:
                    raise UsageError(f"--index: a PCA to {transform.d_out} dimensions needs more than {dim} of them.")
                needs.append((int(transform.d_out), "principal components"))
            elif isinstance(transform, faiss.OPQMatrix):
                needs.append((_CODE_WORDS, "an OPQ's code words"))
        needs.append(least_training(kind.index, dim))
    elif isinstance(kind, faiss.IndexRefine):
        needs.append(least_training(kind.base_index, dim))
    else:
        if isinstance(kind, faiss.IndexIVF):
            needs.append((int(kind.nlist), "its inverted lists"))
        if hasattr(kind, "pq"):
            needs.append((int(kind.pq.ksub), "a product quantizer's code words"))
    return max(needs)


def fill(index: faiss.Index, reader: CollectionReader, space: str, metric: Metric, progress: Progress) -> None:
    """Add all rows of a space in order, one block at a time: entry i of the index is row i of the space."""
    with (
        progress.stage(f"fill {space}", reader.manifest.spaces[space].rows, "image") as bar,
        one_thread_for_graphs(index),
    ):
        for _, vectors in reader.stream_ahead(space):
            try:
                add(index, prepare(vectors, metric))
            except RuntimeError as error:
                raise IndexerError(f"faiss could not add vectors to the index ({_error_text(error)}).") from error
            bar.advance(len(vectors))


def add(index: faiss.Index, vectors: Float32) -> None:
    """Add vectors (n, dim), prepared for the index's metric, to a trained index of any kind."""
    if two_stage.is_two_stage(index):
        two_stage.add(faiss.downcast_index(index), vectors)
    else:
        index.add(vectors)


@contextmanager
def _clustering_on(ivf: faiss.IndexIVF | None, gpus: Sequence[int]) -> Iterator[None]:
    """Run the k-means of the inverted lists on GPUs."""
    if ivf is None or not gpus:
        yield
        return
    index = flat_index(ivf.d, ivf.metric_type, gpus)
    ivf.clustering_index = index
    try:
        yield
    finally:
        ivf.clustering_index = None


@contextmanager
def one_thread_for_graphs(index: faiss.Index) -> Iterator[None]:
    """Fill a graph with one thread: its links depend on the order in which threads insert."""
    threads = faiss.omp_get_max_threads()
    if describe(index).kind == "graph":
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _clustering_parameters(index: faiss.Index) -> Iterator[faiss.ClusteringParameters]:
    """Yield the parameters of each k-means within an index."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        yield from _clustering_parameters(index.index)
    elif isinstance(index, faiss.IndexRefine):
        yield from _clustering_parameters(index.base_index)
    else:
        if isinstance(index, faiss.IndexIVF):
            yield index.cp
        if hasattr(index, "pq"):
            yield index.pq.cp


def _error_text(error: RuntimeError) -> str:
    """Return faiss's message without its function, file and line."""
    text = re.sub(r"^.*?\.(?:cpp|h|cu):\d+: ", "", str(error), flags=re.DOTALL)
    return re.sub(r"^Error: '(.*?)' failed(?:: )?", lambda match: "" if text[match.end() :] else match[1], text).strip()
