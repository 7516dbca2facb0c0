"""Limits of a call, published by GetServerInfo and checked before any work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.errors import UsageError

MIB = 1 << 20

# Counts and times are 32-bit integers on the wire, and gRPC limits messages to that size; other bytes have 64 bits.
_INT32 = 2**31 - 1
_INT64 = 2**63 - 1


def limit(default: int, what: str, most: int = _INT32, least: int = 1) -> int:
    """Return a field of Limits: its default, what it bounds, and the range of its value."""
    made: int = dataclasses.field(default=default, metadata={"what": what, "most": most, "least": least})
    return made


@dataclass(frozen=True)
class Limits:
    """Limits of everything that a call can make large. Raises UsageError if one is out of range.

    Each field can be set by an option, the environment, and a file (limit_options.py).

    `max_k` and `max_nprobe` stay below the limits of a GPU index (2048 each; a query by key asks
    for one neighbor more than its caller). So every placement answers the same calls. `max_batch`
    bounds a call, and a batch of several calls. `max_queue` counts queries of one peer; four times
    as many of all peers may be queued. `max_experiments` is how many may wait for the running one.
    `max_table_rows` bounds each table of an experiment's reply, which must also fit in
    `max_message_bytes`.

    A peer is an address, whatever number of connections it opens. Its calls count from their
    arrival until their reply has been sent. A call that has waited longer than `max_queue_ms` is
    rejected, so that an overloaded server works only on calls with waiting callers. A call whose
    estimated wait exceeds half of it is rejected at once. `max_slow_queue_ms` is for images and
    exact scans, where one batch takes as long as a queue of searches.

    gRPC copies a message in one step of the event loop. So a message has at most `max_unary_bytes`,
    and longer requests and replies are sent in pieces. `max_bytes` bounds the messages of all peers.
    A quarter is for arriving messages, each counted with the largest possible size. Half is for
    those of calls in flight, which include requests in pieces from their beginning. Streams are
    long-lived calls: health watches and reflection.

    Work that exceeds its time limit has hung, and is given up. The limit is `max_search_ms` for a
    batch on a device, `max_scan_ms` for a scan of all embeddings, and `max_read_ms` for reading
    stored vectors. It is `max_embed_ms` plus the decoding for a batch of images, and
    `max_experiment_ms` for an experiment. A process without a heartbeat for `max_silence_ms` has
    hung too. A call that holds a generation for longer than `max_lease_ms` is logged.

    Items that are processed one by one are bounded by number: `max_class_map` labels and classes,
    and `max_names` names of models, clusterings, or tables. `max_text_bytes` bounds the bytes of a
    request besides its vectors and images, because they must be parsed to be checked.
    """

    max_batch: int = limit(256, "Queries of a call, and of a search batch.")
    max_k: int = limit(1024, "Neighbors of a query.", 2047)
    max_nprobe: int = limit(2048, "Inverted lists that a query probes.", 2048)
    max_image_bytes: int = limit(20 * MIB, "Bytes of one image.", _INT64)
    max_image_pixels: int = limit(100_000_000, "Pixels of one image.", _INT64)
    max_query_text_bytes: int = limit(1024, "Bytes of one text query.", 65_536)
    max_message_bytes: int = limit(64 * MIB, "Bytes of one request or reply.")
    max_unary_bytes: int = limit(
        8 * MIB, "Bytes of one gRPC message; longer requests and replies are sent in pieces.", least=2 * MIB
    )
    max_page_size: int = limit(1000, "Rows of one page of a list.")
    max_members: int = limit(100, "Members of a cluster in a membership reply.")
    max_queue: int = limit(1024, "Queued queries of one peer.")
    max_experiments: int = limit(8, "Queued experiments.")
    max_table_rows: int = limit(1_000_000, "Rows of one table of an experiment's reply.")
    max_peer_calls: int = limit(1024, "Calls in flight of one peer.")
    max_peer_bytes: int = limit(256 * MIB, "Bytes of the messages of one peer's calls in flight.", _INT64)
    max_queue_bytes: int = limit(256 * MIB, "Bytes of the queued images of one peer.", _INT64)
    max_queue_ms: int = limit(2000, "Milliseconds that a query may be queued.")
    max_slow_queue_ms: int = limit(30_000, "Milliseconds that an image query or an exact scan may be queued.")
    max_receive_ms: int = limit(30_000, "Milliseconds that a call's message may take to arrive.")
    max_search_ms: int = limit(30_000, "Milliseconds after which a batch on a device has hung.")
    max_scan_ms: int = limit(600_000, "Milliseconds after which a scan of all embeddings has hung.")
    max_read_ms: int = limit(60_000, "Milliseconds after which reading stored vectors has hung.")
    max_embed_ms: int = limit(60_000, "Milliseconds after which a batch of images has hung, in addition to decoding.")
    max_experiment_ms: int = limit(600_000, "Milliseconds after which an experiment has hung.")
    max_silence_ms: int = limit(10_000, "Milliseconds without a heartbeat after which a process has hung.")
    max_load_ms: int = limit(3_600_000, "Milliseconds after which loading a generation has hung.")
    max_lease_ms: int = limit(900_000, "Milliseconds after which the server logs a call that holds a generation.")
    max_class_map: int = limit(50_000, "Labels and classes of a class map.")
    max_names: int = limit(1000, "Names of models, clusterings or tables in a call.")
    max_text_bytes: int = limit(MIB, "Bytes of a request besides its vectors and images.", _INT64)
    max_kept_bytes: int = limit(64 * MIB, "Bytes of cached experiment results.", _INT64)
    max_filter_bytes: int = limit(256 * MIB, "Bytes of cached filter matches.", _INT64)
    max_bytes: int = limit(
        1024 * MIB,
        "Bytes of the messages of all peers: half for calls in flight, a quarter for arriving calls.",
        _INT64,
    )
    max_streams: int = limit(1024, "Health watches and reflection calls of all peers.")
    max_peer_streams: int = limit(128, "Health watches and reflection calls of one peer.")
    max_live_rows: int = limit(100_000, "Images added since the generation was made.")
    fold_rows: int = limit(10_000, "Added and deleted images after which the server folds changes into a generation.")
    fold_bytes: int = limit(
        256 * MIB, "Bytes of added vectors after which the server folds changes into a generation.", _INT64
    )
    fold_ms: int = limit(3_600_000, "Milliseconds after which the server folds changes into a generation.")
    max_sample: int = limit(10_000, "Images in the sample of an experiment.")
    max_seeds: int = limit(100, "Runs of a clustering experiment per number of clusters.")
    default_page_size: int = limit(100, "Rows of a page if the call sets no page size; at most max_page_size.")
    max_thumbnail_side: int = limit(512, "Maximum of the longer side of a thumbnail, in pixels.")
    min_thumbnail_side: int = limit(16, "Minimum of the longer side of a thumbnail, in pixels.")
    default_thumbnail_side: int = limit(160, "Longer side of a thumbnail in pixels, if the call sets none.")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, least, most = getattr(self, field.name), least_of(field), most_of(field)
            if not least <= value <= most:
                raise UsageError(f"{option_of(field)} {value} is out of range; it must be {least} to {most}.")

    @property
    def images(self) -> ImageLimits:
        """Limits of one image, of a call or of the collection."""
        return ImageLimits(self.max_image_bytes, self.max_image_pixels)

    @property
    def whole_bytes(self) -> int:
        """Largest number of bytes of one gRPC message."""
        return min(self.max_unary_bytes, self.max_message_bytes)

    def admitting(self, images: ImageLimits) -> Limits:
        """Return these limits with room for the largest image that `images` allows, in a call and in the queues."""
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


# Limits of the whole server. A collection cannot have its own, because they apply before the collection is known.
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
    """Return the option of `lookalike serve` that sets a limit."""
    return f"--{field.name.replace('_', '-')}"


def most_of(field: dataclasses.Field[int]) -> int:
    """Return the largest allowed value of a limit."""
    most: int = field.metadata.get("most", _INT32)
    return most


def least_of(field: dataclasses.Field[int]) -> int:
    """Return the smallest allowed value of a limit."""
    least: int = field.metadata.get("least", 1)
    return least


def description_of(field: dataclasses.Field[int]) -> str:
    """Return what a limit bounds, as a sentence."""
    what: str = field.metadata.get("what", "")
    return what
