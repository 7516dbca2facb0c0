"""From a stored index to searchers on the devices that a placement names."""

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
    """The devices of a placement; `gpus` as `--gpus` gives it, `there` as many as faiss sees.

    "gpu" without `--gpus` is GPU 0; "shard" and "replicate" without it are all
    of them. UsageError or DeviceError when that cannot be.
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
    """A stored index, its digest verified first; DataLossError when it is not what was written."""
    index = read_index(reader, entry)
    if index.ntotal != entry.rows:
        raise DataLossError(
            f"The index of the space {entry.space} holds {index.ntotal} images and the manifest says {entry.rows}; "
            f"build it again with: lookalike build {reader.storage.location} --space {entry.space}"
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
    """Put an index that was read from `path` on devices; each searcher returned can answer alone.

    "replicate" gives one for each device, which batches go round; the others
    give one. `prepare` runs in each thread that a searcher starts. `recall` are
    the ladders that were measured of the index.
    DeviceError: the devices cannot hold it.
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
        # Now: a shard that asks for it later would keep the whole index.
        membership.read()
    measured = Measured(recall, membership)
    parts = [
        OnDevice(device.name, device.host(piece.index), metric, device.max_selection, piece.offset, measured)
        for device, piece in zip(devices, pieces(index, path, len(devices)), strict=True)
    ]
    return [Sharded(parts, prepare)]
