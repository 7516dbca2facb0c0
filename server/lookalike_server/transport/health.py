"""Health service: periodic checks of the devices and the network."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from grpc_health.v1 import health_pb2

# Front processes publish health too, but load no index.
if TYPE_CHECKING:
    from lookalike_server.generation.current import Current
    from lookalike_server.processes.embedding import EmbedQueue

log = logging.getLogger(__name__)

# Health name that says whether images can be embedded. Searches by vector, key, or id do not need it.
EMBEDDING = "embedding"
# Health name that says whether every served file was verified and is undamaged.
VERIFIED = "verified"

# A ServingStatus, which the generated stubs do not name.
Status: TypeAlias = Any

_SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Statuses(Protocol):
    """Receiver of health statuses: gRPC's health service, or a front process."""

    async def set(self, service: str, status: Status) -> None:
        """Set the status of a name."""
        ...

    async def enter_graceful_shutdown(self) -> None:
        """Set all names to not serving, for good."""
        ...


@dataclass(frozen=True)
class MonitoredCollection:
    """A collection whose health is published under its name."""

    name: str
    current: Current
    embed_queue: EmbedQueue

    @property
    def lost(self) -> str:
        """Why an index is on no device; "" if each is on one."""
        snapshot = self.current.newest
        spaces = () if snapshot is None else snapshot.spaces.values()
        return next((space.engine.lost for space in spaces if space.searchable and space.engine.lost), "")

    @property
    def serves(self) -> bool:
        """True if the collection is loaded and each of its indexes is on a device."""
        return self.current.newest is not None and not self.lost


class Health:
    """Standard health service of a server. It publishes to `statuses`.

        a collection's name   serves if it is loaded and each of its indexes is on a device that answers
        "" and `searching`    serve if any collection does
        `always`              serve as long as the server runs
        "embedding"           serves if a network is open and answers
        `others`              serve while their function returns True

    A collection with one of the other names is not published under its own.
    """

    def __init__(
        self,
        collections: Sequence[MonitoredCollection],
        searching: list[str],
        always: list[str],
        others: Mapping[str, Callable[[], bool]],
        statuses: Statuses,
    ) -> None:
        self._statuses = statuses
        self._collections = collections
        self._searching = ["", *searching]
        self._always = always
        self._others = others
        self._said: dict[str, Status] = {}
        self._named: list[MonitoredCollection] = []
        for one in collections:
            if one.name in {EMBEDDING, *searching, *always, *others}:
                # A name has one status, which would otherwise flip with each check.
                log.warning(
                    "the health of the collection %s is published only under the empty name: %s is in use",
                    one.name,
                    one.name,
                )
            else:
                self._named.append(one)

    @property
    def lost(self) -> str:
        """Why an index is on no device; "" if each is on one."""
        return next((one.lost for one in self._collections if one.lost), "")

    async def publish(self) -> None:
        """Publish the current statuses, and log what has changed."""
        await self._set(self._always, True)
        # Check once for all names, so that what changes together is one line of the log.
        served = dict.fromkeys(self._searching, any(one.serves for one in self._collections))
        served |= {one.name: one.serves for one in self._named}
        for status in (False, True):
            await self._set([name for name, is_served in served.items() if is_served == status], status)
        for name, serves in self._others.items():
            await self._set([name], serves())
        await self._set([EMBEDDING], any(one.embed_queue.ready for one in self._collections))

    async def watch(self, interval: float, on_loss: Callable[[str], None]) -> None:
        """Publish every `interval` seconds, forever. Restart an ended network; report a lost index to `on_loss`."""
        while True:
            await self.publish()
            if lost := self.lost:
                on_loss(lost)
            for one in self._collections:
                if one.embed_queue.ended:
                    await self._open_again(one)
            await asyncio.sleep(interval)

    async def _open_again(self, one: MonitoredCollection) -> None:
        log.warning("the process that embeds images ended; the server starts another one")
        with one.current.lease() as snapshot:
            opening = asyncio.create_task(one.embed_queue.problem(snapshot))
            await self.publish()
            await opening

    async def end(self) -> None:
        """Publish that nothing is served, for good."""
        await self._statuses.enter_graceful_shutdown()

    async def _set(self, names: list[str], serving: bool) -> None:
        status = _SERVING if serving else NOT_SERVING
        changed = [name for name in names if self._said.get(name) != status]
        known = [name or "the server" for name in changed if name in self._said]
        for name in changed:
            self._said[name] = status
            await self._statuses.set(name, status)
        if known:
            level = logging.INFO if serving else logging.WARNING
            log.log(level, "health of %s: %s", ", ".join(known), "serving" if serving else "not serving")
