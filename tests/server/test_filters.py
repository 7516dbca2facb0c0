"""Filters of calls: the tree in the message, invalid filters, and filtered lists."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import grpc
import numpy as np
import pytest

from lookalike import wire
from lookalike.v1 import cluster_pb2, collection_pb2, experiment_pb2, filter_pb2, types_pb2
from lookalike_indexer.filters.errors import FilterError
from lookalike_indexer.filters.write_text import as_text
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.common.limits import Limits
from lookalike_server.filters.match_cache import MatchCache, Matches
from lookalike_server.filters.reading import read

Filter = filter_pb2.Filter
EQUAL, LESS = filter_pb2.OPERATOR_EQUAL, filter_pb2.OPERATOR_LESS


def text(words: str) -> Any:
    return Filter(text=words)


def compare(column: str, operator: int = LESS, **value: Any) -> Any:
    return Filter(compare=filter_pb2.Compare(column=column, operator=operator, value=filter_pb2.Value(**value)))


def among(column: str, **values: Any) -> Any:
    return Filter(**{"in": filter_pb2.In(column=column, **values)})


def negated(inner: Any) -> Any:
    return Filter(**{"not": inner})


def every(*filters: Any) -> Any:
    return Filter(all=filter_pb2.Filters(filters=filters))


@pytest.fixture
def shop(make_toy, attach) -> Any:
    """500 images with prices 0 to 499, every fifth without one, and tags; four clusters."""
    toy = make_toy(clusters=4)
    prices = [None if i % 5 == 0 else float(i) for i in range(500)]
    taken = [dt.datetime(2026, 1, 1) + dt.timedelta(hours=i) for i in range(500)]
    tags = [["sale"] if i % 3 == 0 else None if i % 3 == 1 else ["new", "old"] for i in range(500)]
    attach(toy, price=prices, taken=taken, tags=tags, stock=list(range(500)), sharp=[i % 2 == 0 for i in range(500)])
    return toy


async def ids(served: Any, filter: Any, **more: Any) -> list[int]:  # noqa: A002
    found: list[int] = []
    token = ""
    while True:
        request = collection_pb2.ListImagesRequest(filter=filter, page_token=token, page_size=60, **more)
        page = await served.collection.ListImages(request)
        found += wire.decode(page.images.ids).tolist()
        token = page.next_page_token
        if not token:
            assert len(found) == page.total
            return found


class TestReading:
    def test_each_filter_message_equals_its_text(self) -> None:
        bound = filter_pb2.Bound(operator=LESS, value=0.5)
        for message, words in (
            (compare("price", integer=20), "price < 20"),
            (compare("sharp", EQUAL, boolean=True), "sharp = true"),
            (compare("label", filter_pb2.OPERATOR_NOT_EQUAL, text="it's"), "label != 'it''s'"),
            (among("label", texts=["a", "b"]), "label in ('a', 'b')"),
            (among("price", integers=[1], numbers=[2.5]), "price in (1, 2.5)"),
            (Filter(has=filter_pb2.Has(column="tags", text="sale")), "tags has 'sale'"),
            (negated(Filter(present=filter_pb2.Present(column="price"))), "not price is not null"),
            (Filter(present=filter_pb2.Present(clustering="a/b")), "cluster('a/b') is not null"),
            (Filter(present=filter_pb2.Present(model="a")), "predicted('a') is not null"),
            (Filter(in_cluster=filter_pb2.InCluster(clustering="a/b", clusters=[3, 7])), "cluster('a/b') in (3, 7)"),
            (Filter(in_cluster=filter_pb2.InCluster(distance=bound)), "distance < 0.5"),
            (
                Filter(predicted=filter_pb2.Predicted(model="m", classes=["x"], probability=bound)),
                "predicted('m') = 'x' and probability('m') < 0.5",
            ),
            (every(compare("a", integer=1), text("b = 2 or c = 3")), "a < 1 and (b = 2 or c = 3)"),
            (Filter(any=filter_pb2.Filters(filters=[text("a = 1"), text("b")])), "a = 1 or b = true"),
            (every(), "id is not null"),
            (text("price < 20"), "price < 20"),
        ):
            assert as_text(read(message)) == words

    def test_invalid_filter_message_is_reported_with_its_field_path(self) -> None:
        deep = text("a = 1")
        for _ in range(32):
            deep = negated(deep)
        nan = float("nan")
        for message, field, sentence in (
            (Filter(), "filter", "The filter is empty"),
            (every(text("a = 1"), Filter()), "filter.all.filters[1]", "The filter is empty"),
            (negated(text("a =")), "filter.not.text", "The end stands where a value is expected"),
            (compare("", integer=1), "filter.compare.column", "The filter names no column"),
            (compare("a", 0, integer=1), "filter.compare.operator", "A comparison needs an operator"),
            (compare("a"), "filter.compare.value", "A comparison needs a value"),
            (compare("a", number=nan), "filter.compare.value.number", "Nothing compares with NaN"),
            (among("a", numbers=[1, nan]), "filter.in.numbers", "Nothing compares with NaN"),
            (
                Filter(predicted=filter_pb2.Predicted(probability=filter_pb2.Bound(operator=LESS, value=nan))),
                "filter.predicted.probability.value",
                "Nothing compares with NaN",
            ),
            (deep, "filter" + ".not" * 32 + ".text", "more than 32 levels"),
            (every(*[text("a = 1")] * 1000), "filter.all.filters[999].text", "more than 1,000 expressions"),
            (every(*[among("a", integers=range(60_000))] * 2), "filter.all.filters[1].in", "more than 100,000 values"),
        ):
            with pytest.raises(FilterError) as error:
                read(message)
            assert error.value.at.field == field
            assert sentence in str(error.value)


async def test_images_that_match_are_listed_in_the_order_of_their_ids(shop, serve) -> None:
    every_id = shop.ids.tolist()
    async with serve(shop) as served:
        assert await ids(served, text("price < 20")) == [every_id[i] for i in range(20) if i % 5]
        assert await ids(served, text("price is null and stock < 11")) == [every_id[i] for i in (0, 5, 10)]
        # The last image has no embedding, and no row in the table.
        assert await ids(served, text("not price < 1000")) == []
        assert await ids(served, text("stock is null")) == [every_id[-1] + 2]
        assert await ids(served, text("taken >= '2026-01-21' and tags has 'sale'")) == [
            every_id[i] for i in range(480, 500) if i % 3 == 0
        ]
        labeled = await ids(served, text("stock < 9"), label="label1")
        assert labeled == [one for one in every_id[:9] if one % 3 == 1]
        assert labeled == await ids(served, text("stock < 9 and label = 'label1'"))
        assert await ids(served, text(f"key = '{shop.key(every_id[7])}' or id = {every_id[3]}")) == [
            every_id[3],
            every_id[7],
        ]
        assert await ids(served, text("width = 40 and height = 20 and stock > 497")) == every_id[498:]


async def test_equal_filters_in_other_words_are_evaluated_once(shop, serve, monkeypatch) -> None:
    from lookalike_server.filters import matching as module

    evaluated = []
    monkeypatch.setattr(module, "matching", lambda *given: evaluated.append(1) or real(*given))
    real = __import__("lookalike_indexer.filters.evaluate", fromlist=["matching"]).matching
    words = [
        text("stock in (1, 2) and sharp"),
        text("sharp = true and (stock = 2 or stock = 1) and sharp"),
        every(compare("sharp", EQUAL, boolean=True), among("stock", integers=[2, 1])),
    ]
    async with serve(shop) as served:
        filters = served.app.current.snapshot.filters
        assert filters.find_cached(words[0]) is None
        for one in words:
            assert await ids(served, one) == [int(shop.ids[2])]
        found = filters.find_cached(words[0])
        assert found.cached
        assert found.matches.text == "sharp = true and stock in (1, 2)"
        # The second one is an expression of its own; the third is the first.
        assert len(evaluated) == 2


async def test_wrong_filters_are_rejected_with_the_field(shop, serve, refused) -> None:
    code = grpc.StatusCode
    async with serve(shop) as served:
        for filter_, expected, fields, sentence in (
            (
                text("prize < 3"),
                code.INVALID_ARGUMENT,
                ["filter.text"],
                "There is no column 'prize'; did you mean 'price'? The columns are: id,",
            ),
            (
                text("prize < 3"),
                code.INVALID_ARGUMENT,
                ["filter.text"],
                "price, taken, tags, stock, sharp (at character 1",
            ),
            (every(compare("price", text="x")), code.INVALID_ARGUMENT, ["filter.all.filters[0].compare"], "is float64"),
            (text("a = 1 b"), code.INVALID_ARGUMENT, ["filter.text"], "(at character 7 of the filter)"),
            (text("cluster('tiny/k9') = 1"), code.NOT_FOUND, [], "no clustering 'tiny/k9'; it has: tiny/k4"),
            (text("predicted = 'x'"), code.FAILED_PRECONDITION, [], "The model tiny keeps no predictions"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await served.collection.ListImages(collection_pb2.ListImagesRequest(filter=filter_))
            said = refused(error.value)
            assert (said.code, said.fields) == (expected, fields)
            assert sentence in said.message


async def test_page_token_is_of_its_filter(shop, serve, refused) -> None:
    async with serve(shop) as served:
        request = collection_pb2.ListImagesRequest(filter=text("stock > 3"), page_size=2)
        first = await served.collection.ListImages(request)
        request.page_token = first.next_page_token
        # The same filter in other words.
        request.filter.text = "3 < stock"
        second = await served.collection.ListImages(request)
        assert wire.decode(second.images.ids).tolist() == shop.ids[6:8].tolist()
        request.filter.text = "stock > 4"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await served.collection.ListImages(request)
        assert refused(error.value).fields == ["page_token"]


async def test_columns_come_with_their_types_and_nulls(shop, serve, refused) -> None:
    async with serve(shop) as served:
        request = collection_pb2.ListImagesRequest(filter=text("stock in (3, 4, 5)"), fields=["price", "*", "format"])
        page = await served.collection.ListImages(request)
        found = {one.name: one for one in page.images.attributes}
        assert list(found) == ["price", "taken", "tags", "stock", "sharp", "format"]
        assert [one.type for one in found.values()] == [
            "float64", "timestamp", "list<string>", "int64", "bool", "string",
        ]  # fmt: skip
        assert wire.decode(found["price"].numbers).tolist() == [3.0, 4.0, 0.0]
        assert wire.decode(found["price"].nulls).tolist() == [2]
        assert wire.decode(found["taken"].numbers).view("M8[us]")[1] == np.datetime64("2026-01-01T04:00")
        assert list(found["tags"].texts) == ["sale", "new", "old"]
        assert wire.decode(found["tags"].offsets).tolist() == [0, 1, 1, 3]
        assert wire.decode(found["tags"].nulls).tolist() == [1]
        assert wire.decode(found["sharp"].numbers).tolist() == [False, True, False]
        assert list(found["format"].texts) == ["JPEG"] * 3
        assert not found["stock"].HasField("nulls")
        looked = await served.collection.GetImages(
            collection_pb2.GetImagesRequest(ids=types_pb2.Ids(values=shop.ids[[7, 4]].tolist()), fields=["stock"])
        )
        assert wire.decode(looked.images.attributes[0].numbers).tolist() == [7, 4]
        for fields in (["prize"], ["x"] * 1001):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await served.collection.ListImages(collection_pb2.ListImagesRequest(fields=fields))
            assert refused(error.value).fields == ["fields"]


async def test_reply_of_long_values_is_rejected(make_toy, attach, serve, refused) -> None:
    toy = make_toy()
    attach(toy, caption=["x" * 9000] * 500)
    limits = Limits(max_message_bytes=2 << 20)
    async with serve(toy, limits=limits) as served:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await served.collection.ListImages(collection_pb2.ListImagesRequest(page_size=500, fields=["caption"]))
        assert "request fewer images, or fewer columns" in refused(error.value).message


async def test_cluster_members_and_sizes_count_matching_images(shop, serve) -> None:
    chosen = text("stock < 40 and not tags has 'sale'")
    async with serve(shop) as served:
        matching = set(await ids(served, chosen))
        cluster = served.cluster
        sizes = await cluster.ListClusters(cluster_pb2.ListClustersRequest(clustering="tiny/k4", filter=chosen))
        assert wire.decode(sizes.sizes).sum() == len(matching)
        for number, size in enumerate(wire.decode(sizes.sizes).tolist()):
            every_one = await cluster.ListMembers(
                cluster_pb2.ListMembersRequest(clustering="tiny/k4", cluster=number, page_size=500)
            )
            some = await cluster.ListMembers(
                cluster_pb2.ListMembersRequest(clustering="tiny/k4", cluster=number, filter=chosen, fields=["stock"])
            )
            members = [one for one in wire.decode(every_one.members.ids).tolist() if one in matching]
            assert wire.decode(some.members.ids).tolist() == members
            assert (some.total, size) == (len(members), len(members))
            stock = wire.decode(some.members.attributes[0].numbers)
            assert stock.tolist() == [shop.ids.tolist().index(one) for one in members]
            mean = wire.decode(sizes.mean_distances)[number]
            assert mean == pytest.approx(wire.decode(some.members.distances).mean(), rel=1e-5)
        home = await cluster.GetMembership(
            cluster_pb2.GetMembershipRequest(
                query=types_pb2.QueryBatch(ids=types_pb2.Ids(values=[int(shop.ids[300])])),
                clusterings=["tiny/k4"],
                members=3,
                filter=chosen,
                fields=["stock"],
            )
        )
        membership = home.memberships[0]
        number = int(wire.decode(membership.clusters)[0])
        assert wire.decode(membership.sizes).tolist() == [int(wire.decode(sizes.sizes)[number])]
        assert set(wire.decode(membership.nearest[0].ids).tolist()) <= matching
        assert membership.nearest[0].attributes[0].name == "stock"


async def test_another_generation_has_filters_of_its_own(shop, serve, attach) -> None:
    async with serve(shop) as served:
        assert len(await ids(served, text("stock < 7"))) == 7
        await asyncio.to_thread(attach, shop, stock=[0] * 500)
        async with asyncio.timeout(60):
            while served.app.current.snapshot.generation < 3:
                await asyncio.sleep(0.02)
        assert len(await ids(served, text("stock < 7"))) == 500


class TestKeptMatches:
    def test_least_recently_used_filters_are_evicted_first(self) -> None:
        kept = MatchCache(5000)
        for name in "abc":
            kept.put(Matches(np.zeros(1000, bool), name, name))
            assert kept.by_meaning("a", b"A") is not None
        assert kept.nbytes == 2 * 2024
        assert kept.by_meaning("b", b"B") is None
        assert kept.by_message(b"A") is kept.by_meaning("a", b"")
        assert kept.by_message(b"x") is None

    def test_repeated_long_filter_is_not_parsed_again(self) -> None:
        kept = MatchCache(5000)
        kept.put(Matches(np.zeros(1000, bool), "a", "a"))
        words = b"stock in (" + b",".join(b"%d" % number for number in range(10_000)) + b")"
        assert kept.by_message(words) is None
        assert kept.by_meaning("a", words) is kept.by_message(words)
        assert kept.by_message(words[:-1]) is None

    def test_masks_of_spaces_count_and_what_is_too_large_is_not_kept(self) -> None:
        kept = MatchCache(5000)
        matches = Matches(np.zeros(1000, bool), "a", "a")
        kept.put(matches)
        matches.masks["whole"] = RowMask(matches.images)
        matches.masks["other"] = RowMask(np.zeros(900, bool))
        kept.put(matches)
        assert kept.nbytes == 2024 + 900
        kept.put(Matches(np.zeros(6000, bool), "b", "b"))
        assert kept.nbytes == 2024 + 900


class ExperimentRunner:
    """Stand-in for the experiments' process; records its requests."""

    hung = False

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def answer(self, asked: Any) -> bytes:
        self.asked.append(asked)
        return experiment_pb2.ExperimentResult(kind=asked.name).SerializeToString()

    def close(self) -> None:
        pass


