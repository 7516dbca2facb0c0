"""Two-dimensional map of images: neighbors in the space are neighbors on the map."""

from __future__ import annotations

import warnings
from typing import Final, Literal, get_args

import numpy as np
import pyarrow as pa
from sklearn.decomposition import PCA

from lookalike_indexer.arrays import Float32, Float64, Int64
from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.errors import IndexerError, NotBuiltError, UsageError
from lookalike_indexer.experiments.alike import require_varied
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.space_notes import untrained_notes
from lookalike_indexer.experiments.space_sample import Sampled, sampled
from lookalike_indexer.experiments.view import View
from lookalike_indexer.numerics.single_thread import one_thread
from lookalike_indexer.progress import Progress, Silent

Method = Literal["pca", "tsne", "umap"]
# The methods as titles call them.
METHOD_NAMES: Final = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
METHODS: tuple[Method, ...] = get_args(Method)
# The methods need at least these numbers of images.
_FEWEST = 4
_PERPLEXITY = 30
_NEIGHBORS = 15
# t-SNE and UMAP use the distances in this many principal components, as is usual: the rest is mostly noise.
_REDUCED = 50


def map2d(
    view: View,
    *,
    method: str = "pca",
    space: str = "",
    sample: int = 4000,
    seed: int = 1234,
    where: str = "",
    progress: Progress | None = None,
) -> Result:
    """Place images on a plane, by their L2-normalized embeddings.

    - pca: the first two principal components. Those of a random sample of `sample` images are the axes; every image
      of the space is placed, in one further pass.
    - tsne: t-SNE (van der Maaten, Hinton, 2008; Barnes-Hut, 2014) by scikit-learn, initialized by the principal
      components.
    - umap: UMAP (McInnes, Healy, Melville, 2018) by umap-learn.

    t-SNE and UMAP place only the images of the sample. The same seed gives the same map on the same machine. Table: map
    (id int64, x and y float32), by id; and prediction, the name of the most probable class, if the model of the space
    keeps predictions. `where` is a filter: only matching images are in the table, at their positions among all images.
    Raise UsageError for an unknown method, or a sample that is too small. Raise NotBuiltError for fewer than four
    images, or if all embeddings are equal.
    """
    if method not in METHODS:
        raise UsageError(f"There is no method {method!r} for maps; there are {', '.join(METHODS)}.")
    if sample < _FEWEST:
        raise UsageError(f"--sample {sample}: a map needs at least {_FEWEST} images.")
    name, entry = view.reader.space(space)
    if entry.rows < _FEWEST:
        raise NotBuiltError(f"The space {name} has {entry.rows} images; a map needs at least {_FEWEST}.")
    drawn = sampled(view, name, sample, seed, progress)
    require_varied(drawn, "a map")
    figures = {}
    with one_thread():
        if method == "pca":
            axes = PCA(min(2, entry.dim), random_state=seed).fit(drawn.vectors)
            rows, places = _placed(view, drawn, axes, progress or Silent())
            figures["explained_variance"] = float(axes.explained_variance_ratio_.sum())
        else:
            rows = drawn.rows
            with (progress or Silent()).stage(f"{method} of {len(rows)} images", 1, "map") as bar:
                places = (_tsne if method == "tsne" else _umap)(drawn.vectors, seed)
                bar.advance()
    if not np.isfinite(places).all():
        raise IndexerError(f"{method} could not place some images of {name}; use another --method.")
    keep = view.matching(where)
    if keep is not None:
        rows, places = rows[keep[rows]], places[keep[rows]]
    columns = {"id": view.ids[rows], "x": places[:, 0], "y": places[:, 1]}
    table = pa.table({**columns, **_predictions(view, entry.model, rows)})
    settings: dict[str, Setting] = {"space": name, "method": method, "metric": drawn.metric}
    settings |= {"sample": len(drawn.rows), "seed": seed}
    if where:
        settings["where"] = where
    figures |= {"images": float(len(rows)), "of": float(drawn.of)}
    return Result("map", settings, {"map": table}, figures, _findings(view, drawn, figures))


def default_name(result: Result) -> str:
    """Return a map's default name for storage: its space and method."""
    return f"{result.settings['space']}-{result.settings['method']}"


def _predictions(view: View, model: str, rows: Int64) -> dict[str, pa.Array]:
    """Return the model's prediction for each image; null if it did not see the image."""
    if not view.reader.manifest.models[model].predictions:
        return {}
    predicted = view.predicted(model)
    names = [predicted.names.get(first) for first in predicted.classes[rows, 0].tolist()]
    return {"prediction": pa.array(names, pa.string())}


def _placed(view: View, drawn: Sampled, axes: PCA, progress: Progress) -> tuple[Int64, Float32]:
    """Return every image of the space on the axes."""
    found, places = [], []
    with progress.stage(f"map {drawn.space}", drawn.of, "image") as bar:
        for rows, vectors in view.stream(drawn.space):
            found.append(rows)
            placed = axes.transform(drawn.like(vectors))
            # A one-dimensional space has one axis.
            places.append(np.pad(placed, ((0, 0), (0, 2 - placed.shape[1]))).astype(np.float32))
            bar.advance(len(rows))
    return np.concatenate(found), np.concatenate(places)


def _reduced(vectors: Float32, seed: int) -> Float64:
    kept = min(_REDUCED, *vectors.shape)
    reduced: Float64 = PCA(kept, random_state=seed).fit_transform(vectors.astype(np.float64))
    return reduced


def _tsne(vectors: Float32, seed: int) -> Float32:
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    model = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    places: Float32 = model.fit_transform(_reduced(vectors, seed))
    return places.astype(np.float32)


def _umap(vectors: Float32, seed: int) -> Float32:
    with warnings.catch_warnings():
        # umap-learn and numba warn of things that do not concern users: missing optional parts, disconnected graphs of
        # few images, and that a seed implies one thread.
        warnings.simplefilter("ignore")
        from umap import UMAP

        neighbors = min(_NEIGHBORS, len(vectors) - 1)
        # A spectral start needs more images than dimensions.
        init = "spectral" if len(vectors) > 2 * _NEIGHBORS else "random"
        model = UMAP(n_neighbors=neighbors, init=init, random_state=seed, n_jobs=1)
        places: Float32 = model.fit_transform(_reduced(vectors, seed))
    return np.asarray(places, np.float32)


def _findings(view: View, drawn: Sampled, figures: dict[str, float]) -> tuple[str, ...]:
    found = []
    partial = len(drawn.rows) < drawn.of
    if "explained_variance" in figures:
        found.append(f"The two axes carry {figures['explained_variance']:.1%} of the variance of {drawn.space}.")
        if partial:
            found.append(f"The axes are those of a random sample of {len(drawn.rows):,} of {drawn.of:,} images.")
    else:
        found.append("Only which images are near each other is meaningful; distances between groups are not.")
        if partial:
            found.append(
                f"A random sample of {len(drawn.rows):,} of {drawn.of:,} images is placed; the others are left out."
            )
    return (*found, *untrained_notes(view, [drawn.space]))
