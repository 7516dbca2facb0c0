"""A collection whose images have attributes of every type, with nulls, clusters and predictions."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.attach import attach
from lookalike_indexer.clustering.assign import AssignedVectors
from lookalike_indexer.clustering.tables import write_assignments
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.filters.sources import FilterColumns

TAGS = ["sale", "new", "it's", "été", ""]
TEXTS = ["", "a", "b", "B", "ab", "it's", "été", "日本"]
IMAGES = 300


class Shop:
    """`columns` are those of a collection's filters; `rows` has the known values of each image.

    Not a dataclass, since hypothesis would print all of it.
    """

    def __init__(self, rows: dict[str, list[Any]], reader: CollectionReader) -> None:
        self.columns, self.rows, self.reader = FilterColumns(reader), rows, reader
        self.storage: Storage = reader.storage


@pytest.fixture
def shop(make_collection, publish_clustering, publish_predictions, tmp_path) -> Shop:
    chance = np.random.default_rng(5)

    def some(values: list[Any], share: float = 0.2) -> list[Any]:
        chosen = [values[i] for i in chance.integers(0, len(values), IMAGES)]
        return [None if gone else value for gone, value in zip(chance.random(IMAGES) < share, chosen, strict=True)]

    label = some(["cat", "dog", "bird"])
    storage = make_collection(chance.standard_normal((IMAGES, 4)).astype(np.float32), labels=label, part_rows=128)
    keys = [f"{3 * i + 1:05d}.jpg" for i in range(IMAGES)]
    start = dt.datetime(2026, 1, 1)
    lists = [[TAGS[i] for i in chance.integers(0, len(TAGS), size)] for size in chance.integers(0, 4, IMAGES)]
    columns = {
        "whole": pa.array(some([-3, 0, 1, 2, 2**53, 2**63 - 1, -(2**63)]), pa.int64()),
        "price": pa.array(some([-1.5, 0.0, 1.0, 2.5, 1e300, float("inf")]), pa.float64()),
        "flag": pa.array(some([True, False]), pa.bool_()),
        "text": pa.array(some(TEXTS), pa.string()),
        "taken": pa.array(some([start + dt.timedelta(hours=12 * i) for i in range(6)]), pa.timestamp("us")),
        "tags": pa.array([None if each is None else lists[each] for each in some(list(range(IMAGES)))]),
        "odd name": pa.array(list(range(IMAGES)), pa.int64()),
    }
    # The last images have no row in the table.
    there = IMAGES - 20
    order = chance.permutation(there)
    table = pa.table({"file": pa.array(keys), **columns}).take(pa.array(order))
    pq.write_table(table, tmp_path / "shop.parquet")
    done = CliRunner().invoke(attach, [str(storage.root), str(tmp_path / "shop.parquet"), "--key", "file"])
    assert done.exit_code == 0, done.output
    clusters = chance.integers(0, 5, IMAGES)
    publish_predictions(storage, [[["tabby", "collie", "jay"][i], "other"] for i in chance.integers(0, 3, IMAGES)])
    reader = publish_clustering(storage, clusters.tolist(), name="five")
    reader = _partly(storage, reader)
    assigned = reader.assignments("tiny/five")
    distance = dict(zip(assigned.ids.tolist(), assigned.distances, strict=True))
    cluster = dict(zip(assigned.ids.tolist(), assigned.clusters.tolist(), strict=True))
    predicted = reader.predictions("tiny")
    rows = {
        "id": [3 * i + 1 for i in range(IMAGES)],
        "key": keys,
        "label": label,
        **{name: [*column.to_pylist()[:there], *[None] * 20] for name, column in columns.items()},
    }
    rows |= {
        "cluster": [cluster.get(one) for one in rows["id"]],
        "distance": [None if one not in distance else float(distance[one]) for one in rows["id"]],
        "predicted": [names[0] for names in predicted.column("class_name").to_pylist()],
        "probability": [float(one[0]) for one in predicted.column("probability").to_pylist()],
    }
    return Shop(rows, reader)


def _partly(storage, reader):
    """Leave the last part out of the clustering, so that some images have no cluster."""
    manifest = reader.manifest
    entry = manifest.clusterings["tiny/five"]
    stored = reader.assignments("tiny/five")
    keep = slice(0, 256)
    path = entry.assignments[0].replace("part-000000", "part-000001")
    some = AssignedVectors(stored.clusters[keep], stored.distances[keep], stored.margins[keep])
    write_assignments(storage, path, stored.ids[keep], some)
    fewer = dataclasses.replace(entry, assignments=[path], rows=256)
    draft = dataclasses.replace(manifest, clusterings={"tiny/five": fewer})
    generations.publish(storage, generations.complete(storage, draft))
    return CollectionReader.open(str(storage.root))
