"""Exact graph with one product for each pair of images: each result serves both images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.graph.groups import Group, groups
from lookalike_indexer.graph.lists import Neighbors, nearest
from lookalike_indexer.progress import Bar
from lookalike_indexer.vectors.exact import BestResults
from lookalike_indexer.vectors.exchange import Side, compare_all, exchange
from lookalike_indexer.vectors.metric import prepare

# Bytes of the lists that are held for all images until they are complete.
_HELD = 1 << 30
_LIST_ENTRY_BYTES = 12
# Rows of a block that a group is compared with.
_BLOCK = 1024


def is_worth_it(reader: CollectionReader, space: str, places: Sequence[int], k: int) -> bool:
    """Return whether the lists of the parts at `places` can be made this way, and include most pairs.

    Deleted images have lists but are in none, so that pairs with them are not symmetric.
    """
    entry = reader.manifest.spaces[space]
    fits = entry.rows * (k + 1) * _LIST_ENTRY_BYTES <= _HELD
    return fits and not len(reader.deleted) and 2 * len(places) > len(entry.parts)


def each_pair(
    reader: CollectionReader,
    space: str,
    places: Sequence[int],
    k: int,
    metric: Metric,
    write: Callable[[Group, Neighbors], None],
    bar: Bar,
) -> None:
    """Find the k nearest neighbors of the images of the parts at `places`, group by group, and `write` each group.

    A group is complete after it is compared with all parts: those of later groups, which keep the results for
    themselves; those of earlier groups, whose results it has received; and parts that are not among `places`.
    """
    entry = reader.manifest.spaces[space]
    wanted = set(places)
    learned: dict[int, BestResults] = {}
    for group in groups(reader, space, places):
        bounds = [0, *group.ends.tolist()]
        sizes = np.diff(bounds).tolist()
        fresh = {place: BestResults.none(size, k + 1) for place, size in zip(group.places, sizes, strict=True)}
        known = [learned.pop(place, fresh[place]) for place in group.places]
        best = BestResults(
            np.concatenate([each.rows for each in known]), np.concatenate([each.distances for each in known])
        )
        own = Side(group.ids, prepare(group.vectors, metric), best)
        compare_all(own, metric, bar.advance)
        for place, path in enumerate(entry.parts):
            if place in group.places or (place in wanted and place < group.places[0]):
                continue
            later = place in wanted
            rows = reader.manifest.files[path].rows or 0
            found = learned.setdefault(place, BestResults.none(rows, k + 1)) if later else BestResults.none(rows, k + 1)
            _with_part(own, reader.stream_part(path, _BLOCK), found, metric, later)
            bar.advance(rows)
        write(group, nearest(best.rows, best.distances, group.ids, k))


def _with_part(
    own: Side, blocks: Iterable[tuple[Int64, Float32]], found: BestResults, metric: Metric, both: bool
) -> None:
    """Compare a group with the images of a part; `found` has that part's nearest images so far."""
    start = 0
    for ids, vectors in blocks:
        some = slice(start, start + len(ids))
        part = Side(ids, prepare(vectors, metric), BestResults(found.rows[some], found.distances[some]))
        exchange(own, part, metric, both)
        start = some.stop
