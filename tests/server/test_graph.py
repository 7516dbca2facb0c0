"""The stored graph on the server: the same numbers as in the collection's files."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from lookalike import wire
from lookalike.v1 import collection_pb2 as pb
from lookalike.v1 import types_pb2, update_pb2
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.graph.graph_stage import run_graph
from lookalike_indexer.graph.settings import GraphSettings
from lookalike_indexer.progress import Silent
from lookalike_server.common.limits import Limits
from lookalike_server.services.graph_lists import GraphLists


def with_graph(toy, k=4):
    """Publish the graph of a toy collection; return ids, neighbors, distances."""
    draft, _ = run_graph(toy.storage, generations.require_latest(toy.storage), GraphSettings(k=k), Silent())
    generations.publish(toy.storage, draft)
    reader = CollectionReader.open(str(toy.root))
    return tuple(map(np.concatenate, zip(*reader.stream_graph(), strict=True)))


async def paged(served, **ask):
    """Return all pages of a request: ids, keys, neighbors, distances."""
    pages, token = [], ""
    while not pages or token:
        page = await served.collection.ListGraph(pb.ListGraphRequest(page_token=token, **ask))
        pages.append(page)
        token = page.next_page_token
    arrays = [np.concatenate([wire.decode(getattr(page, name)) for page in pages]) for name in COLUMNS]
    return pages, [key for page in pages for key in page.keys], *arrays


COLUMNS = ("ids", "neighbors", "distances")


async def test_all_lists_come_page_by_page_as_they_are_stored(make_toy, serve) -> None:
    toy = make_toy(part_rows=200)
    ids, neighbors, distances = with_graph(toy)
    async with serve(toy) as served:
        pages, keys, *found = await paged(served, page_size=170)
        short = (await paged(served, k=2))[2:]
    assert [len(page.keys) for page in pages] == [170, 170, 160]
    assert keys == [toy.key(one) for one in ids]
    for column, expected in zip(found, (ids, neighbors, distances), strict=True):
        assert column.tobytes() == expected.tobytes()
    assert [each.shape[-1] for each in short[1:]] == [2, 2]
    assert short[1].tolist() == neighbors[:, :2].tolist()
    assert (pages[0].method, pages[0].recall, pages[0].metric, pages[0].total) == ("exact", 1.0, pb.METRIC_COSINE, 500)


async def test_images_of_a_listing_are_found_once_for_all_pages(make_toy, serve, monkeypatch) -> None:
    toy = make_toy(part_rows=200)
    ids, *_ = with_graph(toy)
    usual, found = GraphLists.listed, []
    monkeypatch.setattr(GraphLists, "listed", lambda graph: found.append(graph.space) or usual(graph))
    async with serve(toy, writable=True) as served:
        _, first, *_ = await paged(served, page_size=100)
        assert found == ["tiny"]
        await served.update.Delete(update_pb2.DeleteRequest(keys=[toy.key(int(ids[3]))]))
        _, second, *_ = await paged(served, page_size=100)
    assert found == ["tiny", "tiny"]
    assert (len(first), len(second)) == (500, 499)


@pytest.mark.parametrize("named", ["keys", "ids"])
async def test_lists_of_named_images_come_in_their_order(make_toy, serve, named) -> None:
    toy = make_toy(part_rows=200)
    ids, neighbors, distances = with_graph(toy)
    rows = np.array([499, 3, 201, 3, 0])
    if named == "keys":
        ask = {"keys": types_pb2.Keys(values=[toy.key(one) for one in ids[rows]])}
    else:
        ask = {"ids": types_pb2.Ids(values=ids[rows].tolist())}
    async with serve(toy) as served:
        pages, _, *found = await paged(served, page_size=2, **ask)
    assert [page.total for page in pages] == [5, 5, 5]
    assert [each.tolist() for each in found] == [ids[rows].tolist(), neighbors[rows].tolist(), distances[rows].tolist()]


async def test_invalid_graph_listings_are_rejected(make_toy, serve, refused) -> None:
    toy = make_toy(name="bare")
    async with serve(toy) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.collection.ListGraph(pb.ListGraphRequest())
    assert refused(caught.value).code == grpc.StatusCode.FAILED_PRECONDITION
    assert "has no graph of nearest neigh" in refused(caught.value).message
    toy = make_toy()
    with_graph(toy)
    # The last image of a toy has no embedding.
    lacking = toy.key(int(toy.ids[-1]) + 2)
    code = grpc.StatusCode
    wrong = [
        (pb.ListGraphRequest(k=5), code.INVALID_ARGUMENT, "k is 5, and the graph of tiny has 4."),
        (pb.ListGraphRequest(keys=types_pb2.Keys()), code.INVALID_ARGUMENT, "The call names no images"),
        (pb.ListGraphRequest(keys=types_pb2.Keys(values=["no"])), code.NOT_FOUND, "no image with key 'no'"),
        (pb.ListGraphRequest(keys=types_pb2.Keys(values=[lacking])), code.NOT_FOUND, "is not in the graph of tiny"),
        (pb.ListGraphRequest(page_size=11), code.INVALID_ARGUMENT, "page_size is 11"),
        (pb.ListGraphRequest(space="x"), code.NOT_FOUND, "no space"),
    ]
    async with serve(toy, limits=Limits(max_page_size=10)) as served:
        for request, expected, sentence in wrong:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.collection.ListGraph(request)
            assert (refused(caught.value).code, sentence in refused(caught.value).message) == (expected, True), refused(
                caught.value
            ).message


async def test_deleted_images_are_neither_listed_nor_neighbors(make_toy, serve) -> None:
    toy = make_toy(part_rows=200)
    ids, neighbors, _ = with_graph(toy)
    gone = int(neighbors[0, 0])
    async with serve(toy, writable=True) as served:
        await served.update.Delete(update_pb2.DeleteRequest(keys=[toy.key(gone)]))
        _, _, found, lists, _ = await paged(served, page_size=400)
    assert gone not in found
    assert gone not in lists
    assert len(found) == len(ids) - 1
    assert lists[0].tolist() == [*neighbors[0, 1:].tolist(), -1]
