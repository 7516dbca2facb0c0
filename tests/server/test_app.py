from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.patience import PATIENT_LIMITS

from lookalike.v1 import server_pb2, types_pb2
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DataLossError, IndexerError, NotFoundError, UsageError
from lookalike_server.app import App
from lookalike_server.commands.explorer_process import check_explorer
from lookalike_server.common.limits import Limits
from lookalike_server.common.observe_settings import ObserveSettings
from lookalike_server.common.settings import Listen, ServeSettings
from lookalike_server.transport.health import EMBEDDING
from lookalike_server.transport.service_table import EXPERIMENTING, SERVICES, SHARDED

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class TestServerInfo:
    async def test_reports_limits_threads_and_devices(self, make_toy, serve, make_embedder) -> None:
        toy = make_toy()
        limits = Limits(max_k=99, max_queue=7, **PATIENT_LIMITS)
        async with serve(toy, limits=limits, open_embedder=lambda reader, space: make_embedder(toy)) as served:
            info = await served.server.GetServerInfo(server_pb2.GetServerInfoRequest())
        assert (info.collection, info.generation, info.placement, list(info.devices)) == ("toys", 1, "cpu", ["cpu"])
        assert info.version
        assert info.search_threads >= 1
        assert info.embed_threads >= 1
        assert (info.image_queries, info.image_query_problem) == (True, "")
        for field in server_pb2.Limits.DESCRIPTOR.fields:
            assert getattr(info.limits, field.name) == getattr(limits, field.name), field.name

    async def test_reports_why_images_cannot_be_embedded(self, make_toy, serve) -> None:
        async with serve(make_toy()) as served:
            info = await served.server.GetServerInfo(server_pb2.GetServerInfoRequest())
        assert info.image_queries is False
        assert info.image_query_problem == "The weights are not here; put them there."


class TestHealth:
    async def test_everything_serves_and_unknown_names_do_not(self, make_toy, serve) -> None:
        async with serve(make_toy()) as served:
            stub = health_pb2_grpc.HealthStub(served.channel)
            for name in ("", "toys", *SERVICES):
                status = (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status
                assert (status == SERVING) == (name != SHARDED), name
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Check(health_pb2.HealthCheckRequest(service="other"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND

    @pytest.mark.parametrize("name", [EMBEDDING, "lookalike.v1.SearchService", EXPERIMENTING])
    async def test_collection_named_like_a_health_service_does_not_shadow_it(
        self, make_toy, serve, caplog, name
    ) -> None:
        with caplog.at_level(logging.INFO):
            async with serve(make_toy(name=name), watch=0.01) as served:
                stub = health_pb2_grpc.HealthStub(served.channel)
                # Without a network, whatever the collection is.
                expected = NOT_SERVING if name == EMBEDDING else SERVING
                for _ in range(20):
                    assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == expected
                    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING
                    await asyncio.sleep(0.02)
        told = [line.message for line in caplog.records if line.name == "lookalike_server.transport.health"]
        assert [message for message in told if message != "health of verified: serving"] == [
            f"the health of the collection {name} is published only under the empty name: {name} is in use"
        ]

    async def test_open_network_is_no_warning(self, make_toy, serve, make_embedder, caplog) -> None:
        toy = make_toy()
        with caplog.at_level(logging.INFO):
            async with serve(toy, open_embedder=lambda reader, space: make_embedder(toy)) as served:
                async with asyncio.timeout(60):
                    while "health of embedding" not in caplog.text:
                        await asyncio.sleep(0.02)
                assert served.app.current.snapshot.generation == 1
        told = [(line.levelname, line.message) for line in caplog.records if line.message.startswith("health of")]
        assert next(one for one in told if "verified" not in one[1]) == ("INFO", "health of embedding: serving")

    async def test_watcher_is_notified_of_the_end_without_delaying_shutdown(self, make_toy, serve) -> None:
        async with serve(make_toy()) as served:
            stub = health_pb2_grpc.HealthStub(served.channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest(service="toys"))
            assert (await watch.read()).status == SERVING
            # Far less than the grace period.
            async with asyncio.timeout(30):
                stopping = asyncio.ensure_future(served.app.stop(grace=3600))
                assert (await watch.read()).status == NOT_SERVING
                await stopping


async def test_grpc_is_stopped_once_and_after_the_grace(make_toy, serve, monkeypatch) -> None:
    """Two overlapping stops of gRPC crash the process (docs/reliability-evidence.md)."""
    begun: list[float | None] = []
    under_way = 0

    async with serve(make_toy()) as served:
        stop = served.app._server._server.stop

        async def counted(grace: float | None) -> None:
            nonlocal under_way
            assert under_way == 0
            begun.append(grace)
            under_way += 1
            await stop(grace)
            under_way -= 1

        monkeypatch.setattr(served.app._server._server, "stop", counted)
        # A watch never ends by itself, and a hung call outlasts any grace period.
        watch = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest(service="toys"))
        assert (await watch.read()).status == SERVING
        idle = asyncio.Event()
        monkeypatch.setattr(served.app._server._in_flight, "wait_idle", idle.wait)
        await served.app.stop(grace=0.1)
        assert begun == [None]
        assert under_way == 0


async def test_second_stop_waits_for_the_first(make_toy, serve, monkeypatch) -> None:
    begun: list[float | None] = []
    async with serve(make_toy()) as served:
        stop = served.app._server._server.stop

        async def counted(grace: float | None) -> None:
            begun.append(grace)
            # The real one, so that a failure is an assertion and no crash.
            if len(begun) == 1:
                await stop(grace)

        monkeypatch.setattr(served.app._server._server, "stop", counted)
        await asyncio.gather(*[served.app.stop(grace=1) for _ in range(3)])
        await served.app.stop()
    assert begun == [None]


async def test_calls_during_shutdown_are_unavailable(make_toy, serve) -> None:
    codes: list[grpc.StatusCode] = []

    async def caller(served: Any) -> None:
        query = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[5]))
        while True:
            try:
                await served.neighbors(query, 3)
            except grpc.aio.AioRpcError as error:
                codes.append(error.code())
                return

    async with serve(make_toy()) as served:
        callers = [asyncio.ensure_future(caller(served)) for _ in range(30)]
        await asyncio.sleep(0.2)
        assert not codes
        await served.app.stop(grace=60)
        await asyncio.gather(*callers)
    # Any other code tells the client not to retry.
    assert codes == [grpc.StatusCode.UNAVAILABLE] * 30


