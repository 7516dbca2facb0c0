"""Workers of a Ray cluster: each gets items, and the items of a lost worker go to another."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lookalike_indexer.errors import DeviceError, IndexerError
from lookalike_indexer.machines.connect import joined
from lookalike_indexer.machines.limits import MOST_LOST, NOBODY_S, START_S
from lookalike_indexer.machines.probe import checked, own_versions, probing
from lookalike_indexer.machines.session import Session
from lookalike_indexer.machines.work import Advance, Failed, Work, gist
from lookalike_indexer.machines.worker import Worker

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

# The maximum number of items that a worker gets at once: enough to amortize the transfer, few enough for a fair share.
_MOST_AT_ONCE = 16
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, with the CPUs and GPUs that it offers to Ray."""

    id: str
    address: str
    processors: int
    gpus: int


@dataclass
class _Member:
    """A worker, its machine, and its unfinished items, in order."""

    node: Node
    slot: int
    actor: Any
    reports: Any
    items: deque[Any] = field(default_factory=deque)
    wants: bool = False


class Machines:
    """The machines of a cluster, as `machines` yields them.

    If any machine has GPUs, there is one worker for each GPU, otherwise one for each machine.
    """

    def __init__(self, ray: Any, address: str) -> None:
        self._ray, self.address = ray, address
        self._folders: Sequence[str] = ()
        # The machines with the same releases as this process, and access to the folders.
        self._checked: set[str] = set()

    def nodes(self) -> list[Node]:
        """Return the machines that offer CPUs, and if any has GPUs only those."""
        found = []
        for node in self._ray.nodes():
            resources = node.get("Resources", {})
            if node["Alive"] and resources.get("CPU", 0) >= 1:
                gpus = int(resources.get("GPU", 0))
                found.append(Node(node["NodeID"], node["NodeManagerAddress"], int(resources["CPU"]), gpus))
        with_gpus = [node for node in found if node.gpus]
        return sorted(with_gpus or found, key=lambda node: node.address)

    @property
    def devices(self) -> tuple[str]:
        """The device of each worker, by torch's name; a worker sees only one GPU."""
        return ("cuda:0",) if any(node.gpus for node in self.nodes()) else ("cpu",)

    def check(self, folders: Sequence[str] = ()) -> None:
        """Check that each machine has the same releases as this process, and access to some folders.

        `run` also checks machines that join later. Raise IndexerError with the name of a machine that fails, and
        DeviceError if there is no machine.
        """
        nodes = self.nodes()
        if not nodes:
            raise DeviceError(f"The Ray cluster at {self.address} has no machine with a processor; add one.")
        self._folders, self._checked = tuple(folders), set()
        asked = [self.probe(node) for node in nodes]
        for node, answer in zip(nodes, asked, strict=True):
            self._note(node, self._got(answer, node))

    def run_once(self, question: Callable[[], Result]) -> Result:
        """Return the answer from one machine, on a GPU if there are any."""
        node = self.nodes()[0]
        task = self._ray.remote(question).options(**self._place(node, 1 if node.gpus else 0))
        answer: Result = self._got(task.remote(), node)
        return answer

    def run(
        self, make: Callable[[], Work[Item, Result]], items: Sequence[Item], advance: Advance, name: str
    ) -> Iterator[Result]:
        """Run the function from `make` on all items with the workers; yield the results as they arrive.

        `make` and the items are pickled. The items of a lost worker or machine are repeated by others. Machines that
        join are used if they pass `check`. `name` is the name of an item for messages. Raise a worker's error, and
        DeviceError if no machine is left or an item repeatedly ends its worker.
        """
        with _Run(self, make, advance, name) as run:
            yield from run.results(items)

    @contextmanager
    def session(self, name: str) -> Iterator[Session]:
        """Yield workers that keep values between rounds of requests, for the duration of the block.

        `name` is the name of a request for messages. Raise DeviceError if no worker starts in time.
        """
        session = Session(self, self._ray, name)
        try:
            session.start()
            yield session
        finally:
            session.end()

    def actor(self, kind: type, node: Node, concurrency: int) -> Any:
        """Start an actor of a class on a machine, for one of its GPUs if it has any; return Ray's handle.

        `concurrency` is the number of calls that may run at the same time.
        """
        options = {**self._place(node, 1 if node.gpus else 0), "max_concurrency": concurrency, "max_restarts": 0}
        return self._ray.remote(kind).options(**options).remote(node.address, _environment(node))

    def checked_nodes(self) -> list[Node]:
        """Return the machines that pass `check`; check new ones, and name those that fail."""
        fit = []
        for node in self.nodes():
            try:
                if not self.is_checked(node):
                    self._note(node, self._got(self.probe(node), node))
                fit.append(node)
            except IndexerError as error:
                log.warning("%s The run goes on without this machine.", error)
        return fit

    def start(self, node: Node, slot: int, make: Any) -> _Member:
        """Start a worker on a machine."""
        actor = self.actor(Worker, node, concurrency=2)
        reports = actor.work.options(num_returns="streaming").remote(make)
        return _Member(node, slot, actor, reports)

    def is_checked(self, node: Node) -> bool:
        """Return whether the machine has passed `check`."""
        return node.id in self._checked

    def probe(self, node: Node) -> Any:
        """Start the checks of `check` on a machine; return Ray's reference to the answer, for `passes`."""
        return self._ray.remote(probing(self._folders)).options(**self._place(node, 0)).remote()

    def passes(self, node: Node, answer: Any) -> bool:
        """Return whether a machine has answered and passed the checks. Raise IndexerError if it cannot do the work."""
        try:
            found = self._ray.get(answer, timeout=0)
        except self._ray.exceptions.GetTimeoutError:
            return False
        except self._ray.exceptions.RayError as error:
            raise _failed(node, error) from error
        self._note(node, found)
        return True

    def _note(self, node: Node, found: Any) -> None:
        checked(node.address, found, own_versions())
        self._checked.add(node.id)

    def _got(self, answer: Any, node: Node) -> Any:
        try:
            return self._ray.get(answer, timeout=START_S)
        except self._ray.exceptions.GetTimeoutError as error:
            raise DeviceError(
                f"The machine {node.address} of the Ray cluster started no worker within {START_S:.0f} s; check "
                "whether other jobs use its processors or GPUs."
            ) from error
        except self._ray.exceptions.RayError as error:
            raise _failed(node, error) from error

    def _place(self, node: Node, gpus: int) -> dict[str, Any]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return {
            "num_cpus": 1,
            "num_gpus": gpus,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False),
        }


