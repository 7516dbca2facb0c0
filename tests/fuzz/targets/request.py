"""Fuzz the request path: any bytes to any method end in a reply or in a documented code, never in INTERNAL.

This runs all of a server between the socket and the handlers: services, interceptors,
queues and threads. Only the network is a stand-in, which decodes its images.
experiments.py has the slow methods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from tests.fuzz.targets.calls import Methods
from tests.fuzz.targets.folders import own_folder
from tests.fuzz.targets.toys import toy

from lookalike import wire
from lookalike.v1 import cluster_pb2, collection_pb2, filter_pb2, search_pb2, shard_pb2, types_pb2, update_pb2
from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.embedding.embedding_result import EmbeddingResult
from lookalike_indexer.embedding.query_text import Text
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.images.decode import decode
from lookalike_indexer.images.image_box import Boxed
from lookalike_indexer.images.thumbnail_pool import ThumbnailResult
from lookalike_server.batching.workers import Workers
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.common.limits import Limits
from lookalike_server.common.share import Share
from lookalike_server.common.thread_budget import ThreadBudget
from lookalike_server.generation.current import Current
from lookalike_server.generation.loader import Loader
from lookalike_server.generation.router_generations import RouterGenerations
from lookalike_server.live.collection import LiveCollection
from lookalike_server.live.folding import Folded
from lookalike_server.placement.devices import Cpu
from lookalike_server.processes.embedding import EmbedQueue
from lookalike_server.processes.thumbnails import Thumbnails
from lookalike_server.query.queries import Resolver
from lookalike_server.services.cluster import ClusterServicer
from lookalike_server.services.collection import CollectionServicer
from lookalike_server.services.search import SearchServicer
from lookalike_server.services.shard import ShardServicer
from lookalike_server.services.update import UpdateServicer

_LIMITS = Limits(max_image_bytes=1 << 16, max_image_pixels=1 << 16, max_k=64, max_batch=32)


class _Network:
    """Network that decodes, as the network's workers do, but does not embed."""

    def __init__(self, fingerprint: str, dim: int) -> None:
        self.fingerprint, self._dim, self.alive, self.hung = fingerprint, dim, True, False

    def embed(self, files: Sequence[bytes | Boxed | Text]) -> EmbeddingResult:
        failed = {}
        for position, file in enumerate(files):
            if isinstance(file, Text):
                continue
            try:
                decode(
                    file.image if isinstance(file, Boxed) else file,
                    ImageLimits(_LIMITS.max_image_bytes, _LIMITS.max_image_pixels),
                )
            except DecodeError as error:
                failed[position] = str(error)
        return EmbeddingResult(np.ones((len(files), self._dim), np.float32), failed=failed)

    def close(self) -> None:
        pass


class _Drawn:
    """Stand-in for the thumbnail processes."""

    def make(self, uri: str, size: int) -> Future[ThumbnailResult]:
        done: Future[ThumbnailResult] = Future()
        done.set_result(ThumbnailResult(b"\xff\xd8\xff"))
        return done

    def close(self) -> None:
        pass


class _Unfolded:
    """Stand-in for the fold of changes into generations."""

    async def fold(self) -> Folded:
        return Folded(1, 0)


def _methods() -> Methods:
    reader = CollectionReader.open(str(toy()))
    snapshot = Loader("cpu", [Cpu()], _LIMITS, ThreadBudget(1, 1, 1)).load(reader)
    current = Current(snapshot)
    workers = Workers(1, _LIMITS.max_queue)
    queue = EmbedQueue(lambda reader, space: _Network(snapshot.spaces["tiny"].entry.fingerprint, 8), _LIMITS)
    resolver = Resolver(_LIMITS, workers, queue)
    drawn: Any = _Drawn()
    live = _live(reader, current)
    share = Share(1, 2)
    part = Current(Loader("cpu", [Cpu()], _LIMITS, ThreadBudget(1, 1, 1), share=share).load(reader))
    return Methods(
        (search_pb2, "SearchService", SearchServicer(current, _LIMITS, resolver, workers)),
        (cluster_pb2, "ClusterService", ClusterServicer(current, _LIMITS, resolver, workers)),
        (
            collection_pb2,
            "CollectionService",
            CollectionServicer(current, _LIMITS, Thumbnails(lambda: drawn, 64), workers),
        ),
        (shard_pb2, "ShardService", ShardServicer(part, _LIMITS, share, RouterGenerations(part), workers)),
        (update_pb2, "UpdateService", UpdateServicer(current, _LIMITS, live, _Unfolded(), queue, workers)),
    )


def _live(reader: CollectionReader, current: Current) -> LiveCollection:
    """Open the live changes of a collection with a separate log, so that runs are independent."""
    live = LiveCollection(str(own_folder("request")), _LIMITS, writable=True)
    live.begin(0)
    live.serve(current)

    async def adopt() -> None:
        async with live.adopting(current.snapshot) as view:
            current.swap(view)

    asyncio.run(adopt())
    return live


_METHODS = _methods()
target, _seed = _METHODS.target, _METHODS.seed