async def test_tls(make_toy, serve, tmp_path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command, *names], check=True, capture_output=True)
    toy = make_toy()
    app = App(ServeSettings(str(toy.root), Listen("localhost", 0, cert, key)))
    await app.start()
    try:
        trusted = grpc.ssl_channel_credentials(cert.read_bytes())
        async with grpc.aio.secure_channel(app.address, trusted) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert (await stub.Check(health_pb2.HealthCheckRequest(service="toys"))).status == SERVING
        async with grpc.aio.insecure_channel(app.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    finally:
        await app.stop(grace=1)


async def test_reflection_lists_the_services(make_toy, serve) -> None:
    async with serve(make_toy()) as served:
        stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
        calls = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        [reply] = [reply async for reply in calls]
    listed = {service.name for service in reply.list_services_response.service}
    assert {*SERVICES, "grpc.health.v1.Health"} <= listed
    assert len(SERVICES) == 8


async def test_reply_over_the_grpc_default_size_arrives(make_toy, serve) -> None:
    toy = make_toy()
    async with serve(toy, limits=Limits(max_unary_bytes=32 << 20)) as served:
        from lookalike.v1 import search_pb2, types_pb2

        query = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[5] * 256))
        fields = search_pb2.NeighborFields(keys=True, labels=True, uris=True)
        request = search_pb2.SearchRequest(query=query, k=499, fields=fields)
        options = [("grpc.max_receive_message_length", Limits().max_message_bytes)]
        async with grpc.aio.insecure_channel(served.app.address, options=options) as channel:
            from lookalike.v1 import search_pb2_grpc

            reply = await search_pb2_grpc.SearchServiceStub(channel).Search(request)
    assert reply.ByteSize() > 4 << 20


