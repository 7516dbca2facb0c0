"""A server of several processes: its replies equal those of one process, and it survives the end of any."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.server.certificates import Pair
from tests.server.conftest import Toy, patient, random_vectors, toys_in
from tests.server.fronts_network import HOLD, open_network

import lookalike
from lookalike import local_secret, wire
from lookalike.v1 import cluster_pb2, collection_pb2, experiment_pb2, filter_pb2, search_pb2, server_pb2, types_pb2
from lookalike_indexer.errors import IndexerError, NotFoundError, UsageError
from lookalike_server.app import App
from lookalike_server.common.automatic_fronts import automatic_fronts
from lookalike_server.common.limits import Limits
from lookalike_server.common.observe_settings import ObserveSettings
from lookalike_server.common.settings import CollectionSettings, Listen, ServeSettings
from lookalike_server.fronts.supervisor import Supervisor
from lookalike_server.transport.service_table import SERVED
from lookalike_server.transport.tokens import new_token

# One server of several processes suffices for all of them.
pytestmark = pytest.mark.xdist_group("fronts")

UNAVAILABLE, UNAUTHENTICATED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
LONG_S = 120

METHODS = {method.name: (service, method) for service, _ in SERVED for method in service.methods}
# The number of connections at which all reach one of two fronts in one run of 32,768.
CONNECTIONS = 16


class Running:
    """A server in a thread of this process; `call` calls it on one of many connections."""

    def __init__(self, server: App | Supervisor, trusted: Path | None = None) -> None:
        """`trusted` is the server's certificate, if it has one."""
        self.server = server
        self._trusted = trusted
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._next = 0

    def start(self) -> None:
        self._thread.start()
        self.run(self.server.start())
        self.channels = [self.connect() for _ in range(CONNECTIONS)]

    def connect(self) -> grpc.Channel:
        """Return a new connection."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        if self._trusted is None:
            return grpc.insecure_channel(self.server.address, options)
        credentials = grpc.ssl_channel_credentials(self._trusted.read_bytes())
        return grpc.secure_channel(self.server.address, credentials, options)

    def run(self, work: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(LONG_S)

    def call(self, name: str, request: Any, channel: grpc.Channel | None = None, **more: Any) -> bytes:
        """Return the bytes of a reply."""
        if channel is None:
            channel = self.channels[self._next % CONNECTIONS]
            self._next += 1
        service, method = METHODS[name]
        stub = channel.unary_unary(f"/{service.full_name}/{method.name}")
        reply: bytes = stub(request.SerializeToString(), **{"timeout": LONG_S, **more})
        return reply

    def in_flight(self) -> int:
        """Return the calls in progress, by the server's own metrics."""
        found = re.search(r"^lookalike_calls_in_flight (\S+)$", self.metrics(), flags=re.MULTILINE)
        assert found
        return round(float(found[1]))

    def answered_by(self, process: str) -> float:
        """Return the number of calls that the fronts, or the engine process, have answered."""
        found = re.search(
            rf'^lookalike_front_calls_total{{answered_by="{process}"}} (\S+)$', self.metrics(), re.MULTILINE
        )
        return 0 if found is None else float(found[1])

    def search(self, toy: Toy, row: int = 7, k: int = 5, **more: Any) -> search_pb2.SearchResponse:
        return search_pb2.SearchResponse.FromString(self.call("Search", by_vector(toy, row, k=k), **more))

    def health(self, service: str = "") -> set[int]:
        """Return the health of a name on each connection."""
        request = health_pb2.HealthCheckRequest(service=service)
        return {health_pb2_grpc.HealthStub(one).Check(request, timeout=LONG_S).status for one in self.channels}

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.metrics_port}/metrics", timeout=LONG_S) as reply:
            text: str = reply.read().decode()
        return text

    def stop(self) -> None:
        for channel in self.channels:
            channel.close()
        self.run(self.server.stop(1))

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def running(server: App | Supervisor, trusted: Path | None = None) -> Iterator[Running]:
    one = Running(server, trusted)
    try:
        one.start()
        yield one
    finally:
        if hasattr(one, "channels"):
            one.stop()
        one.end()


