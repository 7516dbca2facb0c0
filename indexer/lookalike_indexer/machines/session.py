"""Rounds of requests to workers of a cluster that keep values between rounds."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lookalike_indexer.errors import DeviceError
from lookalike_indexer.machines.limits import MOST_LOST, NOBODY_S, START_S
from lookalike_indexer.machines.session_worker import SessionWorker
from lookalike_indexer.machines.shared import Shared
from lookalike_indexer.machines.work import Failed, gist

if TYPE_CHECKING:
    from lookalike_indexer.machines.machines import Machines, Node

log = logging.getLogger(__name__)

Value = TypeVar("Value")
Result = TypeVar("Result")

# The time between two looks for machines that join.
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, eq=False)
class _Member:
    """A worker and its machine."""

    node: Node
    actor: Any


class Session:
    """The workers of a session, as `Machines.session` yields it."""

    def __init__(self, machines: Machines, ray: Any, name: str) -> None:
        """Start the workers. `name` is the name of a request for messages."""
        self._machines, self._ray, self._name = machines, ray, name
        self._members: list[_Member] = []
        # The worker of each place in a round, which keeps what earlier requests of that place loaded.
        self._homes: dict[int, _Member] = {}
        self._lost: Counter[int] = Counter()
        self.on_gpus = any(node.gpus for node in machines.nodes())

    @property
    def workers(self) -> int:
        """The number of workers."""
        return len(self._members)

    def share(self, value: Value) -> Shared[Value]:
        """Store a value in the cluster, for requests to read."""
        return Shared(self._ray.put(value), self._ray.get)

    def round(self, requests: Sequence[Callable[[dict[Any, Any]], Result]]) -> Iterator[tuple[int, Result]]:
        """Send requests; yield the place of each among them, and its answer.

        A request is called with the dictionary of its worker. Requests of the same place go to the same worker in each
        round. When it is lost, another worker gets them, and its dictionary may lack what the lost one kept. Raise a
        request's error, and DeviceError if no machine is left, or if a request lost three workers.
        """
        left = list(range(len(requests)))
        while left:
            started = [(place, self._home(place)) for place in left]
            answers = [(place, home, home.actor.answer.remote(requests[place])) for place, home in started]
            left = []
            while answers:
                place, home, answer = answers.pop(0)
                try:
                    found = self._ray.get(answer)
                except self._ray.exceptions.RayError as error:
                    self._lose(home, place, error)
                    left.append(place)
                    continue
                if isinstance(found, Failed):
                    raise found.error()
                # Only losses without an answer in between show that the work itself ends workers.
                self._lost.pop(place, None)
                yield place, found

    def start(self) -> None:
        """Start the workers. Raise DeviceError if none starts in time."""
        self._fill()
        if not self._members:
            raise DeviceError(
                f"No machine of the Ray cluster at {self._machines.address} started a worker within {START_S:.0f} s; "
                "check whether other jobs use its processors or GPUs."
            )

    def end(self) -> None:
        """Stop the workers."""
        for member in self._members:
            self._kill(member.actor)

    def _home(self, place: int) -> _Member:
        """Return the worker of a place; a place without one gets the worker with the fewest places."""
        home = self._homes.get(place)
        if home is None or home not in self._members:
            if not self._members:
                self._restart()
            counts = Counter(self._homes.values())
            home = min(self._members, key=lambda member: counts[member])
            self._homes[place] = home
        return home

    def _restart(self) -> None:
        """Start workers on the machines that are there, or join in time."""
        end = time.monotonic() + NOBODY_S
        self._fill()
        while not self._members:
            if time.monotonic() > end:
                raise DeviceError(
                    f"No machine of the Ray cluster at {self._machines.address} is left. Add machines and run the "
                    "command again; it continues after the last finished stage."
                )
            time.sleep(_LOOK_EVERY_S)
            self._fill()

    def _fill(self) -> None:
        """Start a worker on each machine, or for each GPU, and wait for them."""
        actors = [
            (node, self._machines.actor(SessionWorker, node, concurrency=1))
            for node in self._machines.checked_nodes()
            for _ in range(max(1, node.gpus))
        ]
        end = time.monotonic() + START_S
        for node, actor, ready in [(node, actor, actor.ready.remote()) for node, actor in actors]:
            try:
                self._ray.get(ready, timeout=max(0.0, end - time.monotonic()))
            except self._ray.exceptions.RayError as error:
                log.warning("The machine %s of the Ray cluster started no worker: %s.", node.address, gist(error))
                self._kill(actor)
                continue
            self._members.append(_Member(node, actor))

    def _lose(self, member: _Member, place: int, error: Exception) -> None:
        if member in self._members:
            self._members.remove(member)
            self._kill(member.actor)
        self._homes.pop(place, None)
        self._lost[place] += 1
        if self._lost[place] >= MOST_LOST:
            raise DeviceError(
                f"{MOST_LOST} workers ended during {self._name} {place}; the last one was on {member.node.address} "
                f"({gist(error)}). Check the memory of the machines, and run the command again."
            ) from error

    def _kill(self, actor: Any) -> None:
        with contextlib.suppress(Exception):
            self._ray.kill(actor)
