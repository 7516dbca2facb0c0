"""The queue before the experiment runner: one experiment runs at a time, and equal calls are answered by one run."""

from __future__ import annotations

import threading
from collections import OrderedDict

from lookalike_server.batching.awaited import AwaitedBatcher
from lookalike_server.batching.batcher import Answer, Rules
from lookalike_server.common.limits import Limits
from lookalike_server.processes.experiment_runner import ExperimentKey, ExperimentRunner

# A run that the server's end overtakes is not waited for longer.
_CLOSE_TIMEOUT_S = 1.0
# What keeping an answer takes besides the answer: its digest, and its place in a table.
ENTRY_OVERHEAD_BYTES = 256


class ExperimentQueue:
    """Answers of experiments; those that were given before, from memory."""

    def __init__(self, experiment_runner: ExperimentRunner, limits: Limits) -> None:
        self._runner = experiment_runner
        self._cache = ResultCache(limits.max_kept_bytes)
        rules: Rules[ExperimentKey] = Rules(
            key=lambda key: key.digest,
            # Callers who ask the same cost one run, but each has a place of its own in the queue.
            size=lambda key: 1,
            max_batch=limits.max_experiments,
            max_queue=limits.max_experiments,
        )
        self._batcher: AwaitedBatcher[ExperimentKey, bytes] = AwaitedBatcher(
            "experiments", {"runner": self._run}, rules
        )

    async def answer(self, key: ExperimentKey, deadline: float | None) -> Answer[bytes]:
        """A serialized message; see ExperimentRunner. `deadline` is in the time of `time.monotonic`.

        OverloadedError, ExpiredError: see AwaitedBatcher. Otherwise what the experiment failed with.
        """
        cached = self._cache.get(key)
        if cached is not None:
            return Answer(cached, "runner", 1, 0, 0)
        return await self._batcher.submit(key, deadline)

    @property
    def waiting(self) -> int:
        """The experiments that wait."""
        return self._batcher.waiting

    @property
    def kept_bytes(self) -> int:
        """What the answers that are kept take. From any thread."""
        return self._cache.size

    @property
    def hung(self) -> bool:
        """Whether the experiment runner gives no sign of life."""
        return self._runner.hung

    def close(self) -> None:
        """End the thread and the experiment runner. May wait for what runs: not for the event loop."""
        self._batcher.close()
        self._batcher.join(_CLOSE_TIMEOUT_S)
        self._runner.close()

    def _run(self, batch: list[ExperimentKey]) -> list[bytes | Exception]:
        # Of equal calls, one that waited behind another finds its answer kept.
        answer = self._cache.get(batch[0]) or self._runner.answer(batch[0])
        self._cache.add(batch[0], answer)
        return [answer] * len(batch)


class ResultCache:
    """The answers used last of one generation, as many as fit into `most` bytes, by the digests of their keys.

    For several threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._generation = 0
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()
        # The bytes that they take.
        self.size = 0

    def get(self, key: ExperimentKey) -> bytes | None:
        """The answer, or None."""
        with self._lock:
            if key.digest in self._answers:
                self._answers.move_to_end(key.digest)
            return self._answers.get(key.digest)

    def add(self, key: ExperimentKey, answer: bytes) -> None:
        """Keep an answer; a newer generation's drives out all others, and an older one's is not kept."""
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
