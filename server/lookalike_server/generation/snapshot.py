"""A loaded generation. It never changes; a new generation is a new snapshot."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from typing import Any, Literal

from lookalike_indexer.collection.current import clustering_called, coverage_note
from lookalike_indexer.collection.description import describe
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import digest_of
from lookalike_server.columns.clusterings import Clustering
from lookalike_server.columns.columns import Columns
from lookalike_server.filters.matching import Filters
from lookalike_server.generation.later_files import LaterFiles, Progress, read_by_experiments
from lookalike_server.generation.shared_files import SharedFiles
from lookalike_server.generation.spaces import Space
from lookalike_server.generation.verification import VerifiedStorage


class Snapshot:
    """A loaded generation."""

    def __init__(
        self,
        reader: CollectionReader,
        columns: Columns,
        spaces: dict[str, Space],
        clusterings: dict[str, Clustering],
        filters: Filters,
        name: str = "",
        shared: SharedFiles | None = None,
        description: dict[str, Any] | None = None,
    ) -> None:
        """`shared` are the files that other processes map. `description` is computed if it is None."""
        self.reader = reader
        self.shared = shared
        self.filters = filters
        # Resolved once, because every reply names the collection, and resolving its path accesses the disk.
        self.name = name or reader.name
        self.columns = columns
        self.spaces = spaces
        self.clusterings = clusterings
        self.clustering_notes = {
            name: coverage_note(reader.manifest, entry, reader.storage.location)
            for name, entry in reader.manifest.clusterings.items()
        }
        served = {name: space.index.name for name, space in spaces.items() if space.index is not None}
        described = describe(reader, served) if description is None else description
        self.description = {**described, "name": self.name}
        # Distinguishes it from a generation of the same number in a recreated collection.
        self.made = digest_of(reader.manifest)

    @property
    def verification(self) -> Progress:
        """Progress of the verification of this generation's files, and damage."""
        return self._later.progress

    def verify_rest(self) -> None:
        """Verify the files that no call has needed yet, until the generation is closed. Takes minutes."""
        self._later.verify_all()

    async def verified_for_experiment(self, spaces: Collection[str] = ()) -> None:
        """Wait until the files that an experiment process may read are verified.

        `spaces` are those whose embeddings it reads; empty means all. Raises DataLossError if a
        file is not what was written.
        """
        later = self._later
        if later.is_settled:
            return
        for group, paths in read_by_experiments(self.reader.manifest, spaces).items():
            error = await asyncio.wrap_future(later.required(group, paths))
            if error is not None:
                # A new error for each caller, because raising an error modifies it.
                raise type(error)(*error.args)

    @property
    def _later(self) -> LaterFiles:
        storage = self.reader.storage
        return storage.later_files if isinstance(storage, VerifiedStorage) else LaterFiles((), 0, lambda path: None)

    @property
    def generation(self) -> int:
        return self.reader.manifest.generation

    @property
    def base(self) -> Snapshot:
        """The stored generation, without later changes; itself if there are none."""
        return self

    @property
    def sequence(self) -> int:
        """Sequence number of the last change that it contains; 0 for none."""
        return self.reader.manifest.folded_through

    def space(self, name: str = "") -> Space:
        """Return a space by name; "" means the default one. Raises NotFoundError, which lists the existing ones."""
        return self.spaces[self.reader.space(name)[0]]

    def clustering(self, name: str) -> Clustering:
        """Return a clustering by "space/name" or name. Raises NotFoundError, which lists the existing ones."""
        self.reader.clustering(name)
        return self.clusterings[clustering_called(self.reader.manifest, name)]

    def waiting(self, lane: Literal["search", "scan"]) -> int:
        """Return the number of queued queries in one lane of all spaces."""
        return sum(space.engine.waiting[lane] for space in self.spaces.values() if space.searchable)

    def check_threads(self) -> list[tuple[str, str]]:
        """Give up hung threads of the engines; see Engine.check_threads."""
        return [told for space in self.spaces.values() if space.searchable for told in space.engine.check_threads()]

    def close(self) -> None:
        """Stop its threads, remove its files, and let `lookalike gc` remove the generation.

        The memory is freed with the last reference, for example when the last thread ends.
        """
        self._later.stop()
        if self.reader.storage.is_local:
            self.reader.release()
        else:
            # The event loop closes generations, and an object store may take a minute to answer.
            threading.Thread(target=self.reader.release, name="release").start()
        for space in self.spaces.values():
            space.close()
        if self.shared is not None:
            self.shared.remove()
