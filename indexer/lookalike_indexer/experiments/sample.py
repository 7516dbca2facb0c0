"""Spread-out subset of a space: k-center greedy.

T. Gonzalez: Clustering to minimize the maximum intercluster distance, Theoretical Computer Science 38, 1985. The
largest distance of an image to its nearest chosen one is at most twice the minimum that any n images can reach.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Float32, Float64, Int64
from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.collection.metrics import NAMES, metric_of
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.space_notes import untrained_notes
from lookalike_indexer.experiments.view import View
from lookalike_indexer.progress import Progress, Silent
from lookalike_indexer.vectors.sample import choose_rows, read_rows

# Elements that are compared at a time, in float64.
_BLOCK = 1 << 20


def spread_sample(
    view: View, count: int, space: str = "", among: int = 10_000, seed: int = 1234, *, progress: Progress | None = None
) -> Result:
    """Choose `count` images that are far from each other by the metric of the space, the most typical first.

    The first is the image nearest to the mean; each further one is the farthest from all chosen before; ties go by id.
    At most `among` images are considered, chosen randomly if there are more; their embeddings are in memory.

    Table "images": rank, id, key, label, and `distance` to the nearest one chosen before (NaN for the first). Figure
    "radius": the largest distance of an image to its nearest chosen one. Raise NotFoundError if the space does not
    exist. Raise NotBuiltError if the space is empty. Raise UsageError for more images than are considered.
    """
    space, entry = view.reader.space(space)
    if not entry.rows:
        raise NotBuiltError(f"The space {space} has no embeddings; index a source with readable images.")
    looked = min(among, entry.rows)
    if not 1 <= count <= looked:
        raise UsageError(f"-n {count}: choose 1 to {looked:,} images, or raise --among.")
    rows = np.sort(choose_rows(entry.rows, looked, seed))
    progress = progress or Silent()
    metric = metric_of(view.reader.manifest, space)
    vectors = read_rows(view.reader, space, rows, metric, progress)
    with progress.stage("choose", count, "image") as bar:
        chosen, apart, radius = _greedy(vectors, metric, count, bar.advance)
    images = view.space_rows(space)[rows[chosen]]
    table = pa.table(
        {
            "rank": np.arange(1, count + 1, dtype=np.int64),
            "id": view.ids[images],
            "key": pa.array(view.keys(images), pa.string()),
            "label": pa.array(view.label_texts(images), pa.string()),
            "distance": apart,
        }
    )
    labels = len({label for label in table.column("label").to_pylist() if label})
    found = [
        f"{count:,} of {looked:,} images, spread out over {space}: no other image is farther than {radius:.3f} "
        f"({NAMES[metric]} distance) from the nearest of them."
    ]
    if view.label_names:
        found.append(f"They have {labels:,} of {len(view.label_names):,} labels.")
    if looked < entry.rows:
        found.append(f"Chose among {looked:,} of {entry.rows:,} images, sampled at random; use --among for more.")
    settings: dict[str, Setting] = {"space": space, "count": count, "among": among, "metric": metric, "seed": seed}
    figures = {"images": float(looked), "radius": radius, "labels": float(labels)}
    return Result("sample", settings, {"images": table}, figures, (*found, *untrained_notes(view, [space])))


def _greedy(vectors: Float32, metric: Metric, count: int, advance: Callable[[], None]) -> tuple[Int64, Float64, float]:
    """Return the chosen rows in order, their distances to earlier ones, and the largest remaining distance."""
    nearest = np.full(len(vectors), np.inf)
    chosen = np.empty(count, np.int64)
    apart = np.full(count, np.nan)
    row = int(_distances(vectors, vectors.mean(axis=0, dtype=np.float64), metric).argmin())
    for place in range(count):
        chosen[place] = row
        if place:
            apart[place] = nearest[row]
        nearest = np.minimum(nearest, _distances(vectors, vectors[row].astype(np.float64), metric))
        # A chosen image is not chosen again, even if all others are copies of it.
        nearest[row] = -1
        row = int(nearest.argmax())
        advance()
    return chosen, apart, max(0.0, float(nearest.max()))


def _distances(vectors: Float32, center: Float64, metric: Metric) -> Float64:
    """Return the distance of each row to a point; for unit vectors, half the squared one is the cosine distance."""
    out = np.empty(len(vectors))
    step = max(1, _BLOCK // vectors.shape[1])
    for start in range(0, len(vectors), step):
        difference = vectors[start : start + step] - center
        out[start : start + step] = np.square(difference).sum(axis=1)
    return np.sqrt(out) if metric == "l2" else out / 2
