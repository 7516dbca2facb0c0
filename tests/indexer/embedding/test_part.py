from __future__ import annotations

import dataclasses
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pyarrow as pa
import pytest

from lookalike_indexer.collection import layout
from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.part import PartEmbedder, embed_part, embedding_table
from lookalike_indexer.embedding.plan import ModelPlan, SpacePlan
from lookalike_indexer.embedding.resolve import load, resolve
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.images.workers import PoolSettings
from lookalike_indexer.models.network import Node
from lookalike_indexer.progress import Silent
from lookalike_indexer.sources.listing import update_listing
from lookalike_indexer.sources.open import open_source

POOL = PoolSettings(1)


@pytest.fixture
def plan(storage: Storage, settings: EmbedSettings) -> ModelPlan:
    source = open_source(settings.source)
    listing = update_listing(storage, source, None, 7, Silent())
    return resolve(storage, None, settings, load(None, settings), POOL, source.entry, listing.parts).plan


@pytest.fixture
def source(settings: EmbedSettings) -> SourceEntry:
    return open_source(settings.source).entry


def test_settings_and_a_table_go_in_and_tables_come_out(plan: ModelPlan, storage: Storage, source: SourceEntry):
    part = read_part(storage, layout.source(0))
    # A cluster pickles the call, which crosses a process boundary.
    again, table = ForkingPickler.loads(ForkingPickler.dumps((plan, part)))
    before = sorted(storage.root.rglob("*"))
    tables = ForkingPickler.loads(ForkingPickler.dumps(embed_part(again, POOL, "cpu", table, source)))
    assert sorted(storage.root.rglob("*")) == before
    assert tables.images.column("key").to_pylist() == [
        "a/00.png",
        "a/02.png",
        *(f"a/{n:02d}.png" for n in (4, 6, 8, 10)),
    ]
    assert tables.rejects.column("key").to_pylist() == ["a/03-broken.jpg"]
    assert tables.predictions.num_rows == tables.embeddings[plan.alias].num_rows == 6


def test_empty_parts_and_parts_of_rejects_keep_their_places(plan: ModelPlan, storage: Storage, source: SourceEntry):
    parts = [read_part(storage, layout.source(number)) for number in range(4)]
    broken = parts[0].filter(pa.compute.equal(parts[0]["key"], "a/03-broken.jpg"))
    given = [parts[0].slice(0, 0), parts[1], broken, parts[0].slice(0, 0), parts[3], parts[0].slice(0, 0)]
    done = []
    with PartEmbedder(plan, POOL, "cpu", source=source) as embedder:
        tables = list(embedder.tables(given, done.append))
    assert [table.images.num_rows for table in tables] == [0, 6, 0, 0, 1, 0]
    assert [table.rejects.num_rows for table in tables] == [0, 1, 1, 0, 1, 0]
    assert [table.embeddings[plan.alias].num_rows for table in tables] == [0, 6, 0, 0, 1, 0]
    assert tables[1].images.column("id").to_pylist() == [7, 8, 9, 10, 11, 12]
    assert sum(done) == 10


def test_embeddings_that_cannot_be_stored_are_an_error_with_a_remedy():
    space = SpacePlan("s", Node("l", "avg"), 2, "float16", "f")
    with pytest.raises(
        IndexerError, match=r"image 8 in the space s is not finite in float16; store it with --dtype float32"
    ):
        embedding_table(space, [7, 8], [np.array([[1, 2], [70_000, 1]], np.float32)], "float32")
    exact = dataclasses.replace(space, dtype="float32")
    with pytest.raises(IndexerError, match="embed with --compute float32"):
        embedding_table(exact, [7], [np.array([[np.nan, 1]], np.float32)], "float32")
    assert embedding_table(exact, [7], [np.array([[70_000, 1]], np.float32)], "float32").num_rows == 1
