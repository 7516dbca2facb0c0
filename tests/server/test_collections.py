"""A server of several collections: routing of calls, separate settings, and isolation of failures."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from google.protobuf.descriptor import FieldDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc

import lookalike
from lookalike.v1 import (
    cluster_pb2,
    collection_pb2,
    experiment_pb2,
    search_pb2,
    server_pb2,
)
from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_server.app import App
from lookalike_server.commands.chosen_collections import CommonSettings, chosen_collections
from lookalike_server.commands.collection_options import collection_overrides, named, split
from lookalike_server.commands.token_command import token
from lookalike_server.common.limits import MIB, Limits
from lookalike_server.common.settings import CollectionSettings, Listen, ServeSettings
from lookalike_server.transport.tokens import Caller, Tokens, new_token

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
FILES = (search_pb2, cluster_pb2, collection_pb2, experiment_pb2, server_pb2)


def vectors(rows: int, seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal((rows, 16)).astype(np.float32)


@pytest.fixture
def two(make_toy) -> tuple[Any, Any]:
    """Two collections, of 30 images and of 20 flowers."""
    return make_toy(vectors(30, 1), name="pictures"), make_toy(vectors(20, 2), name="s", clusters=2)


def both(two: tuple[Any, Any], **own: Any) -> dict[str, Any]:
    """The settings that serve both, the second one as "flowers" and with `own` settings."""
    pictures, flowers = two
    return {
        "collections": (
            CollectionSettings(str(pictures.root), "pictures"),
            CollectionSettings(str(flowers.root), "flowers", **own),
        )
    }


async def health(served: Any, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(served.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status


async def until(what: Any) -> None:
    async with asyncio.timeout(60):
        while not await what():
            await asyncio.sleep(0.02)


async def listed(served: Any) -> dict[str, tuple[int, int, str]]:
    reply = await served.server.ListCollections(server_pb2.ListCollectionsRequest())
    return {one.name: (one.generation, one.images, one.problem) for one in reply.collections}


def test_every_request_has_the_same_collection_field_number() -> None:
    requests = [
        method.input_type
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.name != "ListCollections"
    ]
    assert len(requests) > 25
    for request in requests:
        field = request.fields_by_name["collection"]
        assert (field.number, field.type) == (15, FieldDescriptor.TYPE_STRING), request.name


async def test_call_without_a_collection_uses_the_first(two, serve, by_vector) -> None:
    pictures, flowers = two
    async with serve(pictures, **both(two)) as served:
        for name, toy in (("", pictures), ("pictures", pictures), ("flowers", flowers)):
            query = by_vector(vectors(2, 9))
            found = await served.neighbors(query, 3, collection=name)
            expected, _ = toy.brute_force(vectors(2, 9), 3)
            assert np.array_equal(np.frombuffer(found.neighbors.ids.data, np.int64).reshape(2, 3), expected)
            assert found.served.collection == (name or "pictures")
            described = await served.collection.GetCollection(collection_pb2.GetCollectionRequest(collection=name))
            assert (described.name, described.images) == (name or "pictures", len(toy.ids) + 1)
            told = await served.server.GetServerInfo(server_pb2.GetServerInfoRequest(collection=name))
            assert told.collection == (name or "pictures")
        clusters = cluster_pb2.ListClustersRequest(clustering="tiny/k2", collection="flowers")
        assert (await served.cluster.ListClusters(clusters)).served.collection == "flowers"
        assert await listed(served) == {"pictures": (1, 31, ""), "flowers": (1, 21, "")}


async def test_unknown_collection_is_not_found_and_the_error_lists_the_others(two, serve, refused) -> None:
    async with serve(two[0], **both(two)) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.collection.GetCollection(collection_pb2.GetCollectionRequest(collection="cats"))
    error = refused(caught.value)
    assert error.code is grpc.StatusCode.NOT_FOUND
    assert error.message == "This server has no collection 'cats'; it has: pictures, flowers."


async def test_single_collection_may_be_named_too(make_toy, serve) -> None:
    async with serve(make_toy()) as served:
        for name in ("", "toys"):
            described = await served.collection.GetCollection(collection_pb2.GetCollectionRequest(collection=name))
            assert described.name == "toys"
        with pytest.raises(grpc.aio.AioRpcError, match="it has: toys"):
            await served.collection.GetCollection(collection_pb2.GetCollectionRequest(collection="other"))


async def test_both_clients_ask_about_their_collection(two, serve) -> None:
    async with serve(two[0], **both(two)) as served:

        def ask() -> list[Any]:
            with (
                lookalike.Client(served.app.address, collection="flowers") as client,
                lookalike.Client(served.app.address) as first,
            ):
                near = client.search(vector=two[1].vectors[3], k=1)
                assert client.is_serving("flowers")
                return [near.served.collection, client.info().name, first.info().name, client.collections()]

        *told, collections = await asyncio.to_thread(ask)
        assert told == ["flowers", "flowers", "pictures"]
        assert collections == (
            lookalike.ServedCollection("pictures", 1, 31),
            lookalike.ServedCollection("flowers", 1, 21),
        )
        async with lookalike.aio.Client(served.app.address, collection="flowers") as client:
            assert (await client.info()).name == "flowers"
            assert await client.collections() == collections
        with pytest.raises(lookalike.InvalidArgumentError, match="collection=3"):
            lookalike.Client(served.app.address, collection=3)  # type: ignore[arg-type]


async def test_page_token_of_another_collection_is_rejected(two, serve) -> None:
    async with serve(two[0], **both(two)) as served:
        page = await served.collection.ListImages(collection_pb2.ListImagesRequest(page_size=5))
        request = collection_pb2.ListImagesRequest(page_token=page.next_page_token, collection="flowers")
        with pytest.raises(grpc.aio.AioRpcError, match="for another request"):
            await served.collection.ListImages(request)


async def test_each_collection_follows_its_own_generations(two, make_toy, serve) -> None:
    async with serve(two[0], **both(two)) as served:
        make_toy(vectors(25, 3), name="s")
        await served.app.collections[1].reloader.load_newest()
        assert await listed(served) == {"pictures": (1, 31, ""), "flowers": (2, 26, "")}
        make_toy(vectors(35, 3), name="pictures")
        reply = await served.server.Reload(server_pb2.ReloadRequest(collection="pictures"))
        assert (reply.previous, reply.generation) == (1, 2)


async def test_each_collection_has_its_own_limits(two, serve, by_vector) -> None:
    async with serve(two[0], **both(two, limits=Limits(max_k=4))) as served:
        assert (await served.neighbors(by_vector(vectors(1, 1)), 5)).served.collection == "pictures"
        with pytest.raises(grpc.aio.AioRpcError, match="it must be 1 to 4; the server's --max-k sets this"):
            await served.neighbors(by_vector(vectors(1, 1)), 5, collection="flowers")
        told = await served.server.GetServerInfo(server_pb2.GetServerInfoRequest(collection="flowers"))
        assert told.limits.max_k == 4


class TestACollectionThatCannotBeLoaded:
    async def test_missing_collection_is_served_once_it_exists(self, two, serve, by_vector, refused) -> None:
        pictures, flowers = two
        away = flowers.root.with_name("away")
        shutil.move(flowers.root, away)
        async with serve(pictures, **both(two)) as served:
            assert (await served.neighbors(by_vector(vectors(1, 1)), 3)).served.collection == "pictures"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(by_vector(vectors(1, 1)), 3, collection="flowers")
            error = refused(caught.value)
            assert error.code is grpc.StatusCode.UNAVAILABLE
            assert error.message.startswith("This collection is not loaded: ")
            assert str(flowers.root) in error.message
            statuses = [await health(served, name) for name in ("", "pictures", "flowers")]
            assert statuses == [SERVING, SERVING, NOT_SERVING]
            assert (await listed(served))["flowers"] == (0, 0, error.message.partition(": ")[2])
            shutil.move(away, flowers.root)

            async def is_serving() -> bool:
                return await health(served, "flowers") == SERVING

            await until(is_serving)
            assert (await served.neighbors(by_vector(vectors(1, 1)), 3, collection="flowers")).served.generation == 1
            assert (await listed(served))["flowers"] == (1, 21, "")

    async def test_damaged_collection_is_not_reread(self, two, make_toy, serve, by_vector, caplog) -> None:
        pictures, flowers = two
        index = next((flowers.root / "indexes").rglob("*.faiss"))
        index.write_bytes(index.read_bytes()[:-1])
        async with serve(pictures, **both(two)) as served:
            await served.app.collections[1].reloader.follow()
            await served.app.collections[1].reloader.follow()
            assert caplog.text.count("flowers: generation 1 cannot be served: DATA_LOSS: ") == 1
            with pytest.raises(grpc.aio.AioRpcError, match="not what was written") as caught:
                await served.neighbors(by_vector(vectors(1, 1)), 3, collection="flowers")
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.server.Reload(server_pb2.ReloadRequest(collection="flowers"))
            assert caught.value.code() is grpc.StatusCode.DATA_LOSS
            make_toy(vectors(22, 4), name="s")

            async def is_listed() -> bool:
                return (await listed(served))["flowers"] == (2, 23, "")

            await until(is_listed)

    async def test_ends_the_start_when_there_is_no_other(self, tmp_path: Path) -> None:
        gone = tuple(CollectionSettings(str(tmp_path / name), name) for name in ("one", "other"))
        with pytest.raises(NotFoundError, match="one"):
            await App(ServeSettings(listen=Listen(port=0), collections=gone)).start()


class TestWhatServeIsGiven:
    def test_names_and_folders(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a=b").mkdir()
        assert [split(text) for text in ("pictures", "flowers=s/flowers", "a=b", "./c=d")] == [
            ("", "pictures"),
            ("flowers", "s/flowers"),
            ("", "a=b"),
            ("", "./c=d"),
        ]
        assert named(["pictures"]) == [("", "pictures")]
        assert named(["x/pictures", "flowers=s"]) == [("pictures", "x/pictures"), ("flowers", "s")]

    def test_invalid_collection_names_are_rejected(self) -> None:
        with pytest.raises(UsageError, match="2 collections have the name s"):
            named(["x/s", "y/s"])
        with pytest.raises(UsageError, match=r"give another one: NAME=x/two words"):
            named(["x/two words", "s"])

    def test_settings_of_one_collection(self) -> None:
        pairs = [("pictures", "p"), ("flowers", "f")]
        texts = ["flowers.max_k=100", "flowers.max-image-bytes=80MiB", "flowers.weights=net.pth", "flowers.index=main"]
        own = collection_overrides(texts, pairs)
        chosen = CommonSettings({"max_k": 500}, None, ("small",))
        server, (pictures, flowers) = chosen_collections(pairs, chosen, own, [ImageLimits(), ImageLimits()])
        assert (pictures.limits.max_k, flowers.limits.max_k) == (500, 100)
        assert (pictures.weights, flowers.weights) == (None, "net.pth")
        assert (pictures.indexes, flowers.indexes) == (("small",), ("main",))
        # An arriving message may be an image for either.
        assert (pictures.limits.max_image_bytes, flowers.limits.max_image_bytes) == (64 * MIB, 80 * MIB)
        shared = {one.max_message_bytes for one in (server, pictures.limits, flowers.limits)}
        assert shared == {81 * MIB}

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("flowers.max_k", "must be NAME.KEY=VALUE"),
            ("cats.max_k=1", "there is no collection 'cats'; the collections are: pictures, flowers"),
            ("flowers.max_k=0", "out of range"),
            ("flowers.port=1", "'port' is not a setting of a collection"),
            ("flowers.max_peer_calls=1", "applies to the whole server; give --max-peer-calls"),
        ],
    )
    def test_invalid_collection_settings_are_rejected(self, text: str, problem: str) -> None:
        with pytest.raises(UsageError, match=problem):
            collection_overrides([text], [("pictures", "p"), ("flowers", "f")])


class TestTokensOfCollections:
    """A server of three collections and callers whose tokens are for some of them."""

    @pytest.fixture
    async def asking(self, two, make_toy, serve, tmp_path) -> Any:
        """Call a method of a service with somebody's token: `await asking("garden", "server", "Reload", ...)`."""
        tokens = {
            "all": new_token("all", "read"),
            "garden": new_token("garden", "read", ["flowers", "trees"]),
            "gardener": new_token("gardener", "admin", ["flowers"]),
            "lost": new_token("lost", "read", ["cats"]),
        }
        (tmp_path / "tokens").write_text("".join(f"{line}\n" for _, line in tokens.values()))
        collections = both(two)["collections"]
        trees = CollectionSettings(str(make_toy(vectors(10, 5), name="trees").root), "trees")
        listen = Listen(port=0, tokens=tmp_path / "tokens")
        async with serve(two[0], collections=(*collections, trees), listen=listen) as served:

            async def ask(who: str, service: str, method: str, request: Any) -> Any:
                metadata = (("authorization", f"Bearer {tokens[who][0]}"),)
                return await getattr(getattr(served, service), method)(request, metadata=metadata)

            yield ask

    async def test_token_is_for_its_collections_alone(self, asking, by_vector) -> None:
        async def searched(who: str, collection: str) -> str:
            request = search_pb2.SearchRequest(query=by_vector(vectors(1, 1)), k=1, collection=collection)
            try:
                return (await asking(who, "search", "Search", request)).served.collection
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name}: {error.details()}"

        assert [await searched("all", name) for name in ("", "flowers")] == ["pictures", "flowers"]
        assert [await searched("garden", name) for name in ("", "flowers", "trees")] == ["flowers", "flowers", "trees"]
        # The error does not reveal whether the collection exists.
        for name in ("pictures", "cats"):
            assert await searched("garden", name) == (
                "PERMISSION_DENIED: The token of garden is limited to: flowers, trees; "
                f"request one of them, not {name!r}."
            )
        assert await searched("lost", "") == (
            "PERMISSION_DENIED: The token of lost is limited to: cats; this server has none of them."
        )

    async def test_nothing_is_heard_of_other_collections(self, asking) -> None:
        for who, names in (("all", ["pictures", "flowers", "trees"]), ("garden", ["flowers", "trees"]), ("lost", [])):
            reply = await asking(who, "server", "ListCollections", server_pb2.ListCollectionsRequest())
            assert [one.name for one in reply.collections] == names

    async def test_every_method_holds_a_token_to_its_collections(self, asking) -> None:
        for file in FILES:
            for service in file.DESCRIPTOR.services_by_name.values():
                for method in service.methods:
                    if method.name == "ListCollections":
                        continue
                    name = service.name.removesuffix("Service").lower()
                    request = getattr(file, method.input_type.name)(collection="pictures")
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await asking("gardener", name, method.name, request)
                    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED, method.name

    async def test_admin_of_a_collection_may_reload_it(self, asking) -> None:
        reply = await asking("gardener", "server", "Reload", server_pb2.ReloadRequest())
        assert reply.generation == 1

    def test_token_line_with_invalid_collections_admits_no_caller(self, tmp_path: Path, caplog) -> None:
        (good, line), (bad, other) = new_token("good", "read", ["flowers"]), new_token("bad", "read")
        (tmp_path / "tokens").write_text(f"{line}\n{other} flowers,\n{other} flowers trees\n")
        tokens = Tokens(tmp_path / "tokens")
        assert tokens.caller(good) == Caller("good", "read", ("flowers",))
        assert tokens.caller(bad) is None
        assert caplog.text.count("is skipped") == 2
        with pytest.raises(UsageError, match="lookalike serve NAME=DIR"):
            new_token("shop", "read", ["two words"])

    def test_command_makes_a_token_for_collections(self, tmp_path: Path) -> None:
        file = tmp_path / "tokens"
        options = ["--name", "shop", "--collection", "flowers", "--collection", "trees", "--file", str(file)]
        result = CliRunner().invoke(token, options)
        assert result.exit_code == 0, result.output
        assert Tokens(file).caller(result.output.strip()) == Caller("shop", "read", ("flowers", "trees"))