def by_vector(toy: Toy, row: int = 7, **more: Any) -> search_pb2.SearchRequest:
    values = wire.encode(toy.vectors[row : row + 1])
    return search_pb2.SearchRequest(
        query=types_pb2.QueryBatch(vectors=types_pb2.Vectors(values=values)), **{"k": 5, **more}
    )


def by_picture(**more: Any) -> search_pb2.SearchRequest:
    """Return a search that waits while the network is held."""
    return search_pb2.SearchRequest(
        query=types_pb2.QueryBatch(images=types_pb2.Images(data=[b"7"])), **{"k": 5, **more}
    )


@contextmanager
def held(toy: Toy) -> Iterator[None]:
    """Hold the network until the block ends."""
    file = toy.root / HOLD
    file.touch()
    try:
        yield
    finally:
        file.unlink()


def settings(toy: Toy, **more: Any) -> ServeSettings:
    return ServeSettings(
        str(toy.root),
        **{
            "listen": Listen(port=0),
            "watch": 0.05,
            "fronts": 2,
            "limits": patient(more.pop("limits", None)),
            "observe": ObserveSettings(metrics_port=0, audit_share=1.0),
            **more,
        },
    )


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return toys_in(tmp_path_factory.mktemp("fronts"))(clusters=4, index="IVF8,Flat")


@pytest.fixture(scope="module")
def several(toy: Toy) -> Iterator[Running]:
    """Two fronts with one engine process."""
    with running(Supervisor(settings(toy), open_embedder=open_network)) as served:
        yield served


@pytest.fixture(scope="module")
def one(toy: Toy) -> Iterator[Running]:
    """A server of one process."""
    with running(App(settings(toy, fronts=1), open_embedder=open_network)) as served:
        yield served


def queries(toy: Toy) -> dict[str, types_pb2.QueryBatch]:
    keys = [toy.key(int(toy.ids[row])) for row in (3, 9, 3)]
    return {
        "vectors": types_pb2.QueryBatch(vectors=types_pb2.Vectors(values=wire.encode(toy.vectors[5:9]))),
        "keys": types_pb2.QueryBatch(keys=types_pb2.Keys(values=keys)),
        "ids": types_pb2.QueryBatch(ids=types_pb2.Ids(values=toy.ids[:4].tolist())),
        "images": types_pb2.QueryBatch(images=types_pb2.Images(data=[b"7", b"11"])),
    }


