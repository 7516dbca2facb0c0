"""Servers behind a router: their health, and their generations."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc

from lookalike.v1 import shard_pb2
from lookalike_indexer.errors import DeviceError
from lookalike_server.common.shard_settings import ShardSettings
from lookalike_server.placement.share import ShareFacts
from lookalike_server.shards.messages import index_facts
from lookalike_server.shards.replica import Replica

log = logging.getLogger(__name__)

# Interval of health checks, and timeout of each, in seconds.
_LOOK_S, _PATIENCE_S = 0.5, 2.0
# After this many missed health checks in a row a server is not asked any more; a busy one may miss one.
_MISSES = 2
# Seconds after which the log repeats what is waited for.
_TELL_S = 10.0
# Largest number of concurrent calls. Calls to a hung server last until their timeout.
_MOST_THREADS = 256


class ShardsMovedOnError(DeviceError):
    """The shards have a newer generation than the one that is waited for."""


class ShardSet:
    """Replicas of all shards, with periodic health checks from `open` to `close`."""

    def __init__(self, settings: ShardSettings) -> None:
        self.settings = settings
        self.shards: tuple[tuple[Replica, ...], ...] = tuple(
            tuple(Replica(address, number, settings) for address in addresses)
            for number, addresses in enumerate(settings.replicas, 1)
        )
        # Each thread waits for the answer to one call.
        self.pool = ThreadPoolExecutor(_MOST_THREADS, "ask shards")
        # Metadata of each call.
        self.metadata: tuple[tuple[str, str], ...] = ()
        self._router = uuid.uuid4().hex
        self._using: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._look_now = threading.Event()
        # True if the token file was empty when it was last read.
        self._no_token = False
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def replicas(self) -> list[Replica]:
        return [replica for shard in self.shards for replica in shard]

    def open(self) -> None:
        """Start the health checks. Does nothing if they run already."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="shards", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop the health checks, and end all waits and calls."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._look_now.set()
        if self._thread is not None:
            self._thread.join()
        for replica in self.replicas:
            # Ends its running calls.
            replica.close()
        self.pool.shutdown()

    def use(self, digest: str) -> None:
        """Make the shards keep a generation until `leave` has been called as often."""
        with self._changed:
            self._using[digest] += 1

    def leave(self, digest: str) -> None:
        """Let the shards release a generation."""
        with self._changed:
            self._using[digest] -= 1
            if self._using[digest] <= 0:
                del self._using[digest]

    def suspect(self, replica: Replica, problem: str) -> None:
        """Mark a replica as lost after a failed call, and check its health now."""
        replica.lost(problem)
        self._look_now.set()

    def problem(self, digest: str) -> str:
        """Return why a generation cannot be searched now; "" if it can."""
        for number, shard in enumerate(self.shards, 1):
            if not any(replica.has(digest) for replica in shard):
                return f"No replica of shard {number}/{len(self.shards)} is available; retry later."
        return ""

    def wait_for_change(self, seconds: float) -> None:
        """Wait for the next health check, or for `seconds`."""
        with self._changed:
            if not self._closed:
                self._changed.wait(seconds)

    @contextmanager
    def waited_for(self, generation: int, digest: str) -> Iterator[None]:
        """Wait until each live server has a generation, and each shard a live server. Keep it during the block.

        Raises ShardsMovedOnError if a shard has a newer one instead, and DeviceError if the router
        stops.
        """
        self.use(digest)
        self.open()
        self._look_now.set()
        try:
            self._wait_for(generation, digest)
            yield
        finally:
            self.leave(digest)

    def _wait_for(self, generation: int, digest: str) -> None:
        told = 0.0
        while True:
            waits = self._waits_for(generation, digest)
            if not waits:
                return
            if time.monotonic() - told > _TELL_S:
                log.info("waiting until the shards have generation %d: %s", generation, waits)
                told = time.monotonic()
            with self._changed:
                if self._closed:
                    raise DeviceError("The router is stopping.")
                self._changed.wait(_LOOK_S)

    def facts(self, digest: str, space: str, index: str) -> ShareFacts:
        """Return the shards' facts of an index of a space.

        Raises DeviceError if they differ, or one does not serve it.
        """
        known: set[ShareFacts] = set()
        for replica in self.replicas:
            if not replica.has(digest):
                continue
            served = {(one.space, one.name): one for one in replica.generations[digest].indexes}
            message = served.get((space, index))
            if message is None:
                raise DeviceError(
                    f"{replica.address} does not serve the index {space}/{index}; start all with the same --index."
                )
            known.add(index_facts(message))
        if len(known) != 1:
            raise DeviceError(
                f"The shards report different facts of the index {space}/{index}; run the same release on all."
            )
        return known.pop()

    def _waits_for(self, generation: int, digest: str) -> str:
        missing = self.problem(digest)
        live = [replica for replica in self.replicas if replica.live]
        # A server that was not told of it may release it for a newer one.
        late = [replica for replica in live if not replica.has(digest) or digest not in replica.told]
        newer = [replica for replica in late if not replica.has(digest) and replica.newest > generation]
        if newer and len(newer) == len(late):
            raise ShardsMovedOnError(
                f"{newer[0].address} already has generation {newer[0].newest} and no longer has {generation}; "
                "the router loads the newest next."
            )
        return missing or (f"{late[0].address} does not have it yet" if late else "")

    def _watch(self) -> None:
        while not self._closed:
            self._look_now.clear()
            try:
                self._check_health()
            except Exception:
                # Any error: the next health check must run.
                log.exception("the router could not ask the shards for their status")
            with self._changed:
                self._changed.notify_all()
            self._look_now.wait(_LOOK_S)

    def _check_health(self) -> None:
        """Check the health of all servers at once."""
        with self._changed:
            using = list(self._using)
        request = shard_pb2.GetShardRequest(router=self._router, digests=using, collection=self.settings.collection)
        if self.settings.token_file is not None:
            # Read every time, because it may be renewed.
            self._read_token(self.settings.token_file)
        asked = [
            (replica, replica.get_shard.future(request, timeout=_PATIENCE_S, metadata=self.metadata))
            for replica in self.replicas
        ]
        for replica, call in asked:
            was, knew = replica.live, replica.problem
            try:
                replica.answered(call.result(), len(self.shards), using)
            except grpc.RpcError as error:
                replica.missed += 1
                code = call.code()
                if code is not grpc.StatusCode.DEADLINE_EXCEEDED or replica.missed >= _MISSES or not was:
                    replica.lost(f"{code.name}: {call.details()}")
                del error
            if replica.live != was:
                log.info(
                    "shard %d: %s %s", replica.shard, replica.address, "answers" if replica.live else replica.problem
                )
            elif not was and replica.problem != knew:
                log.warning("shard %d: %s is unavailable: %s", replica.shard, replica.address, replica.problem)

    def _read_token(self, path: Path) -> None:
        """Use the token of a file from now on. While the file holds none, keep the old one."""
        try:
            read = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            read = ""
        if read:
            self.metadata = (("authorization", f"Bearer {read}"),)
        elif not self._no_token:
            log.warning("token_file: %s contains no token; the router continues to send the previous one", path)
        self._no_token = not read


def by_load(replicas: Sequence[Replica], digest: str) -> list[Replica]:
    """Return the replicas that have a generation, the least busy first."""
    there = (replica for replica in replicas if replica.has(digest))
    return sorted(there, key=lambda replica: (replica.under_way, replica.calls))


def down_for(replicas: Sequence[Replica]) -> float:
    """Return for how many seconds none of the replicas has been live; infinity if none ever was."""
    return time.monotonic() - max(replica.last_live for replica in replicas)
