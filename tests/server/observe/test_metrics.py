from __future__ import annotations

import asyncio
import http.client
import re
import socket
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lookalike.v1 import collection_pb2, search_pb2, types_pb2
from lookalike_indexer.errors import IndexerError, UsageError
from lookalike_server.common.call_record import CallRecord, Stage
from lookalike_server.common.limits import Limits
from lookalike_server.common.observe_settings import ObserveSettings
from lookalike_server.common.settings import CollectionSettings, Listen
from lookalike_server.observe.exposition import MetricsPort
from lookalike_server.observe.metrics import Metrics
from lookalike_server.placement.searcher import OnDevice
from lookalike_server.transport.tokens import ROLES, new_token

ON = ObserveSettings(metrics_port=0)
SEARCH = "lookalike.v1.SearchService/Search"
DOCS = Path(__file__).resolve().parents[3] / "docs" / "observability.md"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


async def samples(served: Any) -> Samples:
    text = await asyncio.to_thread(scrape, served.app.metrics_port)
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


async def test_calls_are_counted_by_rpc_and_code_and_refusals_by_cause(make_toy, serve, by_vector) -> None:
    toy = make_toy()
    async with serve(toy, observe=ON) as served:
        for _ in range(3):
            await served.neighbors(by_vector(toy.vectors[:2]), 3)
        for query, k in ((by_vector(toy.vectors[:1, :5]), 3), (by_vector(toy.vectors[:1]), 0)):
            with pytest.raises(grpc.aio.AioRpcError):
                await served.neighbors(query, k)
        with pytest.raises(grpc.aio.AioRpcError):
            await served.collection.GetImages(
                collection_pb2.GetImagesRequest(keys=types_pb2.Keys(values=["a key of a caller's"]))
            )
        found = await samples(served)
        text = await asyncio.to_thread(scrape, served.app.metrics_port)
    assert value(found, "lookalike_call_seconds_count", rpc=SEARCH, code="OK") == 3
    assert value(found, "lookalike_call_seconds_count", rpc=SEARCH, code="INVALID_ARGUMENT") == 2
    assert 0 < value(found, "lookalike_call_seconds_sum", rpc=SEARCH, code="OK") < 60
    assert value(found, "lookalike_rejected_total", cause="ARGUMENT") == 2
    assert value(found, "lookalike_rejected_total", cause="NOT_FOUND") == 1
    assert value(found, "lookalike_batch_size_sum", lane="search") == 6
    assert value(found, "lookalike_queue_wait_seconds_count", lane="search") == 3
    for stage in ("search", "lookup"):
        assert value(found, "lookalike_stage_seconds_count", stage=stage) == 3
    assert "caller's" not in text
    assert "collection=" not in text


async def test_of_several_collections_each_has_its_label(make_toy, tmp_path, serve, by_vector) -> None:
    toy = make_toy(name="pictures", index="IVF8,Flat")
    folders = {"pictures": toy.root, "flowers": make_toy(name="s", index="IVF8,Flat").root, "gone": tmp_path / "gone"}
    collections = tuple(CollectionSettings(str(root), name) for name, root in folders.items())
    observe = ObserveSettings(metrics_port=0, audit_share=1.0)
    async with serve(toy, observe=observe, collections=collections) as served:
        for name in ("flowers", "flowers", ""):
            await served.neighbors(by_vector(toy.vectors[:2]), 3, collection=name)
        for name, code in (("gone", "UNAVAILABLE"), ("no such", "NOT_FOUND")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.neighbors(by_vector(toy.vectors[:2]), 3, collection=name)
            assert caught.value.code().name == code
        for one in served.app.collections:
            assert one.audit is None or await asyncio.to_thread(one.audit.wait_until_done, 60)
        found = await samples(served)
        text = await asyncio.to_thread(scrape, served.app.metrics_port)
    for name, calls in (("flowers", 2), ("pictures", 1)):
        assert value(found, "lookalike_call_seconds_count", rpc=SEARCH, code="OK", collection=name) == calls
        assert value(found, "lookalike_batch_size_sum", lane="search", collection=name) == 2 * calls
        assert value(found, "lookalike_stage_seconds_count", stage="search", collection=name) == calls
        assert value(found, "lookalike_recall_audits_total", outcome="searched", collection=name) == calls
        assert (
            value(found, "lookalike_recall_queries", space="tiny", effort="default", filtered="false", collection=name)
            == calls
        )
        assert value(found, "lookalike_generation", collection=name) == 1
        assert value(found, "lookalike_queue_length", lane="search", collection=name) == 0
    assert value(found, "lookalike_rejected_total", cause="DEVICE", collection="gone") == 1
    assert value(found, "lookalike_rejected_total", cause="NOT_FOUND", collection="") == 1
    assert value(found, "lookalike_generations_held", collection="gone") == 0
    assert value(found, "lookalike_queue_length", lane="workers", collection="") == 0
    assert "no such" not in text


async def test_expired_and_canceled_calls_are_counted_separately(make_toy, serve, by_vector, monkeypatch) -> None:
    toy = make_toy()
    go = threading.Event()
    search = OnDevice.search

    def waits(self: OnDevice, *arguments: Any) -> Any:
        assert go.wait(60)
        return search(self, *arguments)

    monkeypatch.setattr(OnDevice, "search", waits)
    async with serve(toy, observe=ON) as served:
        request = search_pb2.SearchRequest(query=by_vector(toy.vectors[:1]), k=3)
        left = [served.search.Search(request, timeout=600), served.search.Search(request)]
        async with asyncio.timeout(60):
            while value(await samples(served), "lookalike_calls_in_flight") < 2:
                await asyncio.sleep(0.02)
        for call in left:
            call.cancel()
        late = [served.search.Search(request, timeout=3) for _ in range(4)]
        codes = await asyncio.gather(*[call.code() for call in late])
        assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED}
        async with asyncio.timeout(60):
            while value(found := await samples(served), "lookalike_calls_in_flight"):
                await asyncio.sleep(0.02)
        go.set()
    assert value(found, "lookalike_call_seconds_count", rpc=SEARCH, code="DEADLINE_EXCEEDED") == 4
    assert value(found, "lookalike_call_seconds_count", rpc=SEARCH, code="CANCELLED") == 2
    assert value(found, "lookalike_rejected_total", cause="DEADLINE_EXCEEDED") == 4