def requests(toy: Toy) -> Iterator[tuple[str, str, Any]]:
    """Return every method, the special thing about the request, and the request."""
    every = search_pb2.NeighborFields(keys=True, labels=True)
    some = filter_pb2.Filter(**{"in": filter_pb2.In(column="id", integers=toy.ids[:100].tolist())})
    image = experiment_pb2.ImageName(id=5)
    for kind, query in queries(toy).items():
        yield "Search", kind, search_pb2.SearchRequest(query=query, k=4, fields=every)
        yield "Search", f"exactly, {kind}", search_pb2.SearchRequest(query=query, k=300, fields=every, exact=True)
        yield "GetMembership", kind, cluster_pb2.GetMembershipRequest(query=query, members=3)
    query = queries(toy)["vectors"]
    yield "Search", "filtered", search_pb2.SearchRequest(query=query, k=9, filter=some, explain=True)
    grouping = search_pb2.Grouping(column="label")
    yield "Search", "grouped", search_pb2.SearchRequest(query=query, k=2, grouping=grouping)
    yield "Search", "near", search_pb2.SearchRequest(query=query, k=9, max_distance=0.7)
    vectors = search_pb2.NeighborFields(keys=True, vectors=True)
    yield "Search", "with vectors", search_pb2.SearchRequest(query=queries(toy)["keys"], k=9, fields=vectors)
    yield "Search", "explained", search_pb2.SearchRequest(query=queries(toy)["keys"], k=9, explain=True)
    yield "Search", "with itself", search_pb2.SearchRequest(query=queries(toy)["ids"], k=9, include_self=True)
    examples = search_pb2.Feedback(keys=[toy.key(int(toy.ids[4]))], not_keys=[toy.key(int(toy.ids[90]))])
    yield "Search", "by examples", search_pb2.SearchRequest(query=query, k=9, feedback=examples)
    yield "Search", "by recall", search_pb2.SearchRequest(query=query, k=9, recall=0.9)
    yield "Search", "with URIs", search_pb2.SearchRequest(query=query, k=9, fields=search_pb2.NeighborFields(uris=True))
    yield "Search", "of too many", search_pb2.SearchRequest(query=query, k=5000)
    yield "Search", "of no space", search_pb2.SearchRequest(query=query, k=5, space="nowhere")
    yield "Search", "of NaN", by_vector(toy, k=0)
    unknown = types_pb2.QueryBatch(keys=types_pb2.Keys(values=["no/such.jpg"]))
    yield "Search", "of an unknown key", search_pb2.SearchRequest(query=unknown, k=5)
    some_unknown = types_pb2.QueryBatch(keys=types_pb2.Keys(values=["no/such.jpg", toy.key(int(toy.ids[3]))]))
    yield "Search", "of some unknown keys", search_pb2.SearchRequest(query=some_unknown, k=5, row_errors=True)
    yield (
        "Search",
        "with attributes",
        search_pb2.SearchRequest(query=query, k=5, fields=search_pb2.NeighborFields(attributes=["format"])),
    )
    yield (
        "Search",
        "of other dimensions",
        search_pb2.SearchRequest(
            query=types_pb2.QueryBatch(vectors=types_pb2.Vectors(values=wire.encode(toy.vectors[:2, :3]))), k=5
        ),
    )
    yield (
        "Search",
        "of zeros",
        search_pb2.SearchRequest(
            query=types_pb2.QueryBatch(vectors=types_pb2.Vectors(values=wire.encode(0 * toy.vectors[:2]))), k=5
        ),
    )
    yield "Search", "with too much effort", search_pb2.SearchRequest(query=query, k=5, nprobe=1 << 20)
    yield "Search", "of no collection", search_pb2.SearchRequest(query=query, k=5, collection="nowhere")
    yield "GetMembership", "of an unknown key", cluster_pb2.GetMembershipRequest(query=unknown)
    yield "GetMembership", "of some unknown keys", cluster_pb2.GetMembershipRequest(query=some_unknown, row_errors=True)
    yield (
        "GetMembership",
        "of no clustering",
        cluster_pb2.GetMembershipRequest(query=queries(toy)["ids"], clusterings=["none"]),
    )
    yield (
        "GetMembership",
        "of too many members",
        cluster_pb2.GetMembershipRequest(query=queries(toy)["ids"], members=1 << 20),
    )
    yield "GetVectors", "", search_pb2.GetVectorsRequest(query=queries(toy)["ids"])
    yield "ListMembers", "", cluster_pb2.ListMembersRequest(clustering="tiny/k4", page_size=9)
    yield "ListClusters", "", cluster_pb2.ListClustersRequest(clustering="tiny/k4")
    yield "GetCollection", "", collection_pb2.GetCollectionRequest()
    yield "GetImages", "", collection_pb2.GetImagesRequest(ids=types_pb2.Ids(values=[5, 9]))
    yield "ListImages", "", collection_pb2.ListImagesRequest(page_size=20)
    yield "ListLabels", "", collection_pb2.ListLabelsRequest()
    yield "GetThumbnails", "", collection_pb2.GetThumbnailsRequest(ids=[5, 9])
    yield "GetImageClusters", "", experiment_pb2.GetImageClustersRequest(image=image)
    yield "ListOddballs", "", experiment_pb2.ListOddballsRequest(label="label1")
    yield "ListResults", "", experiment_pb2.ListResultsRequest()
    yield "ListCollections", "", server_pb2.ListCollectionsRequest()
    yield "GetServerInfo", "", server_pb2.GetServerInfoRequest()


