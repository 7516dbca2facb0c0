"""The client on a real server: rows that fail alone, overload, and a server that starts late."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import numpy as np
import pytest

import lookalike
from lookalike_server.app import App
from lookalike_server.common.limits import Limits
from lookalike_server.common.settings import Listen, ServeSettings


@pytest.fixture
def embedder(make_toy, make_embedder):
    """A toy with clusters, its server's network, and an image b"3" whose embedding has no direction."""
    toy = make_toy(clusters=4, index="IVF8,Flat")
    network = make_embedder(toy)
    network._vectors = toy.vectors.copy()
    network._vectors[3] = 0
    return toy, network


class TestRows:
    """One invalid image fails its row, and the others are answered as without it."""

    @pytest.mark.parametrize("k", [3, 450], ids=["small reply", "large reply"])
    async def test_invalid_images_of_a_search_have_errors_by_row(self, serve, embedder, k):
        toy, network = embedder
        pictures = [b"7", b"junk", b"9", b"9" * 100, b"3", b"", b"11"]
        limits = Limits(max_image_bytes=50)
        async with (
            serve(toy, open_embedder=lambda reader, space: network, limits=limits) as served,
            lookalike.aio.Client(served.app.address) as client,
        ):
            many = await client.search(images=pictures, k=k, exact=True, errors="rows")
            alone = await client.search(images=[b"7", b"9", b"11"], k=k, exact=True)
        ids, _ = toy.brute_force(toy.vectors[[7, 9, 11]], k)
        assert many.counts.tolist() == [k, 0, k, 0, 0, 0, k]
        assert [many[row].ids.tolist() for row in (0, 2, 6)] == ids.tolist()
        assert many.ids.tolist() == alone.ids.tolist()
        assert many.keys == alone.keys
        assert many.distances.tolist() == alone.distances.tolist()
        assert {row: sentence.split(" ")[:2] for row, sentence in many.errors.items()} == {
            1: ["Image", "1"],
            3: ["Image", "3"],
            4: ["Query", "4"],
            5: ["Image", "5:"],
        }
        assert many.errors[1] == "Image 1 cannot be decoded: it is no number."
        assert many.errors[3] == "Image 3 has 100 bytes; the limit is 50."
        assert "has no direction" in many.errors[4]

    async def test_invalid_images_of_a_cluster_call_have_errors_by_row(self, serve, embedder):
        toy, network = embedder
        async with (
            serve(toy, open_embedder=lambda reader, space: network) as served,
            lookalike.aio.Client(served.app.address) as client,
        ):
            home = await client.clusters(images=[b"junk", b"7", b"3"], members=2, errors="rows")
            alone = await client.clusters(images=[b"7"], members=2)
        assert home.clusters[1].tolist() == alone.clusters[0].tolist()
        assert home.nearest[1][0].ids.tolist() == alone.nearest[0][0].ids.tolist()
        assert home.clusters[[0, 2]].tolist() == [[-1], [-1]]
        assert np.isnan(home.distances[[0, 2]]).all()
        assert home.sizes[[0, 2]].tolist() == [[0], [0]]
        assert len(home.nearest[0][0]) == len(home.nearest[2][0]) == 0
        assert list(home.errors) == [0, 2]

    async def test_batch_of_only_invalid_images_has_an_error_per_row(self, serve, embedder):
        toy, network = embedder
        async with (
            serve(toy, open_embedder=lambda reader, space: network) as served,
            lookalike.aio.Client(served.app.address) as client,
        ):
            many = await client.search(images=[b"junk", b"3"], errors="rows")
            home = await client.clusters(images=[b"junk", b"3"], errors="rows")
        assert many.counts.tolist() == [0, 0]
        assert list(many.errors) == list(home.errors) == [0, 1]
        assert many.served.generation == 1
        assert home.clusters.tolist() == [[-1], [-1]]

    async def test_unknown_images_have_errors_by_row(self, serve, embedder):
        toy, _ = embedder
        last = int(toy.ids[-1]) + 2  # has no embedding
        keys = [toy.key(5), "no such", toy.key(last), toy.key(7), toy.key(5)]
        async with serve(toy) as served, lookalike.aio.Client(served.app.address) as client:
            for ask, alone in (
                ({"keys": keys}, {"keys": [keys[0], keys[3]]}),
                ({"ids": [5, 4, last, 7, 5]}, {"ids": [5, 7]}),
            ):
                many = await client.search(**ask, k=3, errors="rows")
                good = await client.search(**alone, k=3)
                assert many.counts.tolist() == [3, 0, 0, 3, 3]
                assert [many[row].ids.tolist() for row in (0, 3, 4)] == [good[row].ids.tolist() for row in (0, 1, 0)]
                assert list(many.errors) == [1, 2]
                assert many.errors[1].startswith("Query 1: The collection toys has no image with")
                assert "has no embedding in the space tiny" in many.errors[2]
                home = await client.clusters(**ask, members=1, errors="rows")
                assert (
                    home.clusters[[0, 3, 4]].tolist() == (await client.clusters(**alone)).clusters[[0, 1, 0]].tolist()
                )
                assert home.clusters[[1, 2]].tolist() == [[-1], [-1]]
                assert list(home.errors) == [1]
                with pytest.raises(lookalike.NotFoundError):
                    await client.search(**ask)

    async def test_zero_vectors_have_errors_by_row(self, serve, embedder):
        toy, _ = embedder
        vectors = toy.vectors[:3].copy()
        vectors[1] = 0
        async with serve(toy) as served, lookalike.aio.Client(served.app.address) as client:
            many = await client.search(vectors=vectors, k=2, exact=True, errors="rows")
            assert many.counts.tolist() == [2, 0, 2]
            assert many[2].ids[0] == toy.ids[2]
            assert "has no direction" in many.errors[1]
            with pytest.raises(lookalike.InvalidArgumentError, match="Query 1 has no direction"):
                await client.search(vectors=vectors, k=2)

    @pytest.mark.parametrize(
        ("pictures", "sentence"),
        [
            ([b"7", b"8", b"junk"], r"^Image 2 cannot be decoded: it is no number\.$"),
            ([b"7", b"3"], "^Query 1 has no direction"),
            ([b"7", b"9" * 100], "^Image 1 has 100 bytes"),
        ],
    )
    async def test_without_errors_by_row_the_call_fails_and_names_the_row(self, serve, embedder, pictures, sentence):
        toy, network = embedder
        async with (
            serve(toy, open_embedder=lambda reader, space: network, limits=Limits(max_image_bytes=50)) as served,
            lookalike.aio.Client(served.app.address) as client,
        ):
            for call in (client.search, client.clusters):
                with pytest.raises(lookalike.InvalidArgumentError, match=sentence):
                    await call(images=pictures)


