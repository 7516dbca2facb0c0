"""What a call may ask for; published by GetServerInfo and checked before any work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.errors import UsageError

MIB = 1 << 20

# Counts and times travel as 32-bit integers, and gRPC takes no longer messages; bytes of anything else as 64 bits.
_INT32 = 2**31 - 1
_INT64 = 2**63 - 1


def limit(default: int, what: str, most: int = _INT32, least: int = 1) -> int:
    """A field of Limits: its default, what it bounds, and the most and the least that it may be."""
    made: int = dataclasses.field(default=default, metadata={"what": what, "most": most, "least": least})
    return made


@dataclass(frozen=True)
class Limits:
    """One bound for each thing that a call can make large. UsageError: one that is out of range.

    Each field can be set by an option, the environment and a file (limit_options.py).

    `max_k` and `max_nprobe` stay below what a GPU index can do (2048 each,
    where a query by key asks for one neighbor more than the caller did), so
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
    wait longer than half of it, by the latency of recent batches, is refused at once;
    `max_slow_queue_ms` is for pictures and exact scans, of which one batch
    takes as long as a queue of searches.

    gRPC copies a message in one step of the event loop, so a message has
    `max_unary_bytes` at most, and a longer request or reply travels in pieces.
    `max_bytes` is for the messages of all peers. A quarter of it is for those
    that are arriving, each counted as the largest that it can be, and half for
    those of calls under way, among which a request in pieces is from its beginning.
    Streams are health watches and reflection, which last.

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

    max_batch: int = limit(256, "Queries in a call, and in the batch that calls are searched in.")
    max_k: int = limit(1024, "Neighbors of a query.", 2047)
    max_nprobe: int = limit(2048, "Inverted lists that a query visits.", 2048)
    max_image_bytes: int = limit(20 * MIB, "Bytes of one picture.", _INT64)
    max_image_pixels: int = limit(100_000_000, "Pixels of one picture.", _INT64)
    max_query_text_bytes: int = limit(1024, "Bytes of one text that is searched for.", 65_536)
    max_message_bytes: int = limit(64 * MIB, "Bytes of one request or reply.")
    max_unary_bytes: int = limit(
        8 * MIB, "Bytes of one gRPC message; longer requests and replies travel in pieces.", least=2 * MIB
    )
    max_page_size: int = limit(1000, "Rows of one page of a listing.")
    max_members: int = limit(100, "Members of a cluster that come with a membership.")
    max_queue: int = limit(1024, "Queries of one peer that may wait for the device.")
    max_experiments: int = limit(8, "Experiments that may wait for the one that runs.")
    max_table_rows: int = limit(1_000_000, "Rows of one table of an experiment's reply.")
    max_peer_calls: int = limit(1024, "Calls of one peer that may be under way.")
    max_peer_bytes: int = limit(256 * MIB, "Bytes of the messages of one peer's calls under way.", _INT64)
    max_queue_bytes: int = limit(256 * MIB, "Bytes of the pictures of one peer that wait for the network.", _INT64)
    max_queue_ms: int = limit(2000, "Milliseconds that a query may wait for the device.")
    max_slow_queue_ms: int = limit(30_000, "Milliseconds that a picture or an exact scan may wait.")
    max_receive_ms: int = limit(30_000, "Milliseconds that a call's message may take to arrive.")
    max_search_ms: int = limit(30_000, "Milliseconds after which a batch on a device has hung.")
    max_scan_ms: int = limit(600_000, "Milliseconds after which a scan of all embeddings has hung.")
    max_read_ms: int = limit(60_000, "Milliseconds after which reading stored vectors has hung.")
    max_embed_ms: int = limit(60_000, "Milliseconds after which a batch of pictures has hung, beside their decoding.")
    max_experiment_ms: int = limit(600_000, "Milliseconds after which an experiment has hung.")
    max_silence_ms: int = limit(10_000, "Milliseconds without a sign of life after which a process has hung.")
    max_load_ms: int = limit(3_600_000, "Milliseconds after which loading a generation has hung.")
    max_lease_ms: int = limit(900_000, "Milliseconds after which a call that holds a generation is reported.")
    max_class_map: int = limit(50_000, "Labels and classes of a class map.")
    max_names: int = limit(1000, "Names of models, clusterings or tables in a call.")
    max_text_bytes: int = limit(MIB, "Bytes of a request besides its vectors and pictures.", _INT64)
    max_kept_bytes: int = limit(64 * MIB, "Bytes of the answers of experiments that are kept.", _INT64)
    max_filter_bytes: int = limit(256 * MIB, "Bytes of the matches of filters that are kept.", _INT64)
    max_bytes: int = limit(
        1024 * MIB,
        "Bytes of the messages of all peers: half for calls under way, a quarter for those arriving.",
        _INT64,
    )
    max_streams: int = limit(1024, "Health watches and reflection calls of all peers.")
    max_peer_streams: int = limit(128, "Health watches and reflection calls of one peer.")
    max_live_rows: int = limit(100_000, "Images that were added since the generation was made.")
    fold_rows: int = limit(10_000, "Images added or deleted after which changes become a generation.")
    fold_bytes: int = limit(256 * MIB, "Bytes of vectors added after which changes become a generation.", _INT64)
    fold_ms: int = limit(3_600_000, "Milliseconds after which changes become a generation.")
    max_sample: int = limit(10_000, "Images in the sample of an experiment.")
    max_seeds: int = limit(100, "Times that an experiment clusters into each number of clusters.")
    default_page_size: int = limit(100, "Rows of a page where the call names no number; at most max_page_size.")
    max_thumbnail_side: int = limit(512, "The longer side of a thumbnail in pixels, at most.")
    min_thumbnail_side: int = limit(16, "The longer side of a thumbnail in pixels, at least.")
    default_thumbnail_side: int = limit(160, "The longer side of a thumbnail in pixels, where the call names none.")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, least, most = getattr(self, field.name), least_of(field), most_of(field)
            if not least <= value <= most:
                raise UsageError(f"{option_of(field)} {value} is no such limit; it must be {least} to {most}.")

    @property
    def images(self) -> ImageLimits:
        """What a picture may cost, of a call or of the collection."""
        return ImageLimits(self.max_image_bytes, self.max_image_pixels)

    @property
    def whole_bytes(self) -> int:
        """The bytes of one gRPC message, at most."""
        return min(self.max_unary_bytes, self.max_message_bytes)

    def admitting(self, images: ImageLimits) -> Limits:
        """These limits for pictures within `images`: a call, and what waits, has room for the largest of them."""
        message = min(images.max_bytes + MIB, _INT32)
        return dataclasses.replace(
            self,
            max_image_bytes=images.max_bytes,
            max_image_pixels=images.max_pixels,
            max_message_bytes=max(self.max_message_bytes, message),
            max_peer_bytes=max(self.max_peer_bytes, message),
            max_queue_bytes=max(self.max_queue_bytes, message),
            max_bytes=max(self.max_bytes, 4 * message),
        )


# Those of the whole server, which no collection has for itself: they bound calls before anything is known of them.
OF_SERVER = frozenset(
    {
        "max_message_bytes",
        "max_unary_bytes",
        "max_peer_calls",
        "max_peer_bytes",
        "max_receive_ms",
        "max_read_ms",
        "max_text_bytes",
        "max_bytes",
        "max_streams",
        "max_peer_streams",
    }
)


def option_of(field: dataclasses.Field[int]) -> str:
    """The option of `lookalike serve` that sets a limit."""
    return f"--{field.name.replace('_', '-')}"


def most_of(field: dataclasses.Field[int]) -> int:
    """The most that a limit may be."""
    most: int = field.metadata.get("most", _INT32)
    return most


def least_of(field: dataclasses.Field[int]) -> int:
    """The least that a limit may be."""
    least: int = field.metadata.get("least", 1)
    return least


def what_of(field: dataclasses.Field[int]) -> str:
    """What a limit bounds, as a sentence."""
    what: str = field.metadata.get("what", "")
    return what
