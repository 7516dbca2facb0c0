"""Running a server until somebody, or a lost device, ends it."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
from collections.abc import Callable

from lookalike_indexer.errors import DeviceError
from lookalike_server.app import App
from lookalike_server.common.settings import ServeSettings
from lookalike_server.generation.verification import FileVerifier

log = logging.getLogger(__name__)


async def run(settings: ServeSettings, announce: Callable[[App], None], verifier: FileVerifier) -> None:
    """Serve until SIGTERM or SIGINT, then drain; SIGHUP looks for a new generation. `announce` is called when serving.

    Errors as `App.start`; DeviceError also when a device was lost and the
    settings say that the server ends then. A second SIGTERM or SIGINT ends the
    process at once.
    """
    loop = asyncio.get_running_loop()
    _allow_connections()
    # What was imported stays: looking at it again and again costs a call a twentieth of its time.
    gc.freeze()
    app = App(settings, verifier=verifier)
    # Its default would end the process, and somebody may send it while a generation is loading.
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
        raise DeviceError(f"A device was lost, and --on-device-loss is fail: {lost}")


def _allow_connections() -> None:
    """Each connection is an open file, of which many systems allow 1,024 unless asked for more."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
