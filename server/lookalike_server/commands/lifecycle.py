"""Life of a server process: start, signals, and shutdown."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from typing import Protocol

from lookalike_indexer.errors import DeviceError
from lookalike_server.common.served import Served
from lookalike_server.common.settings import ServeSettings
from lookalike_server.fronts.control import Logs, allow_connections
from lookalike_server.generation.verification import FileVerifier

log = logging.getLogger(__name__)


class Server(Protocol):
    """A server that `run` can run: an App, or the Supervisor of several processes."""

    ending: asyncio.Future[str]

    @property
    def served(self) -> list[Served]:
        """Served collections."""
        ...

    @property
    def address(self) -> str:
        """Address as host:port."""
        ...

    @property
    def metrics_port(self) -> int | None:
        """Port of the metrics, or None if there is none."""
        ...

    async def start(self) -> None: ...

    def end(self, why: str = "") -> None: ...

    def reload(self) -> None: ...

    async def stop(self, grace: float | None = None) -> None: ...


async def run(
    settings: ServeSettings, announce: Callable[[Server], None], verifier: FileVerifier, logs: Logs | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. SIGHUP checks for a new generation. Calls `announce` when serving.

    With several fronts, this process starts the others, which write `logs`. Raises what `App.start`
    raises, and DeviceError if a device was lost and the settings end the server then. A second
    SIGTERM or SIGINT ends the process at once.
    """
    loop = asyncio.get_running_loop()
    allow_connections()
    app = _make_server(settings, verifier, logs)
    # Exclude imported objects from garbage collection, which would take a twentieth of a call's time.
    gc.freeze()
    # The default action would end the process, and SIGHUP may come while a generation is loading.
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    await app.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.end)
    loop.add_signal_handler(signal.SIGHUP, app.reload)
    announce(app)
    lost = await app.ending
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
    log.info("draining for up to %g s", settings.grace)
    await app.stop()
    log.info("stopped")
    if lost:
        raise DeviceError(f"A device was lost and --on-device-loss is fail, so the server stops: {lost}")


def _make_server(settings: ServeSettings, verifier: FileVerifier, logs: Logs | None) -> Server:
    # Imported on demand: this process loads faiss only if it searches itself.
    if settings.fronts > 1:
        from lookalike_server.fronts.supervisor import Supervisor

        return Supervisor(settings, logs=logs or Logs())
    from lookalike_server.app import App

    return App(settings, verifier=verifier)
