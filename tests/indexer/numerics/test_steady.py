from __future__ import annotations

from threadpoolctl import threadpool_info, threadpool_limits

from lookalike_indexer.numerics.single_thread import one_thread


def threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info()}


def test_thread_counts_are_one_in_the_block_and_restored_after_it() -> None:
    for count in (2, 3, 2):
        with threadpool_limits(count):
            with one_thread():
                assert threads() == {1}
                with one_thread():
                    assert threads() == {1}
                assert threads() == {1}
            assert threads() == {count}
