from __future__ import annotations

import threading

import faiss

from lookalike_server.common.thread_budget import ThreadBudget


def test_large_calls_use_all_threads_and_small_calls_their_share():
    budget = ThreadBudget.of(8)
    seen = []

    def claim() -> None:
        for queries in (1, 8, 64, 1):
            budget.claim_search(queries)
            seen.append(faiss.omp_get_max_threads())

    thread = threading.Thread(target=claim)
    thread.start()
    thread.join()
    assert seen == [4, 4, 8, 4]
