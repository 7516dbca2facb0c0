"""File locations: shown to the server's administrators, and to nobody else."""

from __future__ import annotations

import contextvars
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from lookalike.v1 import cluster_pb2, collection_pb2, experiment_pb2, search_pb2, server_pb2, types_pb2
from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.manifest import ModelEntry
from lookalike_indexer.errors import WeightsError
from lookalike_indexer.progress import Silent
from lookalike_server.common import visible
from lookalike_server.common.peers import host_of, is_this_machine
from lookalike_server.common.settings import Listen
from lookalike_server.transport.tokens import new_token

CODE = grpc.StatusCode


class Telling:
    """An experiment runner whose every reply names a path."""

    hung = False

    def __init__(self, path: str) -> None:
        self._path = path

    def answer(self, asked: Any) -> bytes:
        text = experiment_pb2.SettingValue(text=self._path)
        return experiment_pb2.ExperimentResult(
            kind=asked.name,
            settings=[experiment_pb2.Setting(name="made in", value=text)],
            findings=[f"go on with: lookalike cluster {self._path} --space tiny"],
        ).SerializeToString()

    def close(self) -> None:
        pass


def picture() -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(images=types_pb2.Images(data=[b"7"]))


def by_id(number: int) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(ids=types_pb2.Ids(values=[number]))


async def told(call: Any) -> bytes:
    """Return everything that a caller receives: the reply, or the error with its details."""
    try:
        reply = await call
    except grpc.aio.AioRpcError as error:
        details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
        return (error.details() or "").encode() + details
    return reply.SerializeToString()


async def everything(served: Any, metadata: Any = ()) -> dict[str, bytes]:
    """Return what a caller receives from each method that could reveal files."""
    search, collection, experiment = served.search, served.collection, served.experiment
    image = experiment_pb2.ImageName(id=5)
    calls = {
        "an image without weights": search.Search(search_pb2.SearchRequest(query=picture(), k=3), metadata=metadata),
        "damaged embeddings": search.Search(search_pb2.SearchRequest(query=by_id(805), k=3), metadata=metadata),
        "search": search.Search(
            search_pb2.SearchRequest(query=by_id(5), k=3, fields=search_pb2.NeighborFields(uris=True)),
            metadata=metadata,
        ),
        "list": collection.ListImages(collection_pb2.ListImagesRequest(page_size=3), metadata=metadata),
        "get": collection.GetImages(
            collection_pb2.GetImagesRequest(ids=types_pb2.Ids(values=[5, 7])), metadata=metadata
        ),
        "collection": collection.GetCollection(collection_pb2.GetCollectionRequest(), metadata=metadata),
        "membership": served.cluster.GetMembership(
            cluster_pb2.GetMembershipRequest(query=by_id(5), members=1), metadata=metadata
        ),
        "clusters of an image": experiment.GetImageClusters(
            experiment_pb2.GetImageClustersRequest(image=image), metadata=metadata
        ),
        "results": experiment.ListResults(experiment_pb2.ListResultsRequest(), metadata=metadata),
        "server": served.server.GetServerInfo(server_pb2.GetServerInfoRequest(), metadata=metadata or None),
    }
    return {name: await told(call) for name, call in calls.items()}


# Texts of this collection that reveal files.
TELLING = {
    "an image without weights", "damaged embeddings", "search", "list", "get", "collection", "membership",
    "clusters of an image", "server",
}  # fmt: skip


def from_file(model: ModelEntry, file: Path) -> ModelEntry:
    weights = dataclasses.replace(model.spec.weights, kind="file", name=str(file))
    return dataclasses.replace(model, spec=dataclasses.replace(model.spec, weights=weights))


@pytest.fixture
def telling(make_toy, serve, tmp_path):
    """Serve a collection in a folder with a space in its name, whose errors often contain a path."""
    toy = make_toy(name="my collection")
    draft = generations.require_latest(toy.storage)
    space = draft.spaces["tiny"]
    first = dataclasses.replace(space, rows=400, parts=space.parts[:2])
    built, _ = run_cluster(
        toy.storage, dataclasses.replace(draft, spaces={"tiny": first}), ClusterSettings(clusters=3), Silent()
    )
    # A clustering that lacks images says how to continue, and a model names its file.
    models = {name: from_file(model, tmp_path / "my nets" / "net.pth") for name, model in draft.models.items()}
    generations.publish(toy.storage, dataclasses.replace(built, spaces=draft.spaces, models=models))
    weights = tmp_path / "my weights" / "net.pth"

    def no_weights(reader: Any, space: str) -> Any:
        raise WeightsError(
            f"The weights are not at {weights} (nor at /opt/net.pth, file:///opt/net.pth); put them there."
        )

    @asynccontextmanager
    async def run(metadata: Any = (), **listen: Any) -> AsyncIterator[dict[str, bytes]]:
        async with serve(
            toy,
            weights=str(weights),
            open_embedder=no_weights,
            experiment_runner=Telling(str(toy.root)),
            listen=Listen(port=0, **listen),
        ) as served:
            part = toy.root / space.parts[2]
            whole = part.read_bytes()
            part.write_bytes(whole[:-1])
            yield await everything(served, metadata)
            part.write_bytes(whole)

    return run


