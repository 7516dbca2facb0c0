"""Embedding of the missing parts on one device, in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from lookalike_indexer.collection import uploaded_images
from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.embedding.inventory import Inventory, Todo
from lookalike_indexer.embedding.part import Advance, PartEmbedder
from lookalike_indexer.embedding.part_store import PartStore, Written
from lookalike_indexer.images.workers import PoolSettings
from lookalike_indexer.models.network import Network

# A killed run loses the parts that wait to be written, and the one that is being embedded.
_WAITING = 1


def run_parts(
    inventory: Inventory,
    source: SourceEntry,
    pool: PoolSettings,
    device: str,
    parts: Iterable[str],
    advance: Advance,
    network: Network | None = None,
) -> Iterator[Written]:
    """Embed and write the missing rows of parts, given by the paths of their listing.

    Yields each part when it is on disk, in order. If a part already has all its files, as when the worker that wrote
    them was lost before it could report, it yields these files. The images of the next part are decoded while the
    network processes the current one. A separate thread writes, so that the network does not wait for the disk.
    """
    kept = uploaded_images.folder(inventory.storage)
    store = PartStore(inventory.storage, inventory.draft, inventory.plan)
    taken: deque[Todo | Written] = deque()

    def inputs() -> Iterator[pa.Table]:
        for part in parts:
            files = inventory.files(part)
            todo = inventory.todo(files)
            finished = store.finished(todo) if todo else files
            if todo is None or finished is not None:
                taken.append(store.read_counts(finished or files))
            else:
                taken.append(todo)
                yield todo.rows

    writing: deque[Future[Written]] = deque()

    def next_todo() -> Todo | None:
        """Return the next taken part that needs embedding; earlier ones without work count as written."""
        while taken:
            first = taken.popleft()
            if isinstance(first, Todo):
                return first
            writing.append(Future())
            writing[-1].set_result(first)
        return None

    with (
        PartEmbedder(inventory.plan, pool, device, network, source, kept) as embedder,
        ThreadPoolExecutor(1, "write") as writer,
    ):
        for tables in embedder.tables(inputs(), advance):
            todo = next_todo()
            if todo is not None:
                writing.append(writer.submit(store.write, todo, tables))
            while writing and (writing[0].done() or len(writing) > _WAITING):
                yield writing.popleft().result()
        next_todo()
        while writing:
            yield writing.popleft().result()
