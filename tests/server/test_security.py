"""Authentication by certificates and tokens, on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.server.certificates import Pair

from lookalike.v1 import collection_pb2, collection_pb2_grpc, server_pb2, server_pb2_grpc
from lookalike_indexer.errors import UsageError
from lookalike_server.app import App
from lookalike_server.common.settings import Listen, ServeSettings
from lookalike_server.common.tls_files import TLSFiles
from lookalike_server.transport.access import OPEN
from lookalike_server.transport.service_table import SERVICES
from lookalike_server.transport.tls import credentials
from lookalike_server.transport.tokens import Tokens, new_token

CODE = grpc.StatusCode


Running = Callable[..., AbstractAsyncContextManager[App]]


@pytest.fixture
def running(make_toy: Callable[[], Any]) -> Running:
    """Serve a toy with settings of `Listen`."""

    @asynccontextmanager
    async def run(**listen: Any) -> AsyncIterator[App]:
        app = App(ServeSettings(str(make_toy().root), Listen(**{"host": "localhost", "port": 0, **listen})))
        await app.start()
        try:
            yield app
        finally:
            await app.stop(grace=1)

    return run


async def ask(
    app: App, trusted: Pair | None = None, shown: Pair | None = None, token: str = "", *, wait: bool = False
) -> grpc.StatusCode:
    """Return the status of a call on a new connection; `wait` retries if the connection is not made in time."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if trusted is None:
        channel = grpc.aio.insecure_channel(app.address, options)
    else:
        own = (shown.key.read_bytes(), shown.cert.read_bytes()) if shown else ()
        secure = grpc.ssl_channel_credentials(trusted.cert.read_bytes(), *own)
        channel = grpc.aio.secure_channel(app.address, secure, options)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with channel:
        stub = collection_pb2_grpc.CollectionServiceStub(channel)
        try:
            await stub.GetCollection(
                collection_pb2.GetCollectionRequest(), timeout=120, metadata=metadata, wait_for_ready=wait
            )
        except grpc.aio.AioRpcError as error:
            return error.code()
        return CODE.OK


class TestTLS:
    async def test_renewed_certificate_is_shown_to_the_next_caller(self, running, certificates, tmp_path) -> None:
        old, new = certificates("old"), certificates("new")
        there = old.put(tmp_path)
        async with running(tls_cert=there.cert, tls_key=there.key) as app:
            assert await ask(app, old, wait=True) is CODE.OK
            assert await ask(app, new) is CODE.UNAVAILABLE
            new.put(tmp_path)
            assert await ask(app, new, wait=True) is CODE.OK
            assert await ask(app, old) is CODE.UNAVAILABLE
            assert await ask(app) is CODE.UNAVAILABLE, "not without encryption"

    async def test_unusable_renewal_leaves_the_old_certificate(self, running, certificates, tmp_path, caplog) -> None:
        old, new = certificates("old"), certificates("new")
        there = old.put(tmp_path)
        async with running(tls_cert=there.cert, tls_key=there.key) as app:
            for spoil in (
                lambda: shutil.copy(new.cert, there.cert),  # its key is not there yet
                lambda: there.key.write_text("junk"),
                lambda: there.cert.unlink(),
            ):
                spoil()
                assert await ask(app, old, wait=True) is CODE.OK
                assert await ask(app, old, wait=True) is CODE.OK
        assert caplog.text.count("cannot be used; the previous contents stay in use") == 3, "each told once"

    async def test_clients_without_a_certificate_of_the_authority_are_rejected(
        self, running, certificates, tmp_path
    ) -> None:
        server, friend, stranger = certificates("server"), certificates("friend"), certificates("stranger")
        authority = tmp_path / "authority.pem"
        shutil.copy(friend.cert, authority)
        async with running(tls_cert=server.cert, tls_key=server.key, tls_client_ca=authority) as app:
            assert await ask(app, server, friend, wait=True) is CODE.OK
            assert await ask(app, server) is CODE.UNAVAILABLE
            assert await ask(app, server, stranger) is CODE.UNAVAILABLE
            shutil.copy(stranger.cert, authority)
            assert await ask(app, server, stranger, wait=True) is CODE.OK
            assert await ask(app, server, friend) is CODE.UNAVAILABLE

    def test_unusable_files_are_reported(self, certificates, tmp_path) -> None:
        one, other = certificates("old"), certificates("new")
        junk = tmp_path / "junk.pem"
        junk.write_text("junk")
        encrypted = tmp_path / "encrypted.key"
        command = ["openssl", "ec", "-in", str(one.key), "-aes256", "-passout", "pass:secret", "-out", str(encrypted)]
        subprocess.run(command, check=True, capture_output=True)
        for files, said in (
            (TLSFiles(one.cert, other.key), "are not a certificate and its unencrypted key"),
            (TLSFiles(one.cert, encrypted), "are not a certificate and its unencrypted key"),
            (TLSFiles(junk, junk), "are not a certificate"),
            (TLSFiles(one.cert, one.key, junk), "--tls-client-ca .*junk.pem contains no PEM certificates"),
            (TLSFiles(one.cert, tmp_path / "gone"), "--tls-key .*gone cannot be read: no such file"),
        ):
            with pytest.raises(UsageError, match=said):
                credentials(files)


