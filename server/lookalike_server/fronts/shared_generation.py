"""Description of a shared generation, and how a front opens it: columns, without an index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.location import open_storage
from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Stamp
from lookalike_indexer.errors import DataLossError
from lookalike_server.columns.clusterings import Clustering
from lookalike_server.columns.columns import Columns
from lookalike_server.columns.space_images import SpaceImages
from lookalike_server.columns.stored_vectors import StoredVectors
from lookalike_server.common.limits import Limits
from lookalike_server.filters.matching import Filters
from lookalike_server.generation.shared_files import file_of_clustering, file_of_space, map_shared
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.spaces import Search, Space
from lookalike_server.generation.verification import VerifiedStorage
from lookalike_server.search.effort import Planner
from lookalike_server.search.search_engine import SearchEngine


class SharedSpace(msgspec.Struct, frozen=True):
    """Facts of a space's index that a front needs: its name, and the inputs of Planner."""

    index: str
    lossless: bool
    uncompressed: bool
    incomplete: bool
    notes: tuple[str, ...]


class SharedGeneration(msgspec.Struct, frozen=True):
    """A generation of the collection at position `collection`; `made` is the digest of its manifest.

    `folder` contains the files to map, with their `digests`. `stamps` are those of the verified
    files of the collection. `hidden` are the folders to hide from callers that see no paths.
    `spaces` are those with an index, in the order of the manifest.
    """

    collection: int
    name: str
    generation: int
    made: str
    folder: str
    digests: dict[str, str]
    stamps: dict[str, tuple[int, int, int]]
    hidden: list[str]
    spaces: dict[str, SharedSpace]

    def encoded(self) -> bytes:
        """Encode for another process of this server."""
        return msgspec.json.encode(self)


_DECODER = msgspec.json.Decoder(SharedGeneration)


def decoded(body: bytes) -> SharedGeneration:
    """Decode what `encoded` returned."""
    return _DECODER.decode(body)


def described(collection: int, snapshot: Snapshot, hidden: Sequence[str]) -> SharedGeneration | None:
    """Describe a generation for fronts. Return None if it cannot be shared."""
    shared, storage = snapshot.shared, snapshot.reader.storage
    if shared is None or not isinstance(storage, VerifiedStorage):
        return None
    spaces = {name: _space(space) for name, space in snapshot.spaces.items() if space.searchable}
    stamps = {path: (stamp.inode, stamp.bytes, stamp.modified_ns) for path, stamp in storage.stamps.items()}
    return SharedGeneration(
        collection, snapshot.name, snapshot.generation, snapshot.made, str(shared.folder), shared.digests, stamps,
        list(hidden), spaces,
    )  # fmt: skip


def _space(space: Space) -> SharedSpace:
    planner = space.planner
    return SharedSpace(planner.entry.name, planner.lossless, planner.uncompressed, planner.incomplete, space.notes)


@dataclass(frozen=True)
class FrontOpening:
    """Arguments for opening generations of one collection in the folder `root`.

    `engine` makes the engine of a space.
    """

    root: str
    limits: Limits
    engine: Callable[[int, IndexEntry], SearchEngine]


class FrontSnapshot(Snapshot):
    """A generation in a front. `closed` is called after its last use."""

    closed: Callable[[], None] = staticmethod(lambda: None)

    def close(self) -> None:
        super().close()
        self.closed()


def open_generation(shared: SharedGeneration, opening: FrontOpening) -> FrontSnapshot:
    """Map a generation. Reads the manifest, so do not call it on the event loop.

    Raises DataLossError if the collection, or a file, is not the described one.
    """
    storage = open_storage(opening.root)
    manifest = generations.read(storage, shared.generation)
    if digest_of(manifest) != shared.made:
        raise DataLossError(f"Generation {shared.generation} of {opening.root} was replaced.")
    stamps = {path: Stamp(*stamp) for path, stamp in shared.stamps.items()}
    reader = CollectionReader(VerifiedStorage(storage, manifest, stamps), manifest)
    folder = Path(shared.folder)
    columns = Columns.of_arrays(map_shared(folder, shared.digests, "columns"), shared.name)
    spaces = {}
    for name in manifest.spaces:
        told, search = shared.spaces.get(name), None
        if told is not None:
            entry = manifest.indexes[f"{name}/{told.index}"]
            arrays = map_shared(folder, shared.digests, file_of_space(reader, name))
            number = list(manifest.spaces).index(name)
            search = Search(
                opening.engine(number, entry),
                Planner(entry, told.lossless, told.uncompressed, told.incomplete),
                SpaceImages.of_arrays(columns, arrays),
                None,
                told.notes,
            )
        spaces[name] = Space(reader, name, reader.whole.ids(name), StoredVectors(reader.whole, name), search)
    clusterings = {
        name: Clustering.of_arrays(
            reader.clustering(name), name, map_shared(folder, shared.digests, file_of_clustering(reader, name))
        )
        for name in sorted(manifest.clusterings)
    }
    filters = Filters(reader, columns.ids, columns.filter_columns(), opening.limits.max_filter_bytes)
    return FrontSnapshot(reader, columns, spaces, clusterings, filters, shared.name, description={})
