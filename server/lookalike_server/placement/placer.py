"""Placement of a server's indexes, and what happens after the loss of a device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import faiss

from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DeviceError
from lookalike_server.common.placement_mode import OnLoss, PlacementMode
from lookalike_server.placement.build_searchers import build_searchers, load_index
from lookalike_server.placement.devices import Cpu, Device
from lookalike_server.placement.placed_index import PlacedIndex
from lookalike_server.placement.searcher import Searcher

log = logging.getLogger(__name__)

Prepare = Callable[[], None]


@dataclass(frozen=True)
class Placer:
    """A placement, its devices, and the policy for a lost device."""

    placement: PlacementMode
    devices: Sequence[Device]
    on_loss: OnLoss = "retry"

    def place(
        self, reader: CollectionReader, entry: IndexEntry, index: faiss.Index, prepare: Prepare
    ) -> list[PlacedIndex]:
        """Place a loaded index. Raises DeviceError if the devices cannot hold it.

        With `on_loss` "cpu" the processor searches it instead, so a generation loaded after the
        loss of a device is still served.
        """
        path = reader.storage.local(entry.path)
        try:
            searchers = build_searchers(index, path, entry.metric, self.placement, self.devices, prepare, entry.recall)
        except DeviceError as error:
            if self.on_loss != "cpu" or self.placement == "cpu":
                raise
            log.warning("the server searches the index of the space %s on the processor: %s", entry.space, error)
            searchers = build_searchers(index, path, entry.metric, "cpu", [Cpu()], prepare, entry.recall)
        elsewhere = self.on_loss == "cpu" and self.placement != "cpu"
        return [
            PlacedIndex(searcher, self._again(reader, entry, number, prepare), elsewhere)
            for number, searcher in enumerate(searchers)
        ]

    def _again(
        self, reader: CollectionReader, entry: IndexEntry, number: int, prepare: Prepare
    ) -> Callable[[], Searcher] | None:
        if self.on_loss == "fail":
            return None
        placement: PlacementMode = "cpu" if self.on_loss == "cpu" else self.placement
        devices: Sequence[Device] = [Cpu()] if self.on_loss == "cpu" else self.devices
        if placement == "replicate":
            # The other replicas stay where they are.
            devices = devices[number : number + 1]

        def again() -> Searcher:
            index = load_index(reader, entry)
            path = reader.storage.local(entry.path)
            [searcher] = build_searchers(index, path, entry.metric, placement, devices, prepare, entry.recall)
            return searcher

        return again
