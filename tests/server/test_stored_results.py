"""Stored results of the collection, listed and read page by page."""

from __future__ import annotations

import grpc
import numpy as np
import pyarrow as pa
import pytest

from lookalike import wire
from lookalike.v1 import experiment_pb2
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments import stored_results
from lookalike_indexer.experiments.result import Result
from lookalike_server.common.limits import Limits

ROWS = 100_000
RANDOM = np.random.default_rng(3)
POINTS = pa.table(
    {
        "id": np.arange(ROWS),
        "xy": pa.FixedSizeListArray.from_arrays(pa.array(RANDOM.random(2 * ROWS)), 2),
        "label": [f"label {row % 7}" for row in range(ROWS)],
    }
)
MAP = Result("map", {"method": "pca", "seed": 7}, {"points": POINTS, "axes": pa.table({"share": [0.5, 0.25]})})


@pytest.fixture
def toy(make_toy):
    """A collection with two stored results."""
    made = make_toy()
    for name, result in (
        ("pca", MAP),
        ("empty", Result("compare", {}, {"spaces": pa.table({"nmi": pa.array([], pa.float64())})})),
    ):
        stored_results.store_result(CollectionReader.open(str(made.root)), name, result)
    return made


async def pages(served, name: str, **asked):
    token, found = "", []
    while True:
        request = experiment_pb2.GetResultRequest(name=name, page_token=token, **asked)
        found.append(await served.experiment.GetResult(request))
        token = found[-1].next_page_token
        if not token:
            return found


def table_of(page, name: str):
    [found] = [table for table in page.result.tables if table.name == name]
    return found


async def test_they_are_listed_without_their_rows(toy, serve) -> None:
    async with serve(toy) as served:
        reply = await served.experiment.ListResults(experiment_pb2.ListResultsRequest())
    assert [(one.name, one.result.kind, one.out_of_date) for one in reply.results] == [
        ("compare/empty", "compare", False),
        ("map/pca", "map", False),
    ]
    assert {table.name: table.rows for table in reply.results[1].tables} == {"points": ROWS, "axes": 2}
    assert {one.name: one.value.WhichOneof("kind") for one in reply.results[1].result.settings} == {
        "method": "text",
        "seed": "integer",
    }
    assert not reply.results[1].result.tables
    assert reply.served.generation == 3


async def test_all_rows_come_once_in_pages_that_fit_into_a_message(toy, serve) -> None:
    limits = Limits(max_message_bytes=3 << 20)
    async with serve(toy, limits=limits) as served:
        found = await pages(served, "map/pca")
    # 100,000 rows of about 33 bytes, in replies of half of the 2 MiB that are left for rows.
    assert len(found) == 4
    assert all(page.ByteSize() < 3 << 20 for page in found)
    assert {page.total for page in found} == {ROWS}
    points = [table_of(page, "points") for page in found]
    assert np.concatenate([wire.decode(one.columns[0].numbers) for one in points]).tolist() == list(range(ROWS))
    xy = np.concatenate([wire.decode(one.columns[1].numbers) for one in points])
    np.testing.assert_array_equal(xy, POINTS.column("xy").combine_chunks().flatten().to_numpy().reshape(-1, 2))
    assert [text for one in points for text in one.columns[2].texts.values] == POINTS.column("label").to_pylist()
    assert [table_of(page, "axes").rows for page in found] == [2, 0, 0, 0]


async def test_page_has_the_requested_rows_across_row_groups(toy, serve) -> None:
    async with serve(toy) as served:
        found = await pages(served, "map/pca", tables=["points"], page_size=30_001)
        [whole] = await pages(served, "map/pca", tables=["axes"])
    assert [[table.name for table in page.result.tables] for page in found] == [["points"]] * 4
    assert [page.result.tables[0].rows for page in found] == [30_001, 30_001, 30_001, 9_997]
    assert wire.decode(found[2].result.tables[0].columns[0].numbers)[[0, -1]].tolist() == [60_002, 90_002]
    assert (whole.total, wire.decode(whole.result.tables[0].columns[0].numbers).tolist()) == (2, [0.5, 0.25])


async def test_table_without_rows_has_its_columns(toy, serve) -> None:
    async with serve(toy) as served:
        [page] = await pages(served, "compare/empty")
    [table] = page.result.tables
    assert (page.total, table.rows, [one.name for one in table.columns]) == (0, 0, ["nmi"])
    assert wire.decode(table.columns[0].numbers).dtype == np.float64


async def test_new_generation_makes_results_out_of_date_and_tokens_stale(toy, make_toy, serve, refused) -> None:
    async with serve(toy) as served:
        request = experiment_pb2.GetResultRequest(name="map/pca", page_size=10)
        token = (await served.experiment.GetResult(request)).next_page_token
        # Another map, of the same images.
        stored_results.store_result(CollectionReader.open(str(toy.root)), "other", MAP)
        await served.app.first.reloader.follow()
        reply = await served.experiment.GetResult(request)
        assert (reply.served.generation, reply.out_of_date) == (4, False)
        request.page_token = token
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.experiment.GetResult(request)
    assert refused(caught.value).code == grpc.StatusCode.FAILED_PRECONDITION
    assert "start again without a token" in refused(caught.value).message


async def test_wrong_calls(toy, serve, refused) -> None:
    code = grpc.StatusCode
    async with serve(toy, limits=Limits(max_table_rows=50)) as served:
        for request, expected, said in (
            ({"name": "map/umap"}, code.NOT_FOUND, "no stored result 'map/umap'; it has: compare/empty, map/pca."),
            ({"name": "map/pca", "tables": ["dots"]}, code.NOT_FOUND, "no table 'dots'; it has: axes, points."),
            ({"name": "map/pca", "page_size": 51}, code.INVALID_ARGUMENT, "page_size is 51; it must be 0 to 50"),
            ({"name": "map/pca", "page_size": -1}, code.INVALID_ARGUMENT, "page_size is -1"),
            ({"name": "map/pca", "page_token": "x"}, code.INVALID_ARGUMENT, "The page token is not valid"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.experiment.GetResult(experiment_pb2.GetResultRequest(**request))
            found = refused(caught.value)
            assert (found.code, said in found.message) == (expected, True), found.message