def paths_in(said: dict[str, bytes], folder: Any) -> set[str]:
    """Return the texts that reveal a file in a folder."""
    return {name for name, data in said.items() if str(folder).encode() in data or b"/opt" in data}


class TestWhoSees:
    async def test_local_callers_see_paths_without_tokens(self, telling, tmp_path) -> None:
        async with telling() as said:
            assert paths_in(said, tmp_path) == TELLING

    @pytest.mark.parametrize(("role", "show", "sees"), [
        ("read", "local", False), ("read", "admin", False), ("read", "everyone", True),
        ("admin", "local", True), ("admin", "admin", True),
    ])  # fmt: skip
    async def test_admin_callers_see_paths_with_tokens(self, telling, tmp_path, role, show, sees) -> None:
        token, line = new_token("shop", role)
        file = tmp_path / "tokens"
        file.write_text(f"{line}\n")
        metadata = (("authorization", f"Bearer {token}"),)
        async with telling(metadata, tokens=file, show_paths=show) as said:
            assert paths_in(said, tmp_path) == (TELLING if sees else set())

    async def test_server_behind_a_proxy_can_hide_them_from_all(self, telling, tmp_path) -> None:
        async with telling(show_paths="admin") as said:
            assert paths_in(said, tmp_path) == set()
        # The rest still says what is wrong, and what to do.
        assert b"The weights are not at my weights/net.pth (nor at net.pth, file://net.pth)" in said["server"]
        assert b"lookalike cluster 'my collection'" in said["membership"]
        assert b"go on with: lookalike cluster my collection --space tiny" in said["clusters of an image"]
        assert b"was replaced or changed since this generation was loaded" in said["damaged embeddings"]
        assert b"This caller may not see URIs; repeat the call without them." in said["search"]
        described = collection_pb2.GetCollectionResponse.FromString(said["collection"])
        assert [space.weights for space in described.spaces] == ["file:my nets/net.pth"]
        listed = collection_pb2.ListImagesResponse.FromString(said["list"])
        assert list(listed.images.uris) == ["", "", ""]
        assert all(listed.images.keys)

    @pytest.mark.parametrize(("peer", "here"), [
        ("ipv4:127.0.0.1:40000", True), ("ipv4:127.9.9.9:1", True), ("ipv6:%5B::1%5D:40000", True), ("unix:", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:4", True), ("ipv4:192.0.2.1:40000", False),
        ("ipv6:%5Bfe80::1%25eth0%5D:9", False), ("ipv6:%5B2001:db8::1%5D:9", False), ("127.0.0.1:4", False),
        ("", False),
    ])  # fmt: skip
    def test_peer_is_on_this_machine_by_its_address(self, peer, here) -> None:
        assert is_this_machine(peer) is here

    def test_peer_has_an_address(self) -> None:
        assert host_of("ipv4:192.0.2.1:40000") == "192.0.2.1"
        assert host_of("ipv6:%5B2001:db8::1%5D:9") == "2001:db8::1"
        assert host_of("unix:") == "unix"


@pytest.mark.parametrize(("said", "seen"), [
    ("/data/my pets/images/part-0.parquet is damaged.", "my pets/images/part-0.parquet is damaged."),
    ("'/srv/a/b.jpg' cannot be read", "'b.jpg' cannot be read"),
    ("at /srv/a/b.jpg: gone", "at b.jpg: gone"),
    ("file:///srv/a.jpg#7", "file://a.jpg#7"),
    ("weights file:/srv/a.pth, 3:1", "weights file:a.pth, 3:1"),
    ("and/or 3/5 of dogs/01.jpg, see https://example.org/a/b", "and/or 3/5 of dogs/01.jpg, see https://example.org/a/b"),
    ("Search takes 1 to 256.", "Search takes 1 to 256."),
])  # fmt: skip
def test_only_the_last_name_of_a_hidden_path_is_shown(said, seen) -> None:
    def hidden() -> str:
        visible.hide(lambda: ["/data/my pets/", "/", ""])
        return visible.text(said)

    assert visible.text(said) == said
    assert contextvars.copy_context().run(hidden) == seen
    assert visible.text(said) == said
