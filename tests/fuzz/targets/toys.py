"""A small collection as the initial input of the targets, written as by the server's tests."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pyarrow as pa
from tests.fuzz.targets.folders import own_folder
from tests.server import conftest as server

from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.parts import write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments import stored_results
from lookalike_indexer.experiments.matrix import class_matrix
from lookalike_indexer.experiments.view import View


@functools.cache
def toy() -> Path:
    """Return the root of a collection of 40 images with an index, a clustering, predictions and a stored result."""
    folder = own_folder("toy")
    made = server.Toy(folder / "toys", server.random_vectors(40, 8), np.arange(40, dtype=np.int64) * 2 + 5)
    draft = server._with_images(made, made.storage, 0, 20, folder / "pictures")
    draft = server._with_index(made, made.storage, draft, "IVF4,Flat", 2, 1)
    draft = server._with_clustering(made, made.storage, draft, 3, 1)
    draft = _with_predictions(made, draft)
    generations.publish(made.storage, draft)
    view = View(CollectionReader.open(str(made.root)))
    stored_results.store_result(view.reader, "first", class_matrix(view, "tiny/k3"))
    return made.root


def _with_predictions(made: server.Toy, draft: Manifest) -> Manifest:
    """Add five of ten classes for each image, sorted by probability."""
    random = np.random.default_rng(1)
    count = len(made.ids)
    classes = np.argsort(random.random((count, 10)), axis=1)[:, :5].astype(np.int32)
    names = [[f"class {one}" for one in row] for row in classes.tolist()]
    confidence = np.sort(random.random((count, 5)), axis=1)[:, ::-1].tolist()
    kind = schema.predictions(5)
    columns = [made.ids.tolist(), classes.tolist(), names, confidence]
    table = pa.table([pa.array(values, field.type) for values, field in zip(columns, kind, strict=True)], kind)
    write_part(made.storage, layout.predictions("tiny", 0), table)
    model = dataclasses.replace(draft.models["tiny"], predictions=[layout.predictions("tiny", 0)])
    return dataclasses.replace(draft, models={"tiny": model})
