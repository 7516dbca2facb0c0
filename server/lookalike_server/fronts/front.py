"""Front process: a gRPC server on the server's port that forwards calls to the engine process."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from lookalike_server.fronts.control import Common, Control, run_process
from lookalike_server.fronts.messages import FrontState

# Interval of checks for hung work.
_LOOK_S = 0.25


@dataclass(frozen=True)
class FrontArguments:
    """Arguments of a front. `secret` is the local user's; see local_user.py."""

    common: Common
    number: int
    secret: str


def run_front(connection: Connection, given: FrontArguments) -> None:
    """Run the front process."""
    # Before logging starts, so that messages of libraries while they load are not logged.
    import lookalike_server.fronts.front_calls
    import lookalike_server.observe.observatory  # noqa: F401

    async def serve(control: Control) -> None:
        await _serve(control, given)

    run_process(connection, given.common, serve)


async def _serve(control: Control, given: FrontArguments) -> None:
    # Imported here, because the parent process does not need it.
    from lookalike_indexer.threads import processors
    from lookalike_server.batching.workers import Workers
    from lookalike_server.fronts.engine_link import EngineLink
    from lookalike_server.fronts.front_calls import FrontCalls
    from lookalike_server.observe.observatory import Observatory
    from lookalike_server.processes.hangs import Hangs
    from lookalike_server.transport.access import ADMIN
    from lookalike_server.transport.grpc_server import GrpcServer
    from lookalike_server.transport.local_user import LocalUser
    from lookalike_server.transport.tokens import Tokens

    settings = given.common.settings
    tokens = None if settings.listen.tokens is None else Tokens(settings.listen.tokens)
    observatory = Observatory(settings.observe, ADMIN, several=len(settings.collections) > 1)

    def state() -> FrontState:
        return FrontState(server.admission.arriving, server.admission.held_bytes, resident_bytes())

    def roots() -> list[str]:
        paths = [Path(one.root) for one in settings.collections]
        own = [str(path) for root in paths for path in (root.absolute(), root.resolve())]
        return [*own, *link.generations.hidden]

    link = EngineLink(given.common.socket, given.number, state, settings.collections)
    workers = Workers(processors(), settings.limits.max_queue, limit_s=settings.limits.max_read_ms / 1000)
    server = GrpcServer(
        settings, observatory.interceptor, roots, tokens, LocalUser(given.secret), shares_port=True, slots=link
    )
    server.add_handlers(FrontCalls(settings, link, workers).handler)
    await link.connect(server.statuses)
    await link.generations.wait_until_served()
    server.open()
    await server.start()
    held = [(current, one.limits) for current, one in zip(link.generations.currents, settings.collections, strict=True)]
    endless = [link.maintain(), link.publish_health(), Hangs().watch(held, workers, min(_LOOK_S, settings.watch))]
    tasks = [asyncio.create_task(one) for one in endless]
    control.send("ready")
    grace = await control.stopping
    await server.statuses.enter_graceful_shutdown()
    await server.drain(grace)
    for task in tasks:
        task.cancel()
    server.close()
    workers.close()
    await asyncio.to_thread(observatory.close)


def resident_bytes() -> int:
    """Return this process's resident bytes, including mapped files; the peak if the system reports no current value."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak << 10
    return pages * os.sysconf("SC_PAGE_SIZE")
