"""Queue of experiments: one runs at a time, and one run answers equal calls."""

from __future__ import annotations

import threading
from collections import OrderedDict

from lookalike_server.batching.awaited import AwaitedBatcher
from lookalike_server.batching.batcher import Answer, Rules
from lookalike_server.common.limits import Limits
from lookalike_server.processes.experiment_runner import ExperimentKey, ExperimentRunner

# Longest wait for a running experiment at shutdown.
_CLOSE_TIMEOUT_S = 1.0
# Overhead of a cached answer: its digest, and its entry in a table.
ENTRY_OVERHEAD_BYTES = 256


class ExperimentQueue:
    """Answers of experiments, with a cache."""

    def __init__(self, experiment_runner: ExperimentRunner, limits: Limits) -> None:
        self._runner = experiment_runner
        self._cache = ResultCache(limits.max_kept_bytes)
        rules: Rules[ExperimentKey] = Rules(
            key=lambda key: key.digest,
            # Callers with equal requests share one run, but each takes a place in the queue.
            size=lambda key: 1,
            max_batch=limits.max_experiments,
            max_queue=limits.max_experiments,
        )
        self._batcher: AwaitedBatcher[ExperimentKey, bytes] = AwaitedBatcher(
            "experiments", {"runner": self._run}, rules
        )

    async def answer(self, key: ExperimentKey, deadline: float | None) -> Answer[bytes]:
        """Return a serialized message; see ExperimentRunner. `deadline` is in the time of `time.monotonic`.

        Raises OverloadedError and ExpiredError as AwaitedBatcher does, otherwise the experiment's
        error.
        """
        cached = self._cache.get(key)
        if cached is not None:
            return Answer(cached, "runner", 1, 0, 0)
        return await self._batcher.submit(key, deadline)

    @property
    def waiting(self) -> int:
        """Number of queued experiments."""
        return self._batcher.waiting

    @property
    def cached_bytes(self) -> int:
        """Bytes of the cached answers. Thread-safe."""
        return self._cache.size

    @property
    def hung(self) -> bool:
        """True if the experiment runner sends no heartbeat."""
        return self._runner.hung

    def close(self) -> None:
        """End the thread and the experiment runner. May block for the current run: not for the event loop."""
        self._batcher.close()
        self._batcher.join(_CLOSE_TIMEOUT_S)
        self._runner.close()

    def _run(self, batch: list[ExperimentKey]) -> list[bytes | Exception]:
        # A call that waited behind an equal one finds its answer in the cache.
        answer = self._cache.get(batch[0]) or self._runner.answer(batch[0])
        self._cache.add(batch[0], answer)
        return [answer] * len(batch)


class ResultCache:
    """LRU cache of the answers of one generation, of up to `most` bytes, by the digests of their keys.

    Thread-safe.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._generation = 0
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()
        # Bytes of all answers.
        self.size = 0

    def get(self, key: ExperimentKey) -> bytes | None:
        """Return the answer, or None."""
        with self._lock:
            if key.digest in self._answers:
                self._answers.move_to_end(key.digest)
            return self._answers.get(key.digest)

    def add(self, key: ExperimentKey, answer: bytes) -> None:
        """Cache an answer. A newer generation's clears the cache; an older one's is ignored."""
        size = len(answer) + ENTRY_OVERHEAD_BYTES
        with self._lock:
            if key.generation > self._generation:
                self._answers.clear()
                self._generation, self.size = key.generation, 0
            if key.generation < self._generation or key.digest in self._answers or size > self._most:
                return
            self._answers[key.digest] = answer
            self.size += size
            while self.size > self._most:
                _, dropped = self._answers.popitem(last=False)
                self.size -= len(dropped) + ENTRY_OVERHEAD_BYTES