async def test_unknown_methods_are_counted_under_one_name(make_toy, serve, tmp_path) -> None:
    async with serve(make_toy(), observe=ON) as served:
        methods = [f"/lookalike.v1.SearchService/Made{number}" for number in range(20)] + ["/x", "/a.b/c", "/unknown"]
        for method in methods:
            with pytest.raises(grpc.aio.AioRpcError, match="has no such method") as caught:
                await served.channel.unary_unary(method)(b"x" * 1000)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await served.channel.stream_stream("/a.b/stream")().code() is grpc.StatusCode.UNIMPLEMENTED
        found = await samples(served)
        text = await asyncio.to_thread(scrape, served.app.metrics_port)
    assert value(found, "lookalike_call_seconds_count", rpc="unknown", code="UNIMPLEMENTED") == len(methods) + 1
    assert value(found, "lookalike_rejected_total", cause="UNKNOWN_METHOD") == len(methods) + 1
    assert "Made" not in text
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{new_token('shop', 'read')[1]}\n")
    async with serve(make_toy(), observe=ON, listen=Listen(port=0, tokens=tokens)) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.channel.unary_unary("/a.b/c")(b"")
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED, "strangers are told nothing"


async def test_gauges_tell_what_is_served_now(make_toy, serve) -> None:
    toy = make_toy(index="IVF8,Flat")
    async with serve(toy, observe=ON) as served:
        found = await samples(served)
        assert value(found, "lookalike_generation") == 1
        assert value(found, "lookalike_images") == 501
        assert value(found, "lookalike_index_rows", space="tiny", index="main") == 500
        assert value(found, "lookalike_index_bytes", space="tiny", index="main") > 500 * 16 * 4
        assert value(found, "lookalike_calls_in_flight") == 0
        assert value(found, "process_resident_memory_bytes") > 1 << 20
        make_toy(index="IVF8,Flat")
        served.app.reload()
        async with asyncio.timeout(60):
            while value(await samples(served), "lookalike_generation") != 2:
                await asyncio.sleep(0.02)


async def test_images_are_timed_by_step(make_toy, serve, make_embedder) -> None:
    toy = make_toy()
    async with serve(toy, observe=ON, open_embedder=lambda reader, space: make_embedder(toy)) as served:
        await served.neighbors(types_pb2.QueryBatch(images=types_pb2.Images(data=[b"7", b"8"])), 1)
        await served.neighbors(types_pb2.QueryBatch(ids=types_pb2.Ids(values=[5])), 1)
        found = await samples(served)
    for stage in ("decode", "embed", "read"):
        assert value(found, "lookalike_stage_seconds_count", stage=stage) == 1
    assert value(found, "lookalike_batch_size_sum", lane="embedding") == 2


