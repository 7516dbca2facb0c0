"""What a call may ask for; published by GetServerInfo and checked before any work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lookalike_indexer.collection.limits import ImageLimits

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """One bound for each thing that a call can make large.

    `max_k` and `max_nprobe` stay below what a GPU index can do (2048 each,
    where a query by key asks for one neighbour more than the caller did), so
    that every placement answers the same calls. `max_batch` bounds both a call
    and the batch that several calls are searched in; `max_queue` is in queries
    of one peer, and four times as many may wait of all.
    `max_experiments` is what may wait for the one that runs; `max_table_rows`
    bounds each table of an experiment's reply, which has to stay within
    `max_message_bytes` besides.

    A peer is an address, whatever number of connections it opens; its calls
    count from their arrival until their reply has been sent. What has waited
    longer than `max_queue_ms` is refused instead of searched, so that an
    overloaded server works on what somebody still waits for, and what would
    wait longer than half of it, by the pace of late, is refused at once;
    `max_slow_queue_ms` is for pictures and exact scans, of which one batch
    takes as long as a queue of searches.

    What takes longer than it ever should has hung, and is given up: a batch on
    a device after `max_search_ms`, one that reads every embedding after
    `max_scan_ms`, reading stored vectors after `max_read_ms`, one of pictures
    after `max_embed_ms` and what decoding them may take, an experiment after
    `max_experiment_ms`. A process that gives no sign of life for
    `max_silence_ms` has hung, too. A call that holds a generation for longer
    than `max_lease_ms` is reported.

    What has to be looked at item by item is bounded by the number of items:
    `max_class_map` labels and classes, `max_names` names of models, clusterings
    or tables; and `max_text_bytes` bytes of a request besides its vectors and
    pictures, because nothing can be told of a message before it is read.
    """

    max_batch: int = 256
    max_k: int = 1024
    max_nprobe: int = 2048
    max_image_bytes: int = 20 * MIB
    max_image_pixels: int = 100_000_000
    max_message_bytes: int = 64 * MIB
    max_page_size: int = 1000
    max_members: int = 100
    max_queue: int = 1024
    max_experiments: int = 8
    max_table_rows: int = 1_000_000
    max_peer_calls: int = 1024
    max_peer_bytes: int = 256 * MIB
    max_queue_bytes: int = 256 * MIB
    max_queue_ms: int = 2000
    max_slow_queue_ms: int = 30_000
    max_receive_ms: int = 30_000
    max_search_ms: int = 30_000
    max_scan_ms: int = 600_000
    max_read_ms: int = 60_000
    max_embed_ms: int = 60_000
    max_experiment_ms: int = 600_000
    max_silence_ms: int = 10_000
    max_lease_ms: int = 900_000
    max_class_map: int = 50_000
    max_names: int = 1000
    max_text_bytes: int = MIB
    max_kept_bytes: int = 64 * MIB
    default_page_size: int = 100
    max_thumbnail_side: int = 512
    min_thumbnail_side: int = 16
    default_thumbnail_side: int = 160

    @property
    def images(self) -> ImageLimits:
        """What a picture may cost, of a call or of the collection."""
        return ImageLimits(self.max_image_bytes, self.max_image_pixels)

    def admitting(self, images: ImageLimits) -> Limits:
        """These limits for pictures within `images`: a call, and what waits, has room for the largest of them."""
        message = images.max_bytes + MIB
        return dataclasses.replace(
            self,
            max_image_bytes=images.max_bytes,
            max_image_pixels=images.max_pixels,
            max_message_bytes=max(self.max_message_bytes, message),
            max_peer_bytes=max(self.max_peer_bytes, message),
            max_queue_bytes=max(self.max_queue_bytes, message),
        )
