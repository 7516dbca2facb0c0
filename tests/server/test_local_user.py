"""Servers without tokens: only the user who runs one may change what it serves, though others reach loopback."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

import lookalike
from lookalike import local_secret
from lookalike.v1 import server_pb2, server_pb2_grpc
from lookalike_server.transport.access import ADMIN


@pytest.fixture
def runtime(tmp_path, monkeypatch) -> Path:
    """The runtime directory of the user who runs servers here."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return folder


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@asynccontextmanager
async def proxied(address: str) -> AsyncIterator[str]:
    """Connect another process to a server, such as a proxy on the same machine; yield the proxy's address."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", port_of(address))
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer), return_exceptions=True)

    proxy = await asyncio.start_server(connect, "127.0.0.1", 0)
    yield f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    proxy.close()


async def reload_by_stub(address: str, *metadata: tuple[str, str]) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = server_pb2_grpc.ServerServiceStub(channel)
        return (await stub.Reload(server_pb2.ReloadRequest(), metadata=metadata)).generation


async def test_only_commands_of_the_server_user_can_reload(make_toy, serve, runtime, lookalike) -> None:
    toy = make_toy()
    async with serve(toy, watch=600) as served:
        make_toy(np.eye(16, dtype=np.float32))
        for metadata in ((), (("authorization", "Bearer x"),), (("authorization", f"Bearer {'x' * 43}"),)):
            with pytest.raises(
                grpc.aio.AioRpcError, match="Only the user who runs the server may call Reload"
            ) as caught:
                await reload_by_stub(served.app.address, *metadata)
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert served.app.current.snapshot.generation == 1
        done = await asyncio.to_thread(lookalike, "reload", "--server", served.app.address)
        assert done.stdout == "generation 2 is served\n", done.stderr
        file = runtime / "lookalike" / f"serve-{port_of(served.app.address)}.token"
        # It is an ordinary token file.
        done = await asyncio.to_thread(
            lookalike, "reload", "--server", served.app.address, "--token-file", file, XDG_RUNTIME_DIR=""
        )
        assert done.stdout == "generation 2 is served\n", done.stderr
    assert {"/lookalike.v1.ServerService/Reload"} == ADMIN


async def test_both_clients_reload(make_toy, serve, runtime) -> None:
    async with serve(make_toy()) as served:
        async with lookalike.aio.Client(served.app.address) as client:
            assert await client.reload() == 1
        with lookalike.Client(served.app.address) as plain:
            assert await asyncio.to_thread(plain.reload) == 1
        other = lookalike.Client(served.app.address, token="x" * 43)
        with other, pytest.raises(lookalike.AuthenticationError):
            await asyncio.to_thread(other.reload)


async def test_caller_behind_a_proxy_on_this_machine_may_read_and_not_reload(make_toy, serve, runtime) -> None:
    async with (
        serve(make_toy()) as served,
        proxied(served.app.address) as address,
        lookalike.aio.Client(address) as client,
    ):
        assert (await client.info()).generation == 1
        with pytest.raises(lookalike.AuthenticationError, match="Only the user who runs the server"):
            await client.reload()


async def test_secret_is_private_and_goes_with_the_server(make_toy, serve, runtime) -> None:
    async with serve(make_toy()) as served:
        port = port_of(served.app.address)
        secret = local_secret.find(port)
        file = runtime / "lookalike" / f"serve-{port}.token"
        assert secret is not None
        assert len(secret) >= 43
        assert file.read_text() == secret
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert local_secret.find(port) is None
    assert list(file.parent.iterdir()) == []


async def test_server_without_a_secret_file_serves_and_warns(make_toy, serve, runtime, monkeypatch, caplog) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(runtime))
    (runtime / "lookalike").mkdir(mode=0o755)
    (runtime / f"lookalike-{os.geteuid()}").symlink_to(runtime)
    async with serve(make_toy()) as served:
        assert "send SIGHUP instead" in caplog.text
        with pytest.raises(grpc.aio.AioRpcError, match="Only the user who runs the server may call"):
            await reload_by_stub(served.app.address)


def test_relative_runtime_directory_is_not_used(runtime, monkeypatch) -> None:
    monkeypatch.chdir(runtime)
    monkeypatch.setenv("XDG_RUNTIME_DIR", ".")
    file = local_secret.write(7, "secret")
    assert file.parent == runtime.parent / f"lookalike-{os.geteuid()}"
    assert local_secret.find(7) == "secret"
    assert list(runtime.iterdir()) == []


def test_secret_file_writable_by_others_is_ignored(runtime) -> None:
    file = local_secret.write(7, "secret")
    assert local_secret.find(7) == "secret"
    file.chmod(0o644)
    assert local_secret.find(7) is None
    file.unlink()
    (runtime / "elsewhere").write_text("secret")
    (runtime / "elsewhere").chmod(0o600)
    file.symlink_to(runtime / "elsewhere")
    assert local_secret.find(7) is None
    file.unlink()
    os.mkfifo(file, 0o600)
    assert local_secret.find(7) is None, "and nobody waits for who writes into it"
    file.unlink()
    local_secret.write(7, "first")
    local_secret.remove(local_secret.write(7, "second"), "first")
    assert local_secret.find(7) == "second", "that of another server stays"