def answered(server: Running, name: str, request: Any) -> tuple[object, ...]:
    """Return the reply without parts that differ each time; or the error."""
    try:
        reply = METHODS[name][1].output_type._concrete_class.FromString(server.call(name, request))
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        return error.code(), error.details(), details
    if hasattr(reply, "served"):
        reply.served.ClearField("timings")
        reply.served.ClearField("batch_size")
        reply.served.plan.ClearField("cached")
    return ("", reply.SerializeToString(deterministic=True))


def test_several_fronts_answer_like_one_process(toy, one, several) -> None:
    for name, what, request in requests(toy):
        expected = answered(one, name, request)
        for _ in range(2):
            assert answered(several, name, request) == expected, f"{name} {what}"


def test_chunked_messages_over_fronts_equal_those_of_one_process(toy, one, several) -> None:
    picture = b"7".rjust(9 << 20, b"0")
    found = []
    for server in (one, several):
        with lookalike.Client(server.server.address, timeout=LONG_S) as client:
            near = client.search(image=picture, k=5)
            # The bound of its size is larger than a message.
            many = client.search(ids=toy.ids[:250], k=1000, include_self=True)
            found.append((near.ids.tolist(), many.ids.tobytes(), many.keys))
            with pytest.raises(lookalike.InvalidArgumentError, match="cannot be decoded"):
                client.search(image=picture + b"x", k=5)
    assert found[0] == found[1]
    assert found[0][0][0] == toy.ids[7]


OWN = [
    ("Search", "vectors"),
    ("Search", "keys"),
    ("Search", "ids"),
    ("Search", "exactly, vectors"),
    ("Search", "near"),
    ("Search", "with URIs"),
    ("Search", "with vectors"),
    ("Search", "by examples"),
    ("GetMembership", "keys"),
    ("GetMembership", "ids"),
]


def test_front_answers_what_needs_no_more_than_mapped_columns(toy, several) -> None:
    every = {(name, what): request for name, what, request in requests(toy)}
    for own in OWN:
        before = several.answered_by("front")
        several.call(own[0], every.pop(own))
        until(lambda: several.answered_by("front") == before + 1)  # noqa: B023
    before = several.answered_by("engine")
    several.call("Search", every["Search", "filtered"])
    until(lambda: several.answered_by("engine") == before + 1)


def test_paths_are_hidden_from_callers_who_see_none(toy, several) -> None:
    request = search_pb2.SearchRequest(query=queries(toy)["ids"], k=3, fields=search_pb2.NeighborFields(uris=True))
    reply = search_pb2.SearchResponse.FromString(several.call("Search", request))
    assert all(uri.startswith("/") for uri in reply.neighbors.uris)


def test_both_fronts_answer_and_are_measured_together(toy, several) -> None:
    def calls() -> float:
        found = re.search(
            r'lookalike_call_seconds_count\{code="OK",rpc="lookalike.v1.SearchService/Search"\} (\S+)',
            several.metrics(),
        )
        return 0.0 if found is None else float(found[1])

    before = calls()
    for _ in range(2 * CONNECTIONS):
        several.search(toy)
    # A call is counted after its reply was sent, so its caller may be faster.
    end = time.monotonic() + 60
    while calls() < before + 2 * CONNECTIONS:
        assert time.monotonic() < end, calls()
        time.sleep(0.05)
    counted = [connections(front.pid) for front in several.server.fronts]
    assert sum(counted) >= CONNECTIONS
    assert all(counted)
    resident = re.findall(r'lookalike_front_resident_bytes\{front="(\d)"\} (\S+)', several.metrics())
    assert [number for number, _ in resident] == ["0", "1"]
    assert all(float(size) > 1 << 20 for _, size in resident)


def test_searches_that_fronts_answer_are_audited(toy, several) -> None:
    def audited() -> float:
        found = re.search(r'^lookalike_recall_audits_total{outcome="searched"} (\S+)$', several.metrics(), re.MULTILINE)
        return 0 if found is None else float(found[1])

    before = audited()
    several.search(toy)
    until(lambda: audited() > before)


def connections(pid: int) -> int:
    """Return the connections of callers that a process has."""
    return sum(one.status == psutil.CONN_ESTABLISHED for one in psutil.Process(pid).net_connections("tcp"))