class _Run:
    """One call of `Machines.run`."""

    def __init__(self, machines: Machines, make: Callable[[], Work[Any, Any]], advance: Advance, name: str) -> None:
        self._machines, self._ray = machines, machines._ray
        self._make = self._ray.put(make)
        self._advance, self._name = advance, name
        self._members: list[_Member] = []
        self._waiting: deque[Any] = deque()
        self._lost: dict[Any, int] = {}
        # Pending checks of machines that joined, and the reasons why some are left out; by node id.
        self._probes: dict[str, Any] = {}
        self._refused: dict[str, str] = {}
        self._looked = -_LOOK_EVERY_S
        self._nobody_since: float | None = None

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            with contextlib.suppress(Exception):
                self._ray.kill(member.actor)

    def results(self, items: Sequence[Any]) -> Iterator[Any]:
        self._waiting.extend(items)
        left = len(self._waiting)
        while left:
            self._start_missing_workers()
            self._feed()
            for report in self._reports():
                self._advance(report.advanced)
                if report.done:
                    left -= 1
                    yield report.result

    def _start_missing_workers(self) -> None:
        """Start workers on machines that have none yet."""
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return
        self._looked = time.monotonic()
        if not self._waiting:
            return
        there = {(member.node.id, member.slot) for member in self._members}
        for node in self._machines.nodes():
            if not self._is_fit(node):
                continue
            for slot in range(max(1, node.gpus)):
                if (node.id, slot) not in there:
                    self._members.append(self._machines.start(node, slot, self._make))
        if self._members:
            self._nobody_since = None
            return
        self._nobody_since = self._nobody_since or time.monotonic()
        if time.monotonic() - self._nobody_since > NOBODY_S:
            raise DeviceError(
                f"No machine of the Ray cluster at {self._machines.address} is left. Finished work is kept: add "
                f"machines and run the command again. {' '.join(self._refused.values())}".rstrip()
            )
        time.sleep(_LOOK_EVERY_S)

    def _is_fit(self, node: Node) -> bool:
        """Return whether a machine was checked and can do the work; start the check of a new one without waiting."""
        if self._machines.is_checked(node):
            return True
        if node.id in self._refused:
            return False
        if node.id not in self._probes:
            self._probes[node.id] = self._machines.probe(node)
        try:
            return self._machines.passes(node, self._probes[node.id])
        except IndexerError as error:
            self._refused[node.id] = str(error)
            log.warning("%s The run goes on without this machine.", error)
            return False

    def _feed(self) -> None:
        """Give items to the workers that request them; if none are left, tell the workers to finish."""
        for member in [member for member in self._members if member.wants]:
            member.wants = False
            if not self._waiting:
                member.actor.end.remote()
                continue
            at_once = max(1, min(_MOST_AT_ONCE, len(self._waiting) // (4 * len(self._members))))
            given = [self._waiting.popleft() for _ in range(min(at_once, len(self._waiting)))]
            member.items.extend(given)
            member.actor.feed.remote(given)

    def _reports(self) -> Iterator[Any]:
        """Yield the reports of workers that arrive within a second."""
        if not self._members:
            return
        by_reports = {member.reports: member for member in self._members}
        ready, _ = self._ray.wait(list(by_reports), num_returns=1, timeout=_LOOK_EVERY_S, fetch_local=False)
        for reports in ready:
            member = by_reports[reports]
            try:
                report = self._ray.get(next(reports))
            except (self._ray.exceptions.RayError, StopIteration) as error:
                self._lose(member, error)
                continue
            if isinstance(report, Failed):
                raise report.error()
            if report.done:
                member.items.popleft()
            member.wants = member.wants or report.wants
            yield report

    def _lose(self, member: _Member, error: Exception) -> None:
        """Give the items of a lost worker to others."""
        self._members.remove(member)
        if member.items:
            first = member.items[0]
            self._lost[first] = self._lost.get(first, 0) + 1
            self._looked = -_LOOK_EVERY_S
            if self._lost[first] >= MOST_LOST:
                raise DeviceError(
                    f"{MOST_LOST} workers ended during {self._name} {first}; the last one was on "
                    f"{member.node.address} ({gist(error)}). Run the command again to continue, with a smaller "
                    "--batch-size if memory ran out."
                ) from error
        self._waiting.extendleft(reversed(member.items))
        with contextlib.suppress(Exception):
            self._ray.kill(member.actor)


@contextmanager
def machines(address: str) -> Iterator[Machines]:
    """Join the Ray cluster at an address ("auto": this machine's) for the duration of the block. Errors: `joined`."""
    with joined(address) as ray:
        yield Machines(ray, address)


def _environment(node: Node) -> dict[str, str]:
    """Return the numbers of threads of this process, or else the machine's CPUs divided among its workers.

    By default Ray gives a worker one thread for each requested CPU, which is one.
    """
    share = max(1, node.processors // max(1, node.gpus))
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    pinned = {name: os.environ[name] for name in names if name in os.environ}
    return {"OMP_NUM_THREADS": str(share), "OMP_WAIT_POLICY": "passive", **pinned}


def _failed(node: Node, error: Exception) -> DeviceError:
    return DeviceError(f"The machine {node.address} of the Ray cluster failed: {gist(error)}.")