class TestTokens:
    async def test_calls_need_a_known_token_and_changes_an_admin_token(self, running, tmp_path) -> None:
        (reader, read_line), (admin, admin_line) = new_token("shop", "read"), new_token("ops", "admin")
        file = tmp_path / "tokens"
        file.write_text(f"# who asks\n{read_line}  # the shop\n\n{admin_line}\n")
        async with running(tokens=file) as app, grpc.aio.insecure_channel(app.address) as channel:
            assert await ask(app, token=reader) is CODE.OK
            assert await ask(app, token=admin) is CODE.OK
            for wrong in ("", "x", reader[:-1], f"{reader}x", reader.upper()):
                assert await ask(app, token=wrong) is CODE.UNAUTHENTICATED
            stub = server_pb2_grpc.ServerServiceStub(channel)
            for scheme in ("Basic", "bearer", "BEARER"):
                call = stub.Reload(server_pb2.ReloadRequest(), metadata=(("authorization", f"{scheme} {admin}"),))
                if scheme == "Basic":
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await call
                    assert caught.value.code() is CODE.UNAUTHENTICATED
                else:
                    assert (await call).generation == 1
            with pytest.raises(
                grpc.aio.AioRpcError, match="token of shop has the role read, and Reload needs"
            ) as caught:
                await stub.Reload(server_pb2.ReloadRequest(), metadata=(("authorization", f"Bearer {reader}"),))
            assert caught.value.code() is CODE.PERMISSION_DENIED

    async def test_revoked_token_is_rejected_immediately(self, running, tmp_path, caplog) -> None:
        (old, old_line), (new, new_line) = new_token("old", "admin"), new_token("new", "read")
        file = tmp_path / "tokens"

        def rewrite(text: str) -> None:
            file.write_text(text)

        def replace(text: str) -> None:
            (tmp_path / "tokens.new").write_text(text)
            os.replace(tmp_path / "tokens.new", file)

        def keep_time_and_size(text: str) -> None:
            before = file.stat()
            file.write_text(text.ljust(before.st_size, "\n")[: before.st_size])
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

        taken_back: dict[str, Callable[[], object]] = {
            "its line, the last one": lambda: rewrite(""),
            "its line, of several": lambda: rewrite(f"{new_line}\n"),
            "its line, beside a mistake": lambda: rewrite(f"shop reader {'0' * 64}\n{new_line}\n"),
            "its line, by a mistake": lambda: rewrite(f"{old_line[:-1]}\n{new_line}\n"),
            "its line, beside bytes that are no text": lambda: file.write_bytes(b"\xff\xfe\n" + new_line.encode()),
            "its line, the file replaced": lambda: replace(f"{new_line}\n"),
            "its line, time and size kept": lambda: keep_time_and_size(f"{new_line}\n"),
            "all but a comment": lambda: rewrite("# nobody\n"),
            "the file": file.unlink,
            "the file, a folder in its place": lambda: (file.unlink(), file.mkdir()),
        }
        for what, take_back in taken_back.items():
            if file.is_dir():
                file.rmdir()
            file.write_text(f"{old_line}\n{new_line}\n")
            async with running(tokens=file) as app:
                assert await ask(app, token=old) is CODE.OK
                take_back()
                assert await ask(app, token=old) is CODE.UNAUTHENTICATED, what
                kept = what.startswith("its line,") and "last" not in what
                assert await ask(app, token=new) is (CODE.OK if kept else CODE.UNAUTHENTICATED), what
                assert await ask(app) is CODE.UNAUTHENTICATED, what
        assert not any(token in caplog.text for token in (old, new))

    async def test_bad_line_is_skipped_and_lost_file_may_return(self, running, tmp_path, caplog) -> None:
        (one, one_line), (other, other_line) = new_token("one", "read"), new_token("other", "read")
        file = tmp_path / "tokens"
        file.write_text(f"{one_line}\nother reader {other}\n{other_line}\n")
        async with running(tokens=file) as app:
            assert await ask(app, token=one) is CODE.OK
            assert await ask(app, token=other) is CODE.OK
            assert [line.levelname for line in caplog.records if "line 2 is skipped" in line.message] == ["WARNING"]
            moved = file.rename(tmp_path / "away")
            for _ in range(3):
                assert await ask(app, token=one) is CODE.UNAUTHENTICATED
            moved.rename(file)
            assert await ask(app, token=one) is CODE.OK
        told = [line.message for line in caplog.records if "no longer valid" in line.message]
        assert len(told) == 1, "once, though it was tried with every call"
        assert other not in caplog.text, "whoever made the mistake may have put the token there"

    async def test_pipe_as_token_file_does_not_block_and_admits_no_caller(self, running, tmp_path) -> None:
        token, line = new_token("one", "read")
        file = tmp_path / "tokens"
        file.write_text(f"{line}\n")
        async with running(tokens=file) as app:
            assert await ask(app, token=token) is CODE.OK
            file.unlink()
            os.mkfifo(file)
            assert await asyncio.wait_for(ask(app, token=token), 60) is CODE.UNAUTHENTICATED
        with pytest.raises(UsageError, match="is not a regular file"):
            Tokens(file)

    async def test_two_changes_within_a_tick_of_the_clock_are_both_seen(self, running, tmp_path, monkeypatch) -> None:
        (old, old_line), (_, other_line) = new_token("old", "read"), new_token("new", "read")
        file = tmp_path / "tokens"
        file.write_text(f"{old_line}\n")
        # Both have the same time, so that only the content differs.
        now = time.time_ns()
        monkeypatch.setattr("lookalike_server.transport.reloading_file._stamp", lambda path: (now, now, 1, 1))
        monkeypatch.setattr("lookalike_server.transport.reloading_file.time", SimpleNamespace(time=lambda: now / 1e9))
        async with running(tokens=file) as app:
            assert await ask(app, token=old) is CODE.OK
            file.write_text(f"{other_line}\n")
            assert await ask(app, token=old) is CODE.UNAUTHENTICATED

    async def test_health_is_open_and_reflection_asks_for_a_token_and_can_be_shut(self, running, tmp_path) -> None:
        token, line = new_token("shop", "read")
        measuring, measuring_line = new_token("prometheus", "metrics")
        file = tmp_path / "tokens"
        file.write_text(f"{line}\n{measuring_line}\n")
        for shut in (False, True):
            async with (
                running(tokens=file, reflection=not shut) as app,
                grpc.aio.insecure_channel(app.address) as channel,
            ):
                answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
                assert await reflected(channel, token) is (CODE.UNIMPLEMENTED if shut else CODE.OK)
                if not shut:
                    assert await reflected(channel, "") is CODE.UNAUTHENTICATED
                    assert await reflected(channel, token[:-1]) is CODE.UNAUTHENTICATED
                    assert await reflected(channel, measuring) is CODE.PERMISSION_DENIED

    async def test_without_tokens_reflection_is_open(self, running) -> None:
        async with running() as app, grpc.aio.insecure_channel(app.address) as channel:
            assert await reflected(channel, "") is CODE.OK

    async def test_every_method_except_health_and_reflection_requires_a_token(self, running, tmp_path) -> None:
        file = tmp_path / "tokens"
        file.write_text(f"{new_token('shop', 'read')[1]}\n")
        async with running(tokens=file) as app, grpc.aio.insecure_channel(app.address) as channel:
            for service in app_services():
                for method in service.methods:
                    path = f"/{service.full_name}/{method.name}"
                    assert not path.startswith(OPEN)
                    # Invalid bytes of a message: callers are rejected before these are parsed.
                    call = channel.unary_unary(path)
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await call(b"\xff" * 8)
                    assert caught.value.code() is CODE.UNAUTHENTICATED, path

    def test_token_file_stores_no_token_and_an_unusable_file_is_reported(self, tmp_path, caplog) -> None:
        token, line = new_token("shop", "read")
        assert len(token) >= 43
        assert token not in line
        assert new_token("shop", "read")[0] != token
        file = tmp_path / "tokens"
        for text in (f"shop reader {'0' * 64}\n", f"shop read {token}\n", "# nobody\n", ""):
            file.write_text(text)
            with pytest.raises(UsageError, match="contains no token; make one with: lookalike token"):
                Tokens(file)
        assert caplog.text.count("line 1 is skipped: it must have a name") == 2
        assert token not in caplog.text
        with pytest.raises(UsageError, match="cannot be read: no such file"):
            Tokens(tmp_path / "gone")
        with pytest.raises(UsageError, match="'two words' must be"):
            new_token("two words", "read")

    def test_token_is_compared_with_all_of_the_file_in_constant_time(self, tmp_path, monkeypatch) -> None:
        made = [new_token(name, "read") for name in ("one", "two", "three")]
        file = tmp_path / "tokens"
        file.write_text("\n".join(line for _, line in made))
        known = Tokens(file)
        compared: list[str] = []

        def compare(one: str, other: str) -> bool:
            compared.append(one)
            return one == other

        monkeypatch.setattr("lookalike_server.transport.tokens.hmac", SimpleNamespace(compare_digest=compare))
        for token in (made[0][0], made[2][0], "unknown"):
            compared.clear()
            known.caller(token)
            assert compared == [line.split()[2] for _, line in made]