def test_port_is_taken(toy, several) -> None:
    port = int(several.server.address.rpartition(":")[2])
    taken = Listen(port=port)
    for server in (Supervisor(settings(toy, listen=taken)), App(settings(toy, listen=taken, fronts=1))):
        with pytest.raises(IndexerError, match="in use"):
            asyncio.run(server.start())


def test_only_the_user_of_the_server_can_reload(several) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        several.call("Reload", server_pb2.ReloadRequest())
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    secret = local_secret.find(int(several.server.address.rpartition(":")[2]))
    for _ in range(4):
        reply = several.call("Reload", server_pb2.ReloadRequest(), metadata=[("authorization", f"Bearer {secret}")])
        assert server_pb2.ReloadResponse.FromString(reply).generation >= 1


def test_killed_front_fails_only_its_calls_and_is_restarted(toy, several) -> None:
    # Every connection is open before the kill, also where this test runs alone.
    assert codes_of_searches(toy, several) == {grpc.StatusCode.OK}
    victim, other = several.server.fronts
    killed, stays = victim.pid, other.pid
    os.kill(killed, signal.SIGKILL)
    until(lambda: victim.pid not in (0, killed) and connections(stays) > 0)
    # A connection to the dead front is opened again, to either of them.
    until(lambda: codes_of_searches(toy, several) == {grpc.StatusCode.OK})
    until(lambda: listens(victim.pid))
    assert other.pid == stays
    assert several.health() == {SERVING}


def listens(pid: int) -> bool:
    return any(one.status == psutil.CONN_LISTEN for one in psutil.Process(pid).net_connections("tcp"))