class Gate:
    """A network that blocks until it is told to embed."""

    def __init__(self, network: Any) -> None:
        self.fingerprint, self.alive, self._network = network.fingerprint, True, network
        self.entered, self.open = threading.Event(), threading.Event()

    def embed(self, files: list[bytes]) -> Any:
        self.entered.set()
        assert self.open.wait(60)
        return self._network.embed(files)

    def close(self) -> None:
        self._network.close()


async def test_call_of_an_overloaded_server_is_answered_when_there_is_room_again(serve, embedder):
    toy, network = embedder
    gate = Gate(network)
    async with (
        serve(toy, open_embedder=lambda reader, space: gate, limits=Limits(max_peer_calls=1)) as served,
        lookalike.aio.Client(served.app.address, timeout=60) as client,
        lookalike.aio.Client(served.app.address, timeout=60, retries=0) as impatient,
    ):
        first = asyncio.create_task(client.search(image=b"7", k=1))
        await asyncio.to_thread(gate.entered.wait, 60)
        with pytest.raises(lookalike.OverloadedError) as caught:
            await impatient.search(id=5, k=1)
        assert caught.value.retry_after
        second = asyncio.create_task(client.search(id=5, k=1, include_self=True))
        await asyncio.sleep(caught.value.retry_after / 2)
        gate.open.set()
        assert (await second).ids.tolist() == [5]
        await first


async def test_call_waits_for_a_starting_server(make_toy):
    toy = make_toy()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with lookalike.aio.Client(f"127.0.0.1:{port}", retries=1, timeout=60) as client:
        call = asyncio.create_task(client.search(id=5, k=1, include_self=True))
        await asyncio.sleep(2)
        assert not call.done()
        app = App(ServeSettings(str(toy.root), Listen(port=port)))
        await app.start()
        try:
            assert (await call).ids.tolist() == [5]
        finally:
            await app.stop(grace=1)
