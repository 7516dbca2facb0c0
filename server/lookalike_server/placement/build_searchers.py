"""Entry point of the package: from a stored index to searchers on the devices of a placement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import faiss

from lookalike_indexer.collection.manifest import IndexEntry, RecallPoint
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.devices import parse_gpus
from lookalike_indexer.errors import DataLossError, UsageError
from lookalike_indexer.indexing.files import read_index
from lookalike_server.common.placement_mode import PlacementMode
from lookalike_server.placement.devices import Cpu, Device, Gpu
from lookalike_server.placement.kinds import Measured
from lookalike_server.placement.lists import Membership
from lookalike_server.placement.searcher import OnDevice, Searcher, Sharded
from lookalike_server.placement.split import pieces


def choose_devices(placement: PlacementMode, gpus: str, there: int) -> list[Device]:
    """Return the devices of a placement. `gpus` is the value of `--gpus`; `there` is how many GPUs faiss sees.

    Without `gpus`, "gpu" means GPU 0, and "shard" and "replicate" mean all GPUs. Raises UsageError
    or DeviceError if that is impossible.
    """
    if placement == "cpu":
        if gpus.strip():
            raise UsageError(f"--gpus {gpus} needs --placement gpu, shard or replicate; the placement is cpu.")
        return [Cpu()]
    numbers = parse_gpus(gpus or ("0" if placement == "gpu" else "all"), there)
    if placement == "gpu" and len(numbers) != 1:
        raise UsageError(
            f"--placement gpu takes one GPU and --gpus {gpus} names {len(numbers)}; use shard or replicate for several."
        )
    return [Gpu(number) for number in numbers]


def load_index(reader: CollectionReader, entry: IndexEntry) -> faiss.Index:
    """Load a stored index and verify its digest. Raises DataLossError if it is not what was written."""
    index = read_index(reader, entry)
    if index.ntotal != entry.rows:
        raise DataLossError(
            f"The index of the space {entry.space} holds {index.ntotal} images and the manifest says {entry.rows}; "
            f"rebuild it with: lookalike build {reader.storage.location} --space {entry.space}"
        )
    return index


def build_searchers(
    index: faiss.Index,
    path: Path,
    metric: Metric,
    placement: PlacementMode,
    devices: Sequence[Device],
    prepare: Callable[[], None] | None = None,
    recall: Sequence[RecallPoint] = (),
) -> list[Searcher]:
    """Put an index that was read from `path` on devices. Each returned searcher can answer alone.

    "replicate" gives one searcher for each device, which take batches in turn; the other placements
    give one. `prepare` runs in each thread that a searcher starts. `recall` holds the measured
    recall ladders of the index. Raises DeviceError if the devices cannot hold it.
    """
    if placement != "shard":
        measured = Measured(recall)
        return [
            OnDevice(device.name, device.host(index), metric, device.max_selection, measured=measured)
            for device in devices
        ]
    lists = faiss.try_extract_index_ivf(index)
    membership = None
    if lists is not None:
        membership = Membership(faiss.downcast_index(lists))
        # Read it now: a shard that reads it later would keep the whole index in memory.
        membership.read()
    measured = Measured(recall, membership)
    parts = [
        OnDevice(device.name, device.host(piece.index), metric, device.max_selection, piece.offset, measured)
        for device, piece in zip(devices, pieces(index, path, len(devices)), strict=True)
    ]
    return [Sharded(parts, prepare)]
