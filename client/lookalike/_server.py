"""What a server is, and what it allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a call may ask for; beyond it the call is refused before any work.

    Queries in a call, neighbours of a query, inverted lists visited, bytes and
    pixels of one picture, bytes of one message, rows of one page, members
    returned with a membership, queries waiting for the device, experiments
    waiting to be run, rows of one table of an experiment; calls and bytes of
    one address at a time, bytes of pictures that wait, milliseconds that a
    search, or what takes longer, waits before it is refused, and milliseconds
    that a message may take to arrive. 0 is what an older server tells.
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


@dataclass(frozen=True)
class ServerInfo:
    """A server.

    `placement` is where indexes live: "cpu", "gpu", "shard" or "replicate".
    `image_queries` is False when it cannot embed pictures, and
    `image_query_problem` says why.
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