async def test_queues_are_measured_while_they_are_full(make_toy, serve, by_vector, monkeypatch) -> None:
    toy = make_toy()
    go = threading.Event()
    search = OnDevice.search

    def waits(self: OnDevice, *arguments: Any) -> Any:
        assert go.wait(60)
        return search(self, *arguments)

    monkeypatch.setattr(OnDevice, "search", waits)
    async with serve(toy, observe=ON, limits=Limits(max_queue=3, max_batch=2)) as served:
        calls = [asyncio.ensure_future(served.neighbors(by_vector(toy.vectors[:1]), 3)) for _ in range(12)]
        async with asyncio.timeout(60):
            while value(found := await samples(served), "lookalike_queue_length", lane="search") < 3:
                await asyncio.sleep(0.02)
        assert value(found, "lookalike_calls_in_flight") >= 3
        go.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        refused = sum(isinstance(one, grpc.aio.AioRpcError) for one in outcomes)
        found = await samples(served)
    assert refused == value(found, "lookalike_rejected_total", cause="OVERLOADED") > 0
    assert value(found, "lookalike_queue_length", lane="search") == 0


async def test_other_machines_need_a_token_where_there_are_tokens(make_toy, serve, tmp_path) -> None:
    made = {role: new_token(role, role) for role in ROLES}
    file = tmp_path / "tokens"
    file.write_text("".join(f"{line}\n" for _, line in made.values()))
    for host, asked in (("0.0.0.0", True), ("127.0.0.1", False)):
        settings = ObserveSettings(metrics_port=0, metrics_host=host)
        async with serve(make_toy(), observe=settings, listen=Listen(port=0, tokens=file)) as served:
            port = served.app.metrics_port
            for given in ("", "Bearer x", f"Basic {made['read'][0]}"):
                status = await asyncio.to_thread(status_of, port, given)
                assert status == (401 if asked else 200), (host, given)
            for token, _ in made.values():
                assert await asyncio.to_thread(status_of, port, f"Bearer {token}") == 200
            with pytest.raises(grpc.aio.AioRpcError, match="token of metrics has the role metrics") as caught:
                await served.collection.GetCollection(
                    collection_pb2.GetCollectionRequest(),
                    metadata=(("authorization", f"Bearer {made['metrics'][0]}"),),
                )
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def status_of(port: int, authorization: str) -> int:
    """Return the status of a scrape."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": authorization} if authorization else {})
        return connection.getresponse().status
    finally:
        connection.close()


async def test_without_a_port_nothing_listens(make_toy, serve) -> None:
    async with serve(make_toy()) as served:
        assert served.app.metrics_port is None


async def test_used_port_is_reported(make_toy, serve) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = ObserveSettings(metrics_port=taken.getsockname()[1])
        with pytest.raises(IndexerError, match=r"metrics cannot be served on 127.0.0.1:\d+ \(address already in use\)"):
            async with serve(make_toy(), observe=settings):
                pass


def test_closing_frees_the_port_while_a_connection_says_nothing() -> None:
    port = MetricsPort("127.0.0.1", 0, Metrics().registry)
    with socket.create_connection(("127.0.0.1", port.port)):
        assert "lookalike_call_seconds" in scrape(port.port)
        port.close()
    MetricsPort("127.0.0.1", port.port, Metrics().registry).close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics_port": 70000}, "--metrics-port 70000 is not a port"),
        ({"metrics_port": 0, "audit_share": 1.5}, "--audit-share 1.5 is out of range"),
        ({"audit_share": 0.5}, "--audit-share needs --metrics-port"),
    ],
)
def test_invalid_settings_are_reported(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ObserveSettings(**settings)


def test_two_servers_in_one_process_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.ended(CallRecord("a", "1", stages=[Stage("search", 0.0, 0.5)], seconds=1.0))
    labels = {"rpc": "a", "code": "OK"}
    assert one.registry.get_sample_value("lookalike_call_seconds_sum", labels) == 1.0
    assert two.registry.get_sample_value("lookalike_call_seconds_sum", labels) is None


async def test_documented_metrics_equal_existing_metrics(make_toy, serve) -> None:
    async with serve(make_toy(), observe=ObserveSettings(metrics_port=0, audit_share=0.5)) as served:
        text = await asyncio.to_thread(scrape, served.app.metrics_port)
    there = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text)
        if family.name.startswith("lookalike_") and not family.name.endswith("_created")
    }
    documented = set(re.findall(r"^\| `(lookalike_\w+)`", DOCS.read_text(), re.MULTILINE))
    assert there == documented
    assert len(there) >= 15
