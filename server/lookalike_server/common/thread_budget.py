"""Processors for searches, embedding, and the rest. Owners of threads get their share; none asks the machine itself."""

from __future__ import annotations

from dataclasses import dataclass

import faiss

from lookalike_indexer import threads

# From this many queries per call on, the search takes so much of the call's time that it gets all processors.
_LARGE = 32


@dataclass(frozen=True)
class ThreadBudget:
    """Threads: `search` for each CPU search, `embed` for the network, `workers` for the rest, of `processors`.

    Searching and embedding run at the same time, so they share the processors. OpenMP teams larger
    together than the machine would spin against each other.
    """

    search: int
    embed: int
    workers: int
    processors: int = 1

    @classmethod
    def of(cls, processors: int) -> ThreadBudget:
        embed = max(1, processors // 2)
        return cls(
            search=max(1, processors - embed), embed=embed, workers=min(4, max(2, processors)), processors=processors
        )

    @classmethod
    def detect(cls) -> ThreadBudget:
        return cls.of(threads.processors())

    def claim_search(self, queries: float = 1) -> None:
        """Set the calling thread's OpenMP team to the search share. OpenMP keeps the number for each thread.

        `queries` is the mean number of queries of the calls in a batch. For large calls the event
        loop has little to do, so the search uses all processors.
        """
        faiss.omp_set_num_threads(self.processors if queries >= _LARGE else self.search)
