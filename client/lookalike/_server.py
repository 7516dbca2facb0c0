"""What a server is, and what it allows."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass

from lookalike._notebook import html


@dataclass(frozen=True)
class Limits:
    """What a call may ask for; beyond it the call is refused before any work.

    Queries in a call, neighbors of a query, inverted lists visited, bytes and
    pixels of one picture, bytes of one request or reply, rows of one page, members
    returned with a membership, queries waiting for the device, experiments
    waiting to be run, rows of one table of an experiment; calls and bytes of
    one address at a time, bytes of pictures that wait, milliseconds that a
    search, or what takes longer, waits before it is refused, and milliseconds
    that a message may take to arrive. 0 is what an older server tells.

    Milliseconds after which the server gives up what hangs: a batch of
    searches, one that compares with every embedding, reading stored vectors, a
    batch of pictures, an experiment, a process without a sign of life; and
    after which it reports a call that holds a generation. Labels and classes in
    a `class_map`, names of models, clusterings or tables in a call, bytes of a
    request besides its vectors and pictures, bytes of the answers of
    experiments that are kept. Bytes of the messages of all addresses; health
    watches and reflection calls of all, and of one address. Images in the
    `sample` of an experiment, and its `seeds`. Bytes of one text that is searched for.
    Bytes of one gRPC message: a longer request or reply travels in pieces.
    """

    max_batch: int
    max_k: int
    max_nprobe: int
    max_image_bytes: int
    max_image_pixels: int
    max_message_bytes: int
    max_page_size: int
    max_members: int
    max_queue: int
    max_experiments: int
    max_table_rows: int
    max_peer_calls: int
    max_peer_bytes: int
    max_queue_bytes: int
    max_queue_ms: int
    max_slow_queue_ms: int
    max_receive_ms: int
    max_search_ms: int = 0
    max_scan_ms: int = 0
    max_read_ms: int = 0
    max_embed_ms: int = 0
    max_experiment_ms: int = 0
    max_silence_ms: int = 0
    max_lease_ms: int = 0
    max_class_map: int = 0
    max_names: int = 0
    max_text_bytes: int = 0
    max_kept_bytes: int = 0
    max_bytes: int = 0
    max_streams: int = 0
    max_peer_streams: int = 0
    max_sample: int = 0
    max_seeds: int = 0
    max_query_text_bytes: int = 0
    max_unary_bytes: int = 0


@dataclass(frozen=True)
class ServedCollection:
    """A collection of a server: the `name` that a client takes as `collection`, its generation and number of images.

    A collection that is not loaded has generation 0, and `problem` says why.
    """

    name: str
    generation: int
    images: int
    problem: str = ""


@dataclass(frozen=True)
class ServerInfo:
    """A server.

    `placement` is where indexes live: "cpu", "gpu", "shard" or "replicate"; "shards" at a router. `shard` is the share
    of the images that the server searches, such as "2/4", "" for all of them.
    `image_queries` is False when it cannot embed pictures, and
    `image_query_problem` says why. A `writable` one takes changes. `sequence` is
    the number of the last change that it has; since its generation was made,
    `live_rows` images were added and `deleted_rows` deleted or replaced.
    `last_fold` is when changes last became a generation, in UTC. `update_problem`
    says why no change can be taken now. `verified_files` of the generation's `files` were compared with their digests:
    a server that starts answers before it has compared the vectors. `damage` says what was found damaged since, "" for
    nothing; calls that need such a file fail.
    """

    version: str
    collection: str
    generation: int
    placement: str
    devices: tuple[str, ...]
    search_threads: int
    embed_threads: int
    limits: Limits
    image_queries: bool
    image_query_problem: str
    writable: bool = False
    sequence: int = 0
    live_rows: int = 0
    deleted_rows: int = 0
    last_fold: dt.datetime | None = None
    update_problem: str = ""
    shard: str = ""
    files: int = 0
    verified_files: int = 0
    damage: str = ""

    def _repr_html_(self) -> str:
        told = {name: value for name, value in asdict(self).items() if name != "limits"}
        limits = asdict(self.limits)
        return html.box(
            html.heading("Server", faint=self.collection),
            html.table({"what": list(told), "value": list(told.values())}, len(told)),
            html.folded("limits", _two_columns(limits), is_open=False),
        )


def _two_columns(values: dict[str, int]) -> str:
    columns = {"limit": list(values), "value": list(values.values())}
    return html.table(columns, len(values), most=len(values))
