"""Export of a collection for FiftyOne: paths, labels and attributes of each image, without copies.

The format is FiftyOne's FiftyOneImageClassificationDataset: labels.json maps each file to its label, and the label has
attributes. Embeddings are a separate array.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from lookalike_indexer.arrays import Int64
from lookalike_indexer.collection.current import default_clustering
from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.experiments.view import View
from lookalike_indexer.filters.sources import FilterColumns
from lookalike_indexer.progress import Progress

LABELS: Final = "labels.json"
EMBEDDINGS: Final = "embeddings.npy"
_UNLABELED: Final = "unlabeled"
# FiftyOne's importer requires this media folder, although the paths in labels.json are absolute.
_MEDIA: Final = "data"
# The fields of FiftyOne's classification, and those written in addition to the attributes of users.
_TAKEN: Final = frozenset(
    ["id", "label", "confidence", "logits", "attributes", "key", "image_id", "cluster", "prediction", "probability"]
)


@dataclass(frozen=True)
class FiftyOneExport:
    """The result of an export: the images, the space of the embeddings, and the files."""

    images: int
    space: str
    dim: int
    files: list[str]


def export_fiftyone(view: View, space: str, into: Path, progress: Progress) -> FiftyOneExport:
    """Write the images of a space as a FiftyOne dataset into a new or empty folder.

    The images are in the order of their absolute paths, as FiftyOne imports them, and row i of embeddings.npy (float32,
    images x dim) is image i. The attributes of a label are key, image_id, cluster (in the current clustering of the
    space), prediction and probability (of the space's model), and those of users: "attribute_NAME" if NAME is one of
    these or one of FiftyOne's. An image without a label is "unlabeled".

    Raise UsageError if images are in archives or not in files, or the folder has files. Raise NotFoundError if it
    cannot be written, or the space does not exist.
    """
    space, entry = view.reader.space(space)
    rows = view.space_rows(space)
    paths = _paths(view, rows)
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise UsageError(f"{into} is not an empty folder; name a new one.")
    order = sorted(range(len(rows)), key=paths.__getitem__)
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows))
    told = _sample_fields(view, space, rows)
    try:
        (into / _MEDIA).mkdir(parents=True, exist_ok=True)
        labels = {paths[at]: told[at] for at in order}
        (into / LABELS).write_text(json.dumps({"labels": labels}, ensure_ascii=False, allow_nan=False), "utf-8")
        out = np.lib.format.open_memmap(into / EMBEDDINGS, mode="w+", dtype="<f4", shape=(len(rows), entry.dim))
        with progress.stage(f"Exporting {space}", len(rows), "image") as bar:
            start = 0
            for _, vectors in view.stream(space):
                out[place[start : start + len(vectors)]] = vectors
                start += len(vectors)
                bar.advance(len(vectors))
        out.flush()
    except OSError as error:
        raise NotFoundError(f"{into} cannot be written: {error.strerror or error}.") from error
    return FiftyOneExport(len(rows), space, entry.dim, [str(into / LABELS), str(into / EMBEDDINGS)])


def _paths(view: View, rows: Int64) -> list[str]:
    """Return the absolute path of each image's file; FiftyOne opens files."""
    paths = []
    for uri in view.uris(rows):
        path = str(Path(uri).absolute())
        if "://" in uri or not Path(path).is_file():
            raise UsageError(
                f"FiftyOne opens files, but {uri} is not a file. Write the images into a folder, for example with "
                "lookalike sort DIR --by label --into FOLDER --copy, and index that."
            )
        paths.append(path)
    return paths


def _sample_fields(view: View, space: str, rows: Int64) -> list[dict[str, Any]]:
    """Return the label of each image with its attributes, in the form of labels.json."""
    columns: dict[str, list[Any]] = {"key": view.keys(rows), "image_id": view.ids[rows].tolist()}
    attributes = FilterColumns(view.reader, view.ids)
    for name in attributes.attributes:
        columns[f"attribute_{name}" if name in _TAKEN else name] = attributes.column(name).take(rows).to_pylist()
    clustering = default_clustering(view.reader.manifest, space)
    if clustering is not None:
        columns["cluster"] = view.assigned(clustering).clusters[rows].tolist()
    model = view.reader.space(space)[1].model
    if model in view.reader.manifest.models and view.reader.model(model).predictions:
        predicted = view.predicted(model)
        columns["prediction"] = [predicted.names.get(index) for index in predicted.classes[rows, 0].tolist()]
        columns["probability"] = predicted.probabilities[rows, 0].tolist()
    texts = view.label_texts(rows)
    return [
        {
            "label": label or _UNLABELED,
            "attributes": {name: _plain(values[at]) for name, values in columns.items()},
        }
        for at, label in enumerate(texts)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=dt.UTC).isoformat()
    return None if isinstance(value, float) and not np.isfinite(value) else value
