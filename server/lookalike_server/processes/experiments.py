"""The queue before the laboratory: one experiment runs at a time, and equal calls are answered by one run."""

from __future__ import annotations

import threading
from collections import OrderedDict

from lookalike_server.batching.awaited import AwaitedBatcher
from lookalike_server.batching.batcher import Answer, Rules
from lookalike_server.common.limits import Limits
from lookalike_server.processes.experiment_runner import Asked, Laboratory

# A run that the server's end overtakes is not waited for longer.
_PATIENCE_S = 1.0
# What keeping an answer takes besides the answer: its digest, and its place in a table.
KEPT_EACH = 256


class ExperimentQueue:
    """Answers of experiments; those that were given before, from memory."""

    def __init__(self, laboratory: Laboratory, limits: Limits) -> None:
        self._laboratory = laboratory
        self._kept = Kept(limits.max_kept_bytes)
        rules: Rules[Asked] = Rules(
            key=lambda asked: asked.digest,
            # Callers who ask the same cost one run, but each has a place of its own in the queue.
            size=lambda asked: 1,
            max_batch=limits.max_experiments,
            max_queue=limits.max_experiments,
        )
        self._batcher: AwaitedBatcher[Asked, bytes] = AwaitedBatcher("experiments", {"laboratory": self._run}, rules)

    async def answer(self, asked: Asked, deadline: float | None) -> Answer[bytes]:
        """A serialised message; see Laboratory. `deadline` is in the time of `time.monotonic`.

        OverloadedError, ExpiredError: see AwaitedBatcher. Otherwise what the experiment failed with.
        """
        kept = self._kept.get(asked)
        if kept is not None:
            return Answer(kept, "laboratory", 1, 0, 0)
        return await self._batcher.submit(asked, deadline)

    @property
    def waiting(self) -> int:
        """The experiments that wait."""
        return self._batcher.waiting

    @property
    def kept_bytes(self) -> int:
        """What the answers that are kept take. From any thread."""
        return self._kept.size

    @property
    def hung(self) -> bool:
        """Whether the laboratory gives no sign of life."""
        return self._laboratory.hung

    def close(self) -> None:
        """End the thread and the laboratory. May wait for what runs: not for the event loop."""
        self._batcher.close()
        self._batcher.join(_PATIENCE_S)
        self._laboratory.close()

    def _run(self, batch: list[Asked]) -> list[bytes | Exception]:
        # Of equal calls, one that waited behind another finds its answer kept.
        answer = self._kept.get(batch[0]) or self._laboratory.answer(batch[0])
        self._kept.add(batch[0], answer)
        return [answer] * len(batch)


class Kept:
    """The answers used last of one generation, as many as fit into `most` bytes, by the digests of what was asked.

    For several threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._generation = 0
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()
        # The bytes that they take.
        self.size = 0

    def get(self, asked: Asked) -> bytes | None:
        """The answer, or None."""
        with self._lock:
            if asked.digest in self._answers:
                self._answers.move_to_end(asked.digest)
            return self._answers.get(asked.digest)

    def add(self, asked: Asked, answer: bytes) -> None:
        """Keep an answer; a newer generation's drives out all others, and an older one's is not kept."""
        size = len(answer) + KEPT_EACH
        with self._lock:
            if asked.generation > self._generation:
                self._answers.clear()
                self._generation, self.size = asked.generation, 0
            if asked.generation < self._generation or asked.digest in self._answers or size > self._most:
                return
            self._answers[asked.digest] = answer
            self.size += size
            while self.size > self._most:
                _, dropped = self._answers.popitem(last=False)
                self.size -= len(dropped) + KEPT_EACH
