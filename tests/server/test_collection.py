from __future__ import annotations

import asyncio
import io

import grpc
import numpy as np
import pytest
from PIL import Image

from lookalike import wire
from lookalike.v1 import collection_pb2 as pb
from lookalike.v1 import types_pb2
from lookalike_server.common.limits import Limits


async def test_describes_itself(make_toy, serve) -> None:
    toy = make_toy(index="IVF16,Flat", clusters=3)
    async with serve(toy) as served:
        said = await served.collection.GetCollection(pb.GetCollectionRequest())
    assert (said.name, said.generation, said.images, said.labels, said.default_space) == ("toys", 1, 501, 2, "tiny")
    [space] = said.spaces
    assert (space.dim, space.images, space.fingerprint) == (16, 500, toy.fingerprint)
    assert (space.model, space.weights, space.pretrained) == ("squeezenet1_1", "untrained:7", False)
    assert (space.index.factory, space.index.metric, space.index.nlist) == ("IVF16,Flat", pb.METRIC_COSINE, 16)
    assert [(point.nprobe, round(point.recall, 2)) for point in space.index.recall] == [(2, 0.7), (8, 0.95)]
    [clustering] = said.clusterings
    assert (clustering.name, clustering.space, clustering.k, clustering.images) == ("tiny/k3", "tiny", 3, 500)


async def test_space_without_an_index_is_reported(make_toy, serve) -> None:
    async with serve(make_toy(index=None)) as served:
        said = await served.collection.GetCollection(pb.GetCollectionRequest())
    assert not said.spaces[0].HasField("index")


