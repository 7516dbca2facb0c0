"""Information about a server, and its limits."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass

from lookalike._notebook import html


@dataclass(frozen=True)
class Limits:
    """Limits of a server, which rejects calls beyond them before any work. 0 if an older server does not report one.

    - `max_batch`: queries in a call.
    - `max_k`: neighbors of a query.
    - `max_nprobe`: inverted lists that a query visits.
    - `max_image_bytes`, `max_image_pixels`: bytes and pixels of one image.
    - `max_message_bytes`: bytes of one request or reply.
    - `max_page_size`: rows of a page.
    - `max_members`: members returned with a membership.
    - `max_queue`: queries of one peer that wait for the device.
    - `max_experiments`: experiments that wait.
    - `max_table_rows`: rows of one table of an experiment.
    - `max_peer_calls`, `max_peer_bytes`: concurrent calls of one peer, and bytes of their messages.
    - `max_queue_bytes`: bytes of images of one peer that wait to be embedded.
    - `max_queue_ms`: milliseconds that a query may wait for the device. Calls whose estimated wait exceeds half of it
      are rejected immediately.
    - `max_slow_queue_ms`: the same for images, and for exact searches of a compressed index.
    - `max_receive_ms`: milliseconds that a message may take to arrive.
    - `max_search_ms`, `max_scan_ms`: timeout of a batch of searches, and of one that reads every embedding.
    - `max_read_ms`: timeout of reading stored vectors, and of looking up and writing a reply.
    - `max_embed_ms`: timeout of embedding a batch of images, without their decoding.
    - `max_experiment_ms`: timeout of an experiment.
    - `max_silence_ms`: milliseconds without a heartbeat after which the network's process counts as hung; six times as
      many for the process of experiments.
    - `max_lease_ms`: milliseconds after which the server logs that a call still holds a generation.
    - `max_class_map`: labels and classes in a `class_map`, taken together.
    - `max_names`: names of models, clusterings or tables in a call.
    - `max_text_bytes`: bytes of a request besides its vectors and images.
    - `max_kept_bytes`: bytes of cached experiment results.
    - `max_bytes`: bytes of the messages of all peers: half for calls in progress, a quarter for arriving ones.
    - `max_streams`, `max_peer_streams`: health watches and reflection calls of all peers, and of one peer.
    - `max_sample`, `max_seeds`: images in the `sample` of an experiment, and its `seeds`.
    - `max_query_text_bytes`: bytes of a text query.
    - `max_unary_bytes`: bytes of one gRPC message; longer requests and replies are sent in pieces.
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
    """A collection of a server: its generation, number of images, and the `name` to pass as `Client(collection=...)`.

    A collection that is not loaded has generation 0, and `problem` has the reason.
    """

    name: str
    generation: int
    images: int
    problem: str = ""


@dataclass(frozen=True)
class ServerInfo:
    """Information about a server.

    - `version`: the version of its software.
    - `collection`, `generation`: the collection and the generation that it serves.
    - `placement`: where indexes live: "cpu", "gpu", "shard" or "replicate"; "shards" for a router.
    - `devices`: such as "cpu" or "cuda:0".
    - `search_threads`, `embed_threads`: the threads for searches and for embedding.
    - `limits`: its limits.
    - `image_queries`: False if it cannot embed images; `image_query_problem` has the reason.
    - `writable`: True if it accepts changes; `update_problem` has the reason why none can be accepted now.
    - `sequence`: the number of the last change.
    - `live_rows`, `deleted_rows`: images added, and images deleted or replaced, since its generation was made.
    - `last_fold`: the time in UTC of the last fold of changes into a generation; None if there was none.
    - `shard`: the share of the images that it searches, such as "2/4"; "" for all of them.
    - `files`, `verified_files`: files of the generation, and those already compared with their digests. A server
      answers before it has verified the vectors.
    - `damage`: the damage found so far, "" if none. Calls that need a damaged file fail.
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
