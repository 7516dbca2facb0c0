"""Who may use how many processors. Each owner of threads is told its share; none asks the machine itself."""

from __future__ import annotations

from dataclasses import dataclass

import faiss

from lookalike_indexer import threads

# Queries of a call that take so much longer to search than the call takes otherwise that it pays to hurry.
_LARGE = 32


@dataclass(frozen=True)
class ThreadBudget:
    """`search` for each search on the CPU, `embed` for the network, `workers` for the rest, of `processors` in all.

    Searching and embedding go on at the same time, so they share the
    processors; OpenMP teams that together are larger than the machine spin
    against each other.
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
        """Bind the calling thread's OpenMP team to the search share: OpenMP keeps that number for each thread.

        `queries` is what each of the calls asks that are searched together. For
        large ones the event loop does little meanwhile, and all may search.
        """
        faiss.omp_set_num_threads(self.processors if queries >= _LARGE else self.search)
