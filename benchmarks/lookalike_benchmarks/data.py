"""Vectors for a suite: synthetic ones, or those of a collection of real images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.vectors.sample import choose_rows


@dataclass(frozen=True)
class Data:
    """Vectors (n, dim) and queries (nq, dim) that are not among them, all of unit length; `params` describes them."""

    vectors: Float32
    queries: Float32
    params: Mapping[str, Any]


def synthetic(rows: int, dim: int, queries: int, seed: int) -> Data:
    made = Clustered(rows=rows, dim=dim, seed=seed)
    said = {"data": "clustered", **dataclasses.asdict(made)}
    return Data(made.all(), made.queries(queries), {**said, "queries": queries})


def stored(folder: str, queries: int, seed: int) -> Data:
    """Load the default space of a collection; `queries` images, chosen by the seed, become the queries."""
    reader = CollectionReader.open(folder)
    name, entry = reader.space()
    if entry.rows <= queries:
        raise click.BadParameter(f"the collection has {entry.rows} images, too few for {queries} queries.")
    everything = prepare(np.concatenate([block for _, block in reader.stream(name)]), "cosine")
    chosen = choose_rows(entry.rows, queries, seed)
    kept = np.ones(entry.rows, bool)
    kept[chosen] = False
    model = reader.manifest.models[entry.model].spec
    said = {"data": f"space {name}, weights {model.weights.kind}", "seed": seed}
    shape = {"rows": entry.rows - queries, "dim": entry.dim, "queries": queries}
    return Data(everything[kept], everything[chosen], {**said, **shape})
