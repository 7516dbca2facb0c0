"""The log of rejected callers and of admin calls, and the caller's name in all lines of a call."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import stat
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2_grpc

from lookalike.v1 import collection_pb2, server_pb2
from lookalike_indexer.errors import UsageError
from lookalike_server.common.log_once import LogOnce
from lookalike_server.common.observe_settings import ObserveSettings
from lookalike_server.common.settings import Listen
from lookalike_server.observe import security
from lookalike_server.observe.logs import CALLS, JsonFormatter, TextFormatter
from lookalike_server.observe.security import SECURITY
from lookalike_server.transport.tokens import new_token

RELOAD = "lookalike.v1.ServerService/Reload"
DESCRIBE = "lookalike.v1.CollectionService/GetCollection"


class Lines(logging.Handler):
    """The lines of the log as JSON objects and as text."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[tuple[str, str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        # Immediately, as in a server: the call is known while its lines are written.
        self._written.append((record.name, JsonFormatter().format(record), TextFormatter().format(record)))

    def of(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for logger, line, _ in self._written if logger == name]

    def text(self, name: str) -> list[str]:
        return [line for logger, _, line in self._written if logger == name]

    def everything(self) -> str:
        return "".join(f"{one}{other}" for _, one, other in self._written)


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def test_refused_callers_and_admin_calls_are_logged_with_their_names(make_toy, serve, tmp_path, lines) -> None:
    (reader, read_line), (admin, admin_line) = new_token("shop", "read"), new_token("ops", "admin")
    file = tmp_path / "tokens"
    file.write_text(f"{read_line}\n{admin_line}\n")
    async with serve(make_toy(), listen=Listen(port=0, tokens=file)) as served:
        reload, describe = served.server.Reload, served.collection.GetCollection
        await reload(server_pb2.ReloadRequest(), metadata=bearer(admin))
        await describe(collection_pb2.GetCollectionRequest(), metadata=bearer(reader))
        for _ in range(50):
            with pytest.raises(grpc.aio.AioRpcError):
                await describe(collection_pb2.GetCollectionRequest(), metadata=bearer("SECRETGUESS"))
        with pytest.raises(grpc.aio.AioRpcError):
            await reload(server_pb2.ReloadRequest(), metadata=bearer(reader))
        asked = reflection_pb2_grpc.ServerReflectionStub(served.channel).ServerReflectionInfo()
        assert await asked.code() is grpc.StatusCode.UNAUTHENTICATED
    found = lines.of(SECURITY)
    kept = ("event", "rpc", "caller", "host", "code", "more", "level")
    assert [{name: line[name] for name in kept if name in line} for line in found] == [
        {"event": "admin_call", "rpc": RELOAD, "caller": "ops", "host": "127.0.0.1", "code": "OK", "level": "INFO"},
        {"event": "authentication_failed", "rpc": DESCRIBE, "caller": "", "host": "127.0.0.1", "level": "WARNING"},
        {"event": "permission_denied", "rpc": RELOAD, "caller": "shop", "host": "127.0.0.1", "level": "WARNING"},
        {
            "event": "authentication_failed",
            "rpc": "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            "caller": "",
            "host": "127.0.0.1",
            "level": "WARNING",
        },
        {
            "event": "authentication_failed",
            "rpc": DESCRIBE,
            "caller": "",
            "host": "127.0.0.1",
            "more": 49,
            "level": "WARNING",
        },
    ]
    assert all(len(line["request_id"]) == 16 for line in found[:-1])
    assert lines.text(SECURITY)[2].partition(": ")[2].startswith(f"not allowed: {RELOAD} by shop from 127.0.0.1 [")
    for secret in ("SECRETGUESS", reader, admin):
        assert secret not in lines.everything()


async def test_admin_call_that_fails_is_logged_with_its_code(make_toy, serve, lines) -> None:
    toy = make_toy()
    # No watcher sees a generation whose files are not there yet.
    async with serve(toy, watch=3600) as served:
        make_toy()
        index = sorted(path for path in (toy.root / "indexes").rglob("*") if path.is_file())[-1]
        index.write_bytes(b"damaged")
        with pytest.raises(grpc.aio.AioRpcError):
            await served.server.Reload(server_pb2.ReloadRequest())
    (line,) = lines.of(SECURITY)
    assert (line["event"], line["caller"], line["code"]) == ("admin_call", "local user", "DATA_LOSS")


async def test_readers_of_the_measurements_are_logged_when_they_are_rejected(make_toy, serve, tmp_path, lines) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{new_token('shop', 'read')[1]}\n")
    measured = ObserveSettings(metrics_port=0, metrics_host="0.0.0.0")
    async with serve(make_toy(), observe=measured, listen=Listen(port=0, tokens=file)) as served:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.app.metrics_port)
            writer.write(b"GET /metrics HTTP/1.0\r\nAuthorization: Bearer SECRETGUESS\r\n\r\n")
            assert (await reader.readline()).split()[1] == b"401"
            writer.close()
    found = [(line["event"], line["rpc"], line["host"], line.get("more")) for line in lines.of(SECURITY)]
    refused = ("authentication_failed", "metrics", "127.0.0.1")
    assert found == [(*refused, None), (*refused, 2)]
    assert "SECRETGUESS" not in lines.everything()


async def test_every_line_of_a_call_names_the_caller(make_toy, serve, tmp_path, lines) -> None:
    reader, read_line = new_token("shop", "read")
    file = tmp_path / "tokens"
    file.write_text(f"{read_line}\n")
    logged = ObserveSettings(log_calls=True)
    for tokens, metadata, caller in ((file, bearer(reader), "shop"), (None, (), "127.0.0.1"), (file, (), "127.0.0.1")):
        async with serve(make_toy(), observe=logged, listen=Listen(port=0, tokens=tokens)) as served:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await served.collection.GetCollection(collection_pb2.GetCollectionRequest(), metadata=metadata)
        line = lines.of(CALLS)[-1]
        assert (line["rpc"], line["caller"]) == (DESCRIBE, caller)
        assert lines.text(CALLS)[-1].endswith(f"[{line['request_id']} {caller}]")


def test_log_file_is_private_and_can_be_moved(tmp_path) -> None:
    file = tmp_path / "security.log"
    log = logging.getLogger(SECURITY)
    before = list(log.handlers)
    try:
        security.keep_in(file)
        log.warning("one")
        file.rename(tmp_path / "security.log.1")
        log.warning("two")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [json.loads(line)["message"] for line in file.read_text().splitlines()] == ["two"]
        with pytest.raises(UsageError, match=r"--security-log .*gone/log cannot be written: no such file"):
            security.keep_in(tmp_path / "gone" / "log")
    finally:
        for handler in set(log.handlers) - set(before):
            log.removeHandler(handler)
            handler.close()


def test_repeated_log_messages_take_bounded_memory(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr("lookalike_server.common.log_once.time.monotonic", lambda: now[0])
    repeats: LogOnce[int] = LogOnce(10)
    assert [repeats.quiet(1) for _ in range(3)] == [0, None, None]
    assert list(repeats.over()) == []
    now[0] = 11
    assert repeats.quiet(1) == 2
    now[0] = 22
    assert list(repeats.over()) == []
    assert [repeats.quiet(2) for _ in range(2)] == [0, None]
    assert list(repeats.over(all_of_them=True)) == [(2, 1)]
    for number in range(5000):
        repeats.quiet(number)
    assert len(repeats._said) <= 1024