def seeds() -> Iterator[bytes]:
    vector = wire.encode(np.linspace(0, 1, 16, dtype=np.float32).reshape(2, 8))
    picture = b"BM" + bytes(60)
    queries = [
        types_pb2.QueryBatch(vectors=types_pb2.Vectors(values=vector)),
        types_pb2.QueryBatch(ids=types_pb2.Ids(values=[5, 7])),
        types_pb2.QueryBatch(texts=types_pb2.QueryTexts(values=["a red bus", "猫"])),
        types_pb2.QueryBatch(keys=types_pb2.Keys(values=["label2/é 000005.jpg"])),
        types_pb2.QueryBatch(images=types_pb2.Images(data=[picture])),
    ]
    fields = search_pb2.NeighborFields(keys=True, labels=True, uris=True)
    for query in queries:
        yield _seed("Search", search_pb2.SearchRequest(query=query, k=3, fields=fields))
        yield _seed("GetMembership", cluster_pb2.GetMembershipRequest(query=query, members=2))
    for effort in ({"exact": True}, {"nprobe": 3}, {"recall": 0.7}):
        yield _seed("Search", search_pb2.SearchRequest(query=queries[0], k=3, space="tiny", **effort))
    yield _seed("ListMembers", cluster_pb2.ListMembersRequest(clustering="tiny/k3", cluster=1, page_size=2))
    yield _seed("ListClusters", cluster_pb2.ListClustersRequest(clustering="tiny/k3"))
    yield _seed("GetCollection", collection_pb2.GetCollectionRequest())
    yield _seed("GetImages", collection_pb2.GetImagesRequest(ids=types_pb2.Ids(values=[5])))
    yield _seed("ListImages", collection_pb2.ListImagesRequest(label="label1", page_size=3, page_token="AAAA"))  # noqa: S106
    words = filter_pb2.Filter(text="label = 'label1' and id > 9 or cluster = 1")
    columns = search_pb2.NeighborFields(attributes=["*", "label", "bytes"])
    yield _seed("Search", search_pb2.SearchRequest(query=queries[1], k=3, filter=words, fields=columns, explain=True))
    groups = search_pb2.Grouping(column="label", per_group=2)
    yield _seed("Search", search_pb2.SearchRequest(query=queries[1], k=2, grouping=groups, filter=words))
    feedback = search_pb2.Feedback(keys=["label2/é 000005.jpg"], not_keys=["label1/é 000007.jpg"], weight=2)
    more = search_pb2.NeighborFields(vectors=True)
    yield _seed("Search", search_pb2.SearchRequest(feedback=feedback, k=3, fields=more, max_distance=0.9))
    yield _seed("Search", search_pb2.SearchRequest(query=queries[0], feedback=feedback, k=3, include_self=True))
    boxed = types_pb2.QueryBatch(images=types_pb2.Images(data=[picture], boxes=[types_pb2.Box(width=1, height=2)]))
    yield _seed("GetVectors", search_pb2.GetVectorsRequest(query=boxed))
    yield _seed("GetVectors", search_pb2.GetVectorsRequest(query=queries[1], row_errors=True))
    yield _seed("ListImages", collection_pb2.ListImagesRequest(filter=words, fields=["format", "*"]))
    yield _seed("ListMembers", cluster_pb2.ListMembersRequest(clustering="tiny/k3", filter=words, fields=["label"]))
    yield _seed("ListClusters", cluster_pb2.ListClustersRequest(clustering="tiny/k3", filter=words))
    yield _seed("GetMembership", cluster_pb2.GetMembershipRequest(query=queries[1], members=2, filter=words))
    given = [update_pb2.SpaceVectors(vectors=types_pb2.Vectors(values=vector))]
    values = filter_pb2.AttributeValues(name="price", type="int64", numbers=wire.encode(np.arange(2)))
    yield _seed("Upsert", update_pb2.UpsertRequest(keys=["a", "b"], vectors=given, labels=["x", ""]))
    yield _seed("Upsert", update_pb2.UpsertRequest(keys=["a", "b"], vectors=given, attributes=[values]))
    yield _seed("Upsert", update_pb2.UpsertRequest(keys=["c"], images=[picture]))
    yield _seed("Delete", update_pb2.DeleteRequest(keys=["a", "label2/é 000005.jpg"]))
    yield _seed("Delete", update_pb2.DeleteRequest(filter=words))
    yield _seed("Restore", update_pb2.RestoreRequest(ids=wire.encode(np.array([5, 7, 9]))))
    yield _seed("Set", update_pb2.SetRequest(keys=["label1/é 000007.jpg"], label="y", attributes=[values]))
    yield _seed("Fold", update_pb2.FoldRequest())
    yield _seed("GetShard", shard_pb2.GetShardRequest(router="a", digests=["b"]))
    digest = digest_of(CollectionReader.open(str(toy())).manifest)
    asked = {"digest": digest, "queries": vector, "wanted": wire.encode(np.array([3, 3])), "k": 3}
    yield _seed("SearchShard", shard_pb2.SearchShardRequest(**asked))
    bits = RowMask(np.arange(20) % 2 == 0)
    mask = shard_pb2.ShardMask(digest=bits.digest, rows=20, bits=bits.bits.tobytes())
    for more in ({"scan": True}, {"candidates": 9}, {"masks": [mask], "mask_of": wire.encode(np.array([0, 0]))}):
        yield _seed("SearchShard", shard_pb2.SearchShardRequest(**asked, **more))
    yield _seed("ListLabels", collection_pb2.ListLabelsRequest(page_size=3, page_token="AAAA"))  # noqa: S106
    yield _seed("ListGraph", collection_pb2.ListGraphRequest(ids=types_pb2.Ids(values=[5, 7]), k=2, page_size=1))
    yield _seed("GetThumbnails", collection_pb2.GetThumbnailsRequest(ids=[5], size=32))
