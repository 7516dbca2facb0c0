from __future__ import annotations

from threadpoolctl import threadpool_info, threadpool_limits

from lookalike_indexer.numerics.single_thread import one_thread


def threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info()}


def test_one_thread_in_the_block_and_thread_counts_restored_afterwards() -> None:
    for count in (2, 3, 2):
        with threadpool_limits(count):
            with one_thread():
                assert threads() == {1}
                with one_thread():
                    assert threads() == {1}
                assert threads() == {1}
            assert threads() == {count}