def codes_of_searches(toy: Toy, served: Running) -> set[grpc.StatusCode]:
    """Return the codes of a search on each connection."""
    codes = set()
    for _ in range(CONNECTIONS):
        try:
            served.search(toy)
            codes.add(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            codes.add(error.code())
    return codes


def test_calls_are_unavailable_until_the_engine_process_is_replaced(toy, several) -> None:
    engine = several.server.engine
    killed = engine.pid
    watch = health_pb2_grpc.HealthStub(several.channels[0]).Watch(health_pb2.HealthCheckRequest(), timeout=LONG_S)
    assert next(watch).status == SERVING
    with ThreadPoolExecutor(4) as callers, held(toy):
        calls = [callers.submit(code_of, several, by_picture(), channel) for channel in several.channels[:4]]
        until(lambda: several.in_flight() == 4)
        os.kill(killed, signal.SIGKILL)
        assert {call.result() for call in calls} == {UNAVAILABLE}
    sentences = set()
    try:
        several.search(toy)
    except grpc.RpcError as error:
        sentences.add(error.details())
    assert sentences <= {"The engine process of this server ended; the server starts another one. Retry the call."}
    until(lambda: codes_of_searches(toy, several) == {grpc.StatusCode.OK})
    assert engine.pid != killed
    assert [next(watch).status for _ in range(2)] == [NOT_SERVING, SERVING]
    watch.cancel()
    until(lambda: several.health() == {SERVING})
    # The fronts have mapped the new engine process's generation.
    before = several.answered_by("front")
    until(lambda: codes_of_searches(toy, several) == {grpc.StatusCode.OK} and several.answered_by("front") > before)


def test_hung_process_is_killed_and_replaced(toy) -> None:
    limits = Limits(max_silence_ms=3000)
    with running(Supervisor(settings(toy, limits=limits), open_embedder=open_network)) as served:
        engine = served.server.engine
        hung = engine.pid
        os.kill(hung, signal.SIGSTOP)
        # A call in progress survives the kill, and later ones wait for the new process.
        assert code_of(served, by_vector(toy), served.channels[0]) is UNAVAILABLE
        until(lambda: served.health() == {SERVING})
        assert engine.pid != hung
        assert not psutil.pid_exists(hung)
        assert codes_of_searches(toy, served) == {grpc.StatusCode.OK}
        hangs = served.server.fronts[0]
        hung = hangs.pid
        os.kill(hung, signal.SIGSTOP)
        until(lambda: hangs.pid != hung and psutil.pid_exists(hangs.pid) and listens(hangs.pid))
        assert not psutil.pid_exists(hung)
        until(lambda: codes_of_searches(toy, served) == {grpc.StatusCode.OK})


def test_drain_completes_calls_and_rejects_new_calls(tmp_path) -> None:
    toy = toys_in(tmp_path)()
    with (
        running(Supervisor(settings(toy), open_embedder=open_network)) as served,
        ThreadPoolExecutor(CONNECTIONS + 1) as callers,
    ):
        with held(toy):
            calls = [callers.submit(code_of, served, by_picture(), channel) for channel in served.channels]
            until(lambda: served.in_flight() == CONNECTIONS)
            stopping = callers.submit(served.run, served.server.stop(LONG_S))
            until(lambda: codes_of_searches(toy, served) == {UNAVAILABLE})
            assert not any(call.done() for call in calls)
        assert {call.result() for call in calls} == {grpc.StatusCode.OK}
        stopping.result()
        assert codes_of_searches(toy, served) == {UNAVAILABLE}


def test_call_is_canceled_when_its_caller_leaves(toy, several) -> None:
    with held(toy), ThreadPoolExecutor(3) as callers:
        calls = [callers.submit(code_of, several, by_picture(), one, timeout=3) for one in several.channels[:2]]
        until(lambda: several.in_flight() == 2)
        assert {call.result() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        left = (
            several.channels[0]
            .unary_unary("/lookalike.v1.SearchService/Search")
            .future(by_picture().SerializeToString(), timeout=LONG_S)
        )
        until(lambda: several.in_flight() == 1)
        left.cancel()
        until(lambda: several.in_flight() == 0)


def test_all_fronts_swap_generations_without_failed_calls(tmp_path) -> None:
    make = toys_in(tmp_path)
    toy = make()
    failed, mixed, generations = [], [], []
    images = {1: len(toy.ids)}
    # It does not poll: callers, and the user who runs the server, trigger it.
    server = Supervisor(settings(toy, watch=3600), open_embedder=open_network)
    with running(server) as served, ThreadPoolExecutor(4) as callers:
        shared = server.folder / "generations"
        done = threading.Event()

        def ask(number: int) -> None:
            while not done.is_set():
                try:
                    reply = served.search(toy, channel=served.channels[number], k=1000)
                    generations.append(reply.served.generation)
                    # All images are found, as many as the generation has.
                    if len(reply.neighbors.ids.data) // 8 != images[reply.served.generation]:
                        mixed.append(reply)
                except grpc.RpcError as error:
                    failed.append(error)

        asking = [callers.submit(ask, number) for number in range(4)]
        secret = local_secret.find(int(server.address.rpartition(":")[2]))
        for generation in (2, 3):
            images[generation] = len(toy.ids) + 10 * generation
            make(random_vectors(images[generation]))
            authorization = [("authorization", f"Bearer {secret}")]
            reply = served.call("Reload", server_pb2.ReloadRequest(), metadata=authorization)
            assert server_pb2.ReloadResponse.FromString(reply).generation == generation
            # After the reply, every front has the change.
            told = [served.search(toy, channel=channel).served.generation for channel in served.channels]
            assert told == [generation] * CONNECTIONS
        make()
        served.run(asyncio.to_thread(server.reload))
        images[4] = len(toy.ids)
        until(lambda: 4 in generations)
        done.set()
        for caller in asking:
            caller.result()
        # Generations that nobody uses any more are not kept.
        until(lambda: len(list(shared.iterdir())) == 1)
    assert not failed
    assert not mixed
    assert set(generations) == {1, 2, 3, 4}


def test_change_is_seen_by_calls_of_every_front(tmp_path) -> None:
    toy = toys_in(tmp_path)()
    with running(Supervisor(settings(toy, writable=True), open_embedder=open_network)) as served:
        secret = local_secret.find(int(served.server.address.rpartition(":")[2]))
        request = by_vector(toy, fields=search_pb2.NeighborFields(keys=True))
        for row in (7, 8):
            deleted = toy.key(int(toy.ids[row]))
            with lookalike.Client(served.server.address, token=secret) as client:
                client.delete(keys=[deleted])
            request.query.CopyFrom(by_vector(toy, row).query)
            for _ in range(CONNECTIONS):
                reply = search_pb2.SearchResponse.FromString(served.call("Search", request))
                assert deleted not in reply.neighbors.keys


def test_change_at_another_server_is_visible_at_every_front(tmp_path) -> None:
    toy = toys_in(tmp_path)(clusters=4)
    writer = App(settings(toy, writable=True, fronts=1), open_embedder=open_network)
    follower = Supervisor(settings(toy), open_embedder=open_network)
    with running(writer) as writes, running(follower) as served:
        deleted = toy.key(int(toy.ids[7]))
        search = by_vector(toy, fields=search_pb2.NeighborFields(keys=True))
        member = cluster_pb2.GetMembershipRequest(query=types_pb2.QueryBatch(keys=types_pb2.Keys(values=[deleted])))
        assert deleted in search_pb2.SearchResponse.FromString(served.call("Search", search)).neighbors.keys
        secret = local_secret.find(int(writer.address.rpartition(":")[2]))
        with lookalike.Client(writes.server.address, token=secret) as client:
            sequence = client.delete(keys=[deleted]).sequence
        search.after_sequence = sequence
        until(lambda: code_of(served, search) is grpc.StatusCode.OK)
        search.after_sequence = 0
        for channel in served.channels:
            reply = search_pb2.SearchResponse.FromString(served.call("Search", search, channel))
            assert reply.served.sequence == sequence
            assert deleted not in reply.neighbors.keys
            with pytest.raises(grpc.RpcError) as caught:
                served.call("GetMembership", member, channel)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_limits_count_over_all_fronts(toy) -> None:
    limits = Limits(max_peer_calls=4, max_peer_streams=3, max_streams=3)
    with running(Supervisor(settings(toy, limits=limits), open_embedder=open_network)) as served:
        watches = []
        codes = []
        for channel in served.channels:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=LONG_S)
            try:
                next(watch)
                watches.append(watch)
            except grpc.RpcError as error:
                codes.append(error.code())
        assert len(watches) == 3
        assert set(codes) == {EXHAUSTED}
        for watch in watches:
            watch.cancel()
        with ThreadPoolExecutor(CONNECTIONS) as callers:
            with held(toy):
                calls = [callers.submit(code_of, served, by_picture(), channel) for channel in served.channels]
                until(lambda: sum(call.done() for call in calls) == CONNECTIONS - 4)
                for request in (by_vector(toy), search_pb2.SearchRequest(query=queries(toy)["keys"], k=5)):
                    assert {code_of(served, request, channel) for channel in served.channels} == {EXHAUSTED}
            told = [call.result() for call in calls]
        assert told.count(grpc.StatusCode.OK) == 4
        assert told.count(EXHAUSTED) == CONNECTIONS - 4


def code_of(served: Running, request: Any, channel: grpc.Channel | None = None, **more: Any) -> grpc.StatusCode:
    try:
        served.call("Search", request, channel, **more)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_several_collections_by_tls_with_limited_tokens(tmp_path, certificates) -> None:
    make = toys_in(tmp_path)
    pictures, flowers = make(name="pictures"), make(name="flowers")
    digests = tmp_path / "tokens"
    ours = [made_token(digests, "all"), made_token(digests, "garden", "flowers")]
    chosen = (CollectionSettings(str(pictures.root), "pictures"), CollectionSettings(str(flowers.root), "flowers"))
    pair: Pair = certificates("old").put(tmp_path)
    listen = Listen("localhost", 0, pair.cert, pair.key, tokens=digests)
    server = Supervisor(settings(pictures, listen=listen, collections=chosen))
    with running(server, pair.cert) as served:

        def ask(secret: str, **more: Any) -> set[str]:
            """Return the outcome of a call on all connections, and so of each front."""
            metadata = [("authorization", f"Bearer {secret}")]
            found = set()
            for channel in served.channels:
                try:
                    request = by_vector(pictures, **more)
                    data = served.call("Search", request, channel, metadata=metadata, wait_for_ready=True)
                    found.add(search_pb2.SearchResponse.FromString(data).served.collection)
                except grpc.RpcError as error:
                    found.add(error.code().name)
            return found

        assert [ask(one) for one in ("", *ours)] == [{"UNAUTHENTICATED"}, {"pictures"}, {"flowers"}]
        assert [ask(one, collection="pictures") for one in ours] == [{"pictures"}, {"PERMISSION_DENIED"}]
        assert ask(ours[0], collection="trees") == {"NOT_FOUND"}
        assert all(connections(front.pid) for front in server.fronts)
        # Each front rejects a revoked token with the next call, and so a certificate.
        digests.write_text("".join(line for line in digests.read_text().splitlines(True) if "garden" in line))
        assert [ask(one) for one in ours] == [{"UNAUTHENTICATED"}, {"flowers"}]
        with served.connect() as old:
            certificates("new").put(tmp_path)
            assert code_of(served, by_vector(pictures), old, timeout=5) is UNAVAILABLE
        for _ in range(CONNECTIONS):
            with served.connect() as new:
                assert code_of(served, by_vector(pictures), new, wait_for_ready=True) is UNAUTHENTICATED


def made_token(digests: Path, name: str, *collections: str) -> str:
    made, line = new_token(name, "read", collections)
    with digests.open("a") as file:
        file.write(f"{line}\n")
    return made


def test_missing_collection_has_a_one_sentence_error(tmp_path) -> None:
    with pytest.raises(NotFoundError):
        asyncio.run(Supervisor(ServeSettings(str(tmp_path), Listen(port=0), fronts=2)).start())


def _runs(process: psutil.Process) -> bool:
    """Return True if a process runs, except for multiprocessing's resource tracker."""
    try:
        return "tracker" not in str(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def test_failed_front_ends_the_others_with_its_error(toy, tmp_path) -> None:
    tokens = tmp_path / "tokens"
    tokens.touch()
    before = psutil.Process().children()
    server = Supervisor(settings(toy, listen=Listen(port=0, tokens=tokens)), open_embedder=open_network)
    with pytest.raises(UsageError, match="contains no token"):
        asyncio.run(server.start())
    assert not [one for one in psutil.Process().children() if one not in before and _runs(one)]


class TestCommand:
    """`lookalike serve --fronts 2` as users run it."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_no_process_outlives_its_parent(self, toy, number, tmp_path) -> None:
        command = [sys.executable, "-m", "lookalike", "serve", str(toy.root), "--fronts", "2", "--port", "0"]
        with (tmp_path / "log").open("w") as log, ExitStack() as stack:
            process = subprocess.Popen([*command, "--log-calls"], stdout=subprocess.PIPE, stderr=log, text=True)
            stack.callback(process.communicate)
            stack.callback(process.kill)
            address = process.stdout.readline().split(" on ")[1].split(": ")[0]
            with lookalike.Client(address) as client:
                client.search(vector=toy.vectors[7], k=3)
            family = psutil.Process(process.pid).children(recursive=True)
            assert len(family) >= 3
            process.send_signal(number)
            assert process.wait(LONG_S) == (0 if number is signal.SIGTERM else -signal.SIGKILL)
            _, alive = psutil.wait_procs(family, LONG_S)
            assert not alive
        lines = (tmp_path / "log").read_text()
        assert re.search(r" INFO \[engine process\] .*: loaded generation 1 of toys", lines)
        assert re.search(r" \[front [01]\] lookalike_server.calls: lookalike.v1.SearchService/Search OK in ", lines)
        assert "Traceback" not in lines


def test_auto_leaves_processors_to_searches() -> None:
    assert [automatic_fronts(False, there) for there in (1, 2, 3, 4, 8, 16, 64)] == [1, 1, 1, 1, 3, 7, 31]
    assert [automatic_fronts(True, there) for there in (2, 4, 16)] == [1, 2, 14]


def test_port_can_be_shared_only_by_processes_of_one_server() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(IndexerError, match="in use"):
            asyncio.run(Supervisor(ServeSettings("nowhere", Listen(port=port), fronts=2)).start())
