"""Engine process: collections, devices, network, and experiments, without its own port."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from lookalike_server.common.served import Served
from lookalike_server.fronts.control import Common, Control, run_process

if TYPE_CHECKING:
    from lookalike_server.app import App
    from lookalike_server.fronts.engine_entrance import EngineEntrance
    from lookalike_server.processes.embedding import OpenEmbedder


@dataclass(frozen=True)
class EngineArguments:
    """Arguments of an engine process. Tests pass another embedder, which must be a module's function."""

    common: Common
    open_embedder: OpenEmbedder | None = None


@dataclass(frozen=True)
class EngineReady:
    """Report of an engine process that is ready, for the supervisor."""

    served: list[Served]
    metrics_port: int | None


def run_engine(connection: Connection, given: EngineArguments) -> None:
    """Run the engine process."""
    # Imported here, so that the parent process does not load faiss. Also before logging starts, so that messages of
    # libraries while they load are not logged.
    import lookalike_server.app
    import lookalike_server.fronts.engine_entrance  # noqa: F401

    async def serve(control: Control) -> None:
        await _serve(control, given)

    run_process(connection, given.common, serve)


async def _serve(control: Control, given: EngineArguments) -> None:
    from lookalike_server.app import App

    common = given.common
    # The front that took a call logs and traces it.
    observe = dataclasses.replace(common.settings.observe, log_calls=False, tracing=False)
    settings = dataclasses.replace(common.settings, observe=observe)
    # Files that a killed engine process has left.
    shutil.rmtree(common.shared, ignore_errors=True)
    app = App(settings, open_embedder=given.open_embedder, entrance=_entrance(common), mapped=common.shared)
    await app.start()
    control.on_reload = app.reload
    app.ending.add_done_callback(lambda ending: control.send("ending", ending.result()))
    control.send("ready", EngineReady(app.served, app.metrics_port))
    await app.stop(await control.stopping)


def _entrance(common: Common) -> Callable[[App], EngineEntrance]:
    from lookalike_server.fronts.engine_entrance import EngineEntrance

    return lambda app: EngineEntrance(common.socket, common.settings.limits, app.hidden_folders, app.collections)
