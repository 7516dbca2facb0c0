"""Clients in other event loops, threads and processes."""

import asyncio
import copy
import multiprocessing
import pickle
import subprocess
import sys
import threading

import pytest

import lookalike

TOKEN = "lookalike_" + "abc"


def pickled(client):
    return pickle.loads(pickle.dumps(client))  # noqa: S301


class TestEventLoops:
    """An asyncio client opens a connection for each event loop."""

    def test_client_is_used_in_successive_loops(self, toy):
        client = lookalike.aio.Client(toy.address)
        assert [asyncio.run(client.info()).images for _ in range(3)] == [11] * 3
        asyncio.run(client.close())
        with pytest.raises(lookalike.ClosedError):
            asyncio.run(client.info())

    def test_client_forgets_ended_loops(self, toy):
        client = lookalike.aio.Client(toy.address)
        for _ in range(5):
            asyncio.run(client.info())
        assert len(client._channels._bound) == 1
        asyncio.run(client.close())

    def test_works_in_a_new_loop_after_an_earlier_loop_ended_with_calls(self, toy):
        async def left() -> None:
            tasks = [asyncio.create_task(client.info()) for _ in range(3)]
            await asyncio.to_thread(toy.until_asked)
            del tasks  # asyncio.run cancels them

        client = lookalike.aio.Client(toy.address)
        toy.delay = 60
        asyncio.run(left())
        toy.reset()
        assert asyncio.run(client.info()).images == 11
        asyncio.run(client.close())

    def test_client_is_used_in_several_loops_concurrently(self, toy):
        client = lookalike.aio.Client(toy.address)
        found = []

        async def many() -> list[int]:
            return [int(one.ids[0]) for one in await asyncio.gather(*(client.search(id=i, k=1) for i in range(10)))]

        threads = [threading.Thread(target=lambda: found.append(asyncio.run(many()))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert found == [[1, 0, 1, 2, 3, 4, 5, 6, 7, 8]] * 4
        asyncio.run(client.close())

    def test_closing_it_ends_the_calls_of_all_loops(self, toy):
        client = lookalike.aio.Client(toy.address)
        toy.delay = 60
        ended = []

        def other() -> None:
            try:
                asyncio.run(client.info())
            except lookalike.ClosedError as error:
                ended.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        toy.until_asked()
        asyncio.run(client.close())
        thread.join(60)
        assert not thread.is_alive()
        assert ended == [f"The client of {toy.address} was closed during the call."]


@pytest.mark.parametrize("kind", [lookalike.Client, lookalike.aio.Client], ids=["sync", "aio"])
class TestCopies:
    """A copy of a client has the same settings and opens its own connection."""

    @pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickled])
    def test_has_the_settings_and_a_connection_of_its_own(self, toy, kind, how):
        client = kind(toy.address, token=TOKEN, timeout=60, retries=1, wait_for_server=False)
        other = how(client)
        finish(client.close())
        assert type(other) is kind
        assert other._connection == client._connection
        assert finish(other.info()).images == 11
        assert toy.metadata[-1]["authorization"] == f"Bearer {TOKEN}"
        finish(other.close())

    def test_keeps_the_secrets_to_itself(self, kind):
        tls = lookalike.TLS(cert=b"public part", key=b"private part")
        assert "private part" not in repr(tls)
        client = kind("127.0.0.1:1", token=TOKEN)
        other = pickled(client)
        for shown in (repr(other), repr(other._connection), repr(vars(other))):
            assert TOKEN not in shown
        assert "token" in (lookalike.Client.__doc__ or "")


def finish(result):
    """Return the result of a method of either client."""
    return asyncio.run(waited(result)) if asyncio.iscoroutine(result) else result


async def waited(awaitable):
    return await awaitable


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_client_goes_to_the_workers_of_a_pool(toy, method):
    with lookalike.Client(toy.address, token=TOKEN) as client:
        client.info()
        with multiprocessing.get_context(method).Pool(1) as pool:
            near = pool.apply(client.search, kwds={"key": "dogs/01.jpg", "k": 2})
            many = pool.apply(client.search, kwds={"ids": [1, 2], "k": 1})
    assert near.keys == ("dogs/00.jpg", "dogs/02.jpg")
    assert many.ids.tolist() == [0, 1]
    assert toy.metadata[-1]["authorization"] == f"Bearer {TOKEN}"


FORKED = """
import asyncio, os, socket, sys, threading, time
import lookalike

used, address = sys.argv[1:]


def told(client):
    try:
        result = client.info(timeout=30)
        return f"{(asyncio.run(result) if asyncio.iscoroutine(result) else result).images} images"
    except lookalike.LookalikeError as error:
        return f"{type(error).__name__}: {error}"


client, other = lookalike.Client(address), lookalike.aio.Client(address)
if used in ("sync", "busy"):
    told(client)
if used == "aio":
    told(other)
if used == "busy":
    # A call that waits for as long as the test goes on: nobody answers it.
    silent = socket.create_server(("127.0.0.1", 0))
    waiting = lookalike.Client(f"127.0.0.1:{silent.getsockname()[1]}")
    threading.Thread(target=told, args=[waiting], daemon=True).start()
    held = silent.accept()
    time.sleep(0.2)
for _ in range(10):
    child = os.fork()
    if child == 0:
        lines = [f"child: {told(one)}" for one in (client, other, lookalike.Client(address))]
        os.write(1, "".join(f"{line}\\n" for line in lines).encode())
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    # gRPC itself ends some of the children that it was not prepared for.
    if status == 0 or used != "busy":
        break
os.write(1, f"status: {status}\\nparent: {told(client)}\\n".encode())
os._exit(0)
"""


@pytest.mark.parametrize("used", ["nothing", "sync", "aio", "busy"])
def test_client_after_fork_works_or_reports_why(toy, used):
    command = [sys.executable, "-c", FORKED, used, toy.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["status: 0", "parent: 11 images"]
    assert len(lines) >= 5
    if used in ("nothing", "sync"):
        assert lines[:-2] == ["child: 11 images"] * 3
    else:
        for line in lines[:-2]:
            assert line.startswith("child: ClosedError: This process was forked while gRPC was in use")
            assert "'spawn' or 'forkserver'" in line