async def test_experiments_get_the_filter_as_a_text(shop, serve, refused) -> None:
    experiment_runner = ExperimentRunner()
    either = filter_pb2.Filters(filters=[text("stock < 5"), compare("price", integer=3)])
    other = filter_pb2.Filters(filters=[compare("price", integer=3), text("stock < 5")])
    async with serve(shop, experiment_runner=experiment_runner) as served:
        ask = served.experiment
        await ask.GetClassMatrix(experiment_pb2.GetClassMatrixRequest(filter=Filter(any=either)))
        # In another order it is the same call, whose result is cached.
        await ask.GetClassMatrix(experiment_pb2.GetClassMatrixRequest(filter=Filter(any=other)))
        await ask.ListOddballs(experiment_pb2.ListOddballsRequest(filter=text("stock < 5")))
        await ask.GetMap(experiment_pb2.GetMapRequest(filter=text("stock < 5")))
        given = [dict(asked.arguments)["where"] for asked in experiment_runner.asked]
        assert given == ["price < 3 or stock < 5", "stock < 5", "stock < 5"]
        long = among("key", texts=[f"{i:090}" for i in range(1000)])
        for wrong, field in ((text("prize < 3"), "filter.text"), (long, "filter")):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await ask.GetClassMatrix(experiment_pb2.GetClassMatrixRequest(filter=wrong))
            assert refused(error.value).fields == [field]