def app_services() -> list[Any]:
    from google.protobuf import descriptor_pool

    return [descriptor_pool.Default().FindServiceByName(name) for name in SERVICES]


async def reflected(channel: grpc.aio.Channel, token: str) -> grpc.StatusCode:
    """Return the status of a reflection call."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(metadata=metadata)
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        # If the rejection arrives during this write, grpc.aio may report INTERNAL instead of the server's status.
        await call.wait_for_connection()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        await call.read()
        await call.done_writing()
    return await call.code()


async def test_reload_reports_why_the_newest_generation_cannot_be_served(make_toy, serve) -> None:
    toy = make_toy()
    # No watcher sees a generation whose files are not there yet.
    async with serve(toy, watch=3600) as served:
        make_toy(np.eye(16, dtype=np.float32))
        manifest = sorted(path for path in (toy.root / "indexes").rglob("*") if path.is_file())[-1]
        data = manifest.read_bytes()
        manifest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.server.Reload(server_pb2.ReloadRequest())
        assert caught.value.code() is CODE.DATA_LOSS
        assert served.app.current.snapshot.generation == 1


def test_command_creates_valid_tokens(lookalike, tmp_path) -> None:
    file = tmp_path / "tokens"
    done = lookalike("token", "--name", "shop", "--role", "admin", "--file", file)
    assert done.returncode == 0, done.stderr
    caller = Tokens(file).caller(done.stdout.strip())
    assert caller is not None
    assert (caller.name, caller.role) == ("shop", "admin")
    assert file.stat().st_mode & 0o077 == 0
    shown = lookalike("token", "--name", "other")
    token, line = (told.split(":", 1)[1].strip() for told in shown.stdout.splitlines())
    with file.open("a") as more:
        more.write(line + "\n")
    assert (found := Tokens(file).caller(token)) is not None
    assert (found.name, found.role) == ("other", "read")
    assert "must be 1 to 64" in lookalike("token", "--name", "a b").stderr


def test_command_adds_a_missing_newline_before_a_token(typed, tmp_path) -> None:
    file = tmp_path / "tokens"
    first, line = new_token("first", "read")
    file.write_text(line)
    made = [typed("token", "--name", name, "--file", file).stdout.strip() for name in ("second", "third")]
    found = [Tokens(file).caller(token) for token in (first, *made)]
    assert [caller and caller.name for caller in found] == ["first", "second", "third"]
    assert len(file.read_text().splitlines()) == 3