class TestRefusals:
    async def start(self, root: object, **listen: object) -> None:
        app = App(ServeSettings(str(root), Listen(**{"port": 0, **listen})))
        await app.start()
        await app.stop()

    async def test_no_collection(self, tmp_path) -> None:
        with pytest.raises(NotFoundError, match="holds no collection"):
            await self.start(tmp_path)

    async def test_corrupt_index_is_data_loss(self, make_toy) -> None:
        toy = make_toy()
        reader = CollectionReader.open(str(toy.root))
        path = reader.storage.local(reader.index().path)
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(DataLossError, match="digest"):
            await self.start(toy.root)

    async def test_missing_and_cut_files_are_data_loss(self, make_toy) -> None:
        toy = make_toy()
        part = next((toy.root / "embeddings" / "tiny").iterdir())
        data = part.read_bytes()
        part.write_bytes(data[:-1])
        with pytest.raises(DataLossError, match="bytes and the manifest says"):
            await self.start(toy.root)
        part.unlink()
        with pytest.raises(DataLossError, match="missing"):
            await self.start(toy.root)

    async def test_port_in_use(self, make_toy, serve) -> None:
        toy = make_toy()
        async with serve(toy) as served:
            port = int(served.app.address.rsplit(":", 1)[1])
            with pytest.raises(IndexerError, match=f"Cannot bind .*{port}: .*in use.*--port"):
                await self.start(toy.root, port=port)

    async def test_foreign_host_is_rejected(self, make_toy) -> None:
        with pytest.raises(IndexerError, match="Cannot bind"):
            await self.start(make_toy().root, host="192.0.2.1", insecure=True)

    def test_other_machines_only_with_tls_or_on_purpose(self, tmp_path) -> None:
        for host in ("0.0.0.0", "::", "example.org", "192.168.1.5"):
            with pytest.raises(UsageError, match="--insecure"):
                Listen(host)
            Listen(host, insecure=True)
            pair = {"tls_cert": tmp_path / "a", "tls_key": tmp_path / "b"}
            for half in (pair, {"tokens": tmp_path / "t"}):
                with pytest.raises(UsageError, match="configure TLS and authentication"):
                    Listen(host, **half)
            Listen(host, **pair, tokens=tmp_path / "t")
            Listen(host, **pair, tls_client_ca=tmp_path / "c")
        for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1"):
            Listen(host)

    def test_measurements_for_other_machines_only_with_a_token_or_on_purpose(self, tmp_path) -> None:
        measured = ObserveSettings(metrics_port=0, metrics_host="0.0.0.0")
        with pytest.raises(UsageError, match=r"--metrics-host 0\.0\.0\.0 accepts remote clients"):
            ServeSettings("x", observe=measured)
        for listen in (Listen(insecure=True), Listen(tokens=tmp_path / "t")):
            ServeSettings("x", listen, observe=measured)
        ServeSettings("x", observe=ObserveSettings(metrics_host="0.0.0.0"))
        for host in ("127.0.0.1", "localhost", "::1"):
            ServeSettings("x", observe=ObserveSettings(metrics_port=0, metrics_host=host))

    def test_contradictory_settings_are_rejected(self, tmp_path) -> None:
        for port in (70000, 999999, -1):
            with pytest.raises(UsageError, match=f"--port {port} is not a port"):
                Listen(port=port)
            with pytest.raises(UsageError, match=f"--metrics-port {port} is not a port"):
                ObserveSettings(metrics_port=port)
            with pytest.raises(UsageError, match=f"--http {port} is not a port"):
                check_explorer(Listen(), port)
        with pytest.raises(UsageError, match=r"--http-name hub\.example\.org opens the page to other machines"):
            check_explorer(Listen(), 0, ["hub.example.org"])
        for listen in (Listen(insecure=True), Listen(tokens=tmp_path / "t")):
            check_explorer(listen, 0, ["hub.example.org"])
        with pytest.raises(UsageError, match="need each other"):
            Listen(tls_cert=tmp_path / "a")
        with pytest.raises(UsageError, match="--tls-client-ca needs"):
            Listen(tls_client_ca=tmp_path / "a")
        with pytest.raises(UsageError, match="--max-peer-calls 0"):
            ServeSettings("x", limits=Limits(max_peer_calls=0))
        with pytest.raises(UsageError, match="--max-queue 0"):
            ServeSettings("x", limits=Limits(max_queue=0))
        with pytest.raises(UsageError, match="--grace -1"):
            ServeSettings("x", grace=-1)
        with pytest.raises(UsageError, match="--grace nan"):
            ServeSettings("x", grace=float("nan"))

    async def test_unusable_tls_files_are_rejected(self, make_toy, tmp_path) -> None:
        toy = make_toy()
        with pytest.raises(UsageError, match="--tls-key"):
            await self.start(toy.root, tls_cert=tmp_path / "no.pem", tls_key=tmp_path / "no.key")
        (tmp_path / "junk.pem").write_text("junk")
        with pytest.raises(UsageError, match=r"junk\.pem are not a certificate and its unencrypted key"):
            await self.start(toy.root, tls_cert=tmp_path / "junk.pem", tls_key=tmp_path / "junk.pem")
