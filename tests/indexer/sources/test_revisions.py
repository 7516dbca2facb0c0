"""Changes of the listing, collected without a dictionary for each touched file."""

from __future__ import annotations

import tracemalloc

from lookalike_indexer.sources.revisions import ListingChanges


def test_changes_of_a_row_are_merged():
    changes = ListingChanges(5)
    assert list(changes.numbers()) == []
    changes.set(4, {"label": "dog"})
    changes.touch(2, 10, 99, None)
    changes.touch(4, 11, 98, "digest")
    changes.set(2, {"label": "cat", "source_label": "cat"})
    assert list(changes.numbers()) == [2, 4]
    assert changes.of(2) == {
        "bytes": 10, "modified_ns": 99, "changed_sha256": None, "label": "cat", "source_label": "cat"
    }  # fmt: skip
    assert changes.of(4) == {"bytes": 11, "modified_ns": 98, "changed_sha256": "digest", "label": "dog"}


def test_set_values_override_those_of_the_file():
    changes = ListingChanges(2)
    changes.touch(1, 10, 99, "digest")
    changes.set(1, {"bytes": 12, "changed_sha256": None})
    assert changes.of(1) == {"bytes": 12, "modified_ns": 99, "changed_sha256": None}
    assert list(changes.numbers()) == [1]


def test_touched_file_takes_few_bytes():
    count = 20_000
    tracemalloc.start()
    changes = ListingChanges(count)
    for number in range(count):
        changes.touch(number, number, number, None)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / count < 20