class TestGetImages:
    async def test_key_and_id_queries_keep_their_order(self, make_toy, serve) -> None:
        toy = make_toy()
        wanted = [int(toy.ids[9]), int(toy.ids[2]), int(toy.ids[9]), int(toy.ids[-1]) + 2]
        async with serve(toy) as served:
            by_id = await served.collection.GetImages(pb.GetImagesRequest(ids=types_pb2.Ids(values=wanted)))
            keys = types_pb2.Keys(values=[toy.key(one) for one in wanted])
            by_key = await served.collection.GetImages(pb.GetImagesRequest(keys=keys))
        assert by_id.images == by_key.images
        assert wire.decode(by_id.images.ids).tolist() == wanted
        assert list(by_id.images.keys) == [toy.key(one) for one in wanted]
        assert wire.decode(by_id.images.widths).tolist() == [40] * 4
        assert wire.decode(by_id.images.heights).tolist() == [20] * 4
        assert by_id.served.generation == 1

    async def test_wrong_calls(self, make_toy, serve, refused) -> None:
        code = grpc.StatusCode
        async with serve(make_toy()) as served:
            for request, expected in (
                (pb.GetImagesRequest(), code.INVALID_ARGUMENT),
                (pb.GetImagesRequest(ids=types_pb2.Ids()), code.INVALID_ARGUMENT),
                (pb.GetImagesRequest(ids=types_pb2.Ids(values=[5] * 1001)), code.INVALID_ARGUMENT),
                (pb.GetImagesRequest(ids=types_pb2.Ids(values=[5, 6])), code.NOT_FOUND),
                (pb.GetImagesRequest(keys=types_pb2.Keys(values=["x"])), code.NOT_FOUND),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await served.collection.GetImages(request)
                assert refused(caught.value).code == expected


@pytest.mark.parametrize("label", ["", "label1"])
async def test_pages_list_every_image_once(make_toy, serve, label) -> None:
    toy = make_toy()
    expected = [one for one in [*toy.ids.tolist(), int(toy.ids[-1]) + 2] if not label or one % 3 == 1]
    found, token = [], ""
    async with serve(toy) as served:
        while True:
            page = await served.collection.ListImages(pb.ListImagesRequest(label=label, page_size=37, page_token=token))
            found += wire.decode(page.images.ids).tolist()
            assert page.total == len(expected)
            token = page.next_page_token
            if not token:
                break
    assert found == expected


@pytest.mark.parametrize("label", ["", "label1"])
async def test_images_in_spread_order_come_once_and_from_everywhere_early(make_toy, serve, label) -> None:
    toy = make_toy()
    ask = pb.ListImagesRequest(label=label, page_size=20, order=pb.IMAGE_ORDER_SPREAD)
    found: list[int] = []
    async with serve(toy) as served:
        by_id = wire.decode((await served.collection.ListImages(pb.ListImagesRequest(label=label))).images.ids).tolist()
        total = (await served.collection.ListImages(ask)).total
        while len(found) < total:
            page = await served.collection.ListImages(ask)
            found += wire.decode(page.images.ids).tolist()
            ask.page_token = page.next_page_token
        token = (await served.collection.ListImages(pb.ListImagesRequest(label=label, page_size=20))).next_page_token
        with pytest.raises(grpc.aio.AioRpcError, match="another request"):
            await served.collection.ListImages(pb.ListImagesRequest(label=label, page_token=token, order=ask.order))
    assert set(by_id) <= set(found)
    assert len(set(found)) == total
    # The first twenty have one in each tenth of all images.
    assert {int(10 * sorted(found).index(one) / total) for one in found[:20]} == set(range(10))


async def test_labels_are_listed_by_name_with_their_numbers(make_toy, serve) -> None:
    ask = pb.ListLabelsRequest(page_size=1)
    listed: dict[str, int] = {}
    async with serve(make_toy()) as served:
        while ask.page_token or not listed:
            page = await served.collection.ListLabels(ask)
            listed |= dict(zip(page.labels, wire.decode(page.counts).tolist(), strict=True))
            assert page.total == 2
            ask.page_token = page.next_page_token
        pages = [await served.collection.ListImages(pb.ListImagesRequest(label=label)) for label in listed]
    assert list(listed) == ["label1", "label2"]
    assert list(listed.values()) == [page.total for page in pages]


async def test_unknown_label_is_rejected(make_toy, serve, refused) -> None:
    async with serve(make_toy()) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.collection.ListImages(pb.ListImagesRequest(label="cow"))
    assert refused(caught.value).code == grpc.StatusCode.NOT_FOUND


class TestThumbnails:
    async def test_thumbnails_are_small_jpegs_and_empty_for_missing_sources(self, make_toy, serve) -> None:
        toy = make_toy()
        async with serve(toy) as served:
            reply = await served.collection.GetThumbnails(
                pb.GetThumbnailsRequest(ids=toy.ids[[0, 1, 2]].tolist(), size=32)
            )
        first, gone, third = reply.jpegs
        with Image.open(io.BytesIO(first)) as picture:
            assert (picture.format, picture.size) == ("JPEG", (32, 16))
            red, green, _ = np.asarray(picture).reshape(-1, 3).mean(axis=0)
            assert red > 150 > 60 > green
        assert gone == b""
        assert third == first

    async def test_full_queue_is_not_reported_as_missing_images(self, make_toy, serve, refused) -> None:
        toy = make_toy()
        request = pb.GetThumbnailsRequest(ids=toy.ids[2:42].tolist(), size=32)
        async with serve(toy, limits=Limits(max_queue=4)) as served:
            assert all((await served.collection.GetThumbnails(request)).jpegs)
            calls = await asyncio.gather(
                *[served.collection.GetThumbnails(request) for _ in range(4)], return_exceptions=True
            )
        assert all(all(call.jpegs) for call in calls if isinstance(call, pb.GetThumbnailsResponse))
        codes = [refused(call).code for call in calls if isinstance(call, grpc.aio.AioRpcError)]
        assert codes
        assert set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED}

    async def test_wrong_calls(self, make_toy, serve, refused) -> None:
        code = grpc.StatusCode
        async with serve(make_toy()) as served:
            for request, expected in (
                ({"ids": [5], "size": 15}, code.INVALID_ARGUMENT),
                ({"ids": [5], "size": 513}, code.INVALID_ARGUMENT),
                ({"ids": [], "size": 32}, code.INVALID_ARGUMENT),
                ({"ids": [5] * 257}, code.INVALID_ARGUMENT),
                ({"ids": [6]}, code.NOT_FOUND),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await served.collection.GetThumbnails(pb.GetThumbnailsRequest(**request))
                assert refused(caught.value).code == expected
