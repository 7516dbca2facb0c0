"""A child process, as the supervisor sees it."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from lookalike_indexer.errors import DeviceError
from lookalike_server.fronts.control import Word

log = logging.getLogger(__name__)

# Interval of checks, equal to that of heartbeats. The second value keeps a late heartbeat from counting as silence.
_LOOK_S = 1.0
_SHORTEST_SILENCE_S = 3.0
# Pause before a restart. It doubles each time the process ends before it is ready.
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0


class Member:
    """A child process that is restarted whenever it exits, until it is stopped.

    `target` is a module's function that gets its end of a pipe and `given`. After it is ready, a
    process without a heartbeat for `silence_s` seconds is killed. `ending` gets the reason why the
    process wants the server to end.
    """

    def __init__(
        self,
        name: str,
        target: Callable[[Connection, Any], None],
        given: Any,
        environment: Mapping[str, str],
        silence_s: float,
        ending: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._name, self._target, self.given = name, target, given
        self._environment = environment
        self._silence_s = silence_s
        self._ending = ending
        self._loop = asyncio.get_running_loop()
        self._process: SpawnProcess | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int:
        """Process id."""
        return 0 if self._process is None else self._process.pid or 0

    async def start(self) -> Any:
        """Start the process and return what it reports when ready. Raises the error that it fails with."""
        self._ready: asyncio.Future[Any] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._heard = True
        context = multiprocessing.get_context("spawn")
        connection, theirs = context.Pipe()
        self._connection = connection
        self._process = process = context.Process(target=self._target, args=(theirs, self.given), name=self._name)
        with _environment(self._environment):
            process.start()
        theirs.close()
        self._loop.add_reader(connection.fileno(), self._read)
        self._loop.add_reader(process.sentinel, self._handle_exit, process)
        ready = await self._ready
        self._keep(self._follow(process))
        return ready

    def send(self, word: Word, what: Any = None) -> None:
        """Send a word to the process. Does nothing if it has ended."""
        with suppress(OSError):
            self._connection.send((word, what))

    async def stop(self, grace: float, most_s: float) -> None:
        """Stop the process: its calls have `grace` seconds, and it is killed after `most_s` seconds.

        A process that is not ready has no calls, and is killed at once.
        """
        for task in list(self._tasks):
            task.cancel()
        if self._process is None:
            return
        if not self._ready.done():
            self._process.kill()
        self.send("stop", grace)
        if not await self._ends(most_s):
            log.warning("%s did not stop in time; the server kills it", self._name)
            self._process.kill()
            await self._ends(most_s)

    async def _ends(self, seconds: float) -> bool:
        return bool((await asyncio.wait([self._ended], timeout=seconds))[0])

    async def _follow(self, process: SpawnProcess) -> None:
        """Kill the process if it sends no heartbeat, and restart it when it has ended."""
        silent = 0.0
        while not await self._ends(_LOOK_S):
            # Count checks, not clock time: a suspended machine must not look like silence.
            silent = 0.0 if self._heard else silent + _LOOK_S
            self._heard = False
            if silent >= max(self._silence_s, _SHORTEST_SILENCE_S):
                log.error("%s sent no heartbeat for %g s; the server kills it", self._name, self._silence_s)
                process.kill()
        log.error("%s ended with exit code %s; the server starts another one", self._name, process.exitcode)
        pause = _FIRST_PAUSE_S
        while True:
            await asyncio.sleep(pause)
            try:
                await self.start()
                log.info("%s was restarted", self._name)
                return
            except Exception as error:
                log.error("%s cannot be started: %s", self._name, error)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _keep(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _read(self) -> bool:
        """Handle a word of the process. Return False if the pipe is closed."""
        try:
            word, what = self._connection.recv()
        except (EOFError, OSError):
            self._loop.remove_reader(self._connection.fileno())
            return False
        self._heard = True
        if word == "ready" and not self._ready.done():
            self._ready.set_result(what)
        elif word == "failed" and not self._ready.done():
            self._ready.set_exception(what)
        elif word == "ending":
            self._ending(what)
        return True

    def _handle_exit(self, process: SpawnProcess) -> None:
        self._loop.remove_reader(process.sentinel)
        # Read the last words.
        while self._connection.poll() and self._read():
            pass
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        process.join()
        if not self._ready.done():
            self._ready.set_exception(DeviceError(f"{self._name} ended before it was ready."))
        if not self._ended.done():
            self._ended.set_result(None)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes that the block starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
