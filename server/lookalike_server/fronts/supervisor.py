"""Supervisor: the process that the user starts. It holds the port, and starts and ends the other processes."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike_indexer.errors import IndexerError
from lookalike_server.common.served import Served
from lookalike_server.common.settings import ServeSettings
from lookalike_server.fronts.control import Common, Logs
from lookalike_server.fronts.engine import EngineArguments, EngineReady, run_engine
from lookalike_server.fronts.front import FrontArguments, run_front
from lookalike_server.fronts.member import Member
from lookalike_server.transport.listen import reserve
from lookalike_server.transport.local_user import LocalUser

if TYPE_CHECKING:
    from lookalike_server.processes.embedding import OpenEmbedder

log = logging.getLogger(__name__)

# The variable's name in Prometheus's library; see observe/metrics.py, which would import that library here.
_MEASURED = "PROMETHEUS_MULTIPROC_DIR"
# Longest path of a Unix socket that every system allows.
_LONGEST_PATH = 100
# Seconds for closing resources, in addition to those for calls.
_CLOSING_S = 15.0


class Supervisor:
    """A server of several processes, with the interface of App: `start`, `address`, `stop`."""

    def __init__(
        self,
        settings: ServeSettings,
        *,
        logs: Logs | None = None,
        open_embedder: OpenEmbedder | None = None,
    ) -> None:
        self._settings = settings
        self._logs = logs or Logs()
        self._open_embedder = open_embedder
        self._local_user = LocalUser()
        self._stopping: asyncio.Task[None] | None = None
        self.served: list[Served] = []
        self.metrics_port: int | None = None
        self.engine: Member | None = None
        self.fronts: list[Member] = []

    async def start(self) -> None:
        """Load the collections and answer calls. Raises what `App.start` raises."""
        # Its result is the reason why the server should end; "" for none.
        self.ending: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._port_held, port = reserve(self._settings.listen)
        try:
            self.folder = _private_folder()
            await self._start(port)
        except BaseException:
            await self._close(0.0)
            raise

    async def _start(self, port: int) -> None:
        settings = dataclasses.replace(self._settings, listen=dataclasses.replace(self._settings.listen, port=port))
        common = Common(settings, self.folder, self._logs)
        environment = self._environment()
        silence_s = settings.limits.max_silence_ms / 1000
        engine = self.engine = Member(
            "engine process", run_engine, EngineArguments(common, self._open_embedder), environment, silence_s, self.end
        )
        given = [FrontArguments(common, number, self._local_user.secret) for number in range(settings.fronts)]
        self.fronts = [Member(f"front {one.number}", run_front, one, environment, silence_s) for one in given]
        # All at once: fronts wait for the engine process, which takes longer.
        ready: EngineReady
        ready, *_ = await asyncio.gather(engine.start(), *(front.start() for front in self.fronts))
        self.served, self.metrics_port = ready.served, ready.metrics_port
        if ready.metrics_port is not None:
            # A restarted engine process uses the same port, even if it was any free one at first.
            observe = dataclasses.replace(settings.observe, metrics_port=ready.metrics_port)
            common = dataclasses.replace(common, settings=dataclasses.replace(settings, observe=observe))
            engine.given = EngineArguments(common, self._open_embedder)
        self._port = port
        if settings.listen.tokens is None:
            self._local_user.publish(port)
        log.info("%d fronts accept calls for one engine process", settings.fronts)

    def _environment(self) -> Mapping[str, str]:
        if self._settings.observe.metrics_port is None:
            return {}
        folder = self.folder / "measured"
        folder.mkdir()
        return {_MEASURED: str(folder)}

    @property
    def address(self) -> str:
        """Address as host:port, with the actual port if 0 was requested."""
        return self._settings.listen.address(self._port)

    def end(self, why: str = "") -> None:
        """Request that the server is stopped."""
        if not self.ending.done():
            self.ending.set_result(why)

    def reload(self) -> None:
        """Check for newer generations now."""
        if self.engine is not None:
            self.engine.send("reload")

    async def stop(self, grace: float | None = None) -> None:
        """Reject new calls, give those in flight `grace` seconds (None: the setting), and end."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._close(self._settings.grace if grace is None else grace))
        await asyncio.shield(self._stopping)

    async def _close(self, grace: float) -> None:
        self._local_user.withdraw()
        await asyncio.gather(*(front.stop(grace, grace + _CLOSING_S) for front in self.fronts))
        if self.engine is not None:
            await self.engine.stop(grace, grace + _CLOSING_S)
        self._port_held.close()
        if (folder := getattr(self, "folder", None)) is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _private_folder() -> Path:
    """Create a folder for this user only. Raises IndexerError if its path is too long for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="lookalike-"))
    if len(str(folder)) > _LONGEST_PATH:
        folder.rmdir()
        raise IndexerError(
            f"The path of the folder for temporary files, {folder.parent}, is too long for a socket; set TMPDIR to a "
            "shorter path."
        )
    return folder
