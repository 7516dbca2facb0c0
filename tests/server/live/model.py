"""Changes compared with a model in memory: the next call sees all acknowledged changes, and no others."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tests.server.live.test_update import EVERY, by_vectors, listed, upsert

from lookalike import wire
from lookalike.v1 import filter_pb2, search_pb2, types_pb2, update_pb2
from lookalike_indexer.arrays import Float32


@dataclass
class Model:
    """Expected state of the collection: the vector and label of each key."""

    vectors: dict[str, Float32]
    labels: dict[str, str]
    chance: random.Random = field(default_factory=random.Random)

    def nearest(self, query: Float32, label: str | None = None) -> list[tuple[float, str]]:
        """Return cosine distances and keys, nearest first."""
        keys = [key for key in self.vectors if label is None or self.labels[key] == label]
        if not keys:
            return []
        rows = np.stack([self.vectors[key] for key in keys]).astype(np.float64)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        wanted = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
        return sorted(zip((1 - rows @ wanted).tolist(), keys, strict=True))

    def some(self, most: int) -> list[str]:
        """Return some existing keys."""
        return self.chance.sample(sorted(self.vectors), min(len(self.vectors), self.chance.randint(1, most)))


async def run(served: Any, model: Model, changes: int) -> None:
    """Make changes, and compare the server with the model after each."""
    numbers = np.random.default_rng(model.chance.randrange(1 << 30))
    dim = len(next(iter(model.vectors.values())))
    for turn in range(changes):
        kind = model.chance.choices(["upsert", "replace", "delete", "set", "where"], [4, 3, 3, 2, 0.3])[0]
        if kind in ("upsert", "replace") or not model.vectors:
            keys = [f"new/{turn}-{number}" for number in range(model.chance.randint(1, 4))]
            if kind == "replace" and model.vectors:
                keys = model.some(4)
            vectors = numbers.standard_normal((len(keys), dim)).astype(np.float32)
            labels = [f"l{model.chance.randrange(4)}" for _ in keys]
            done = await served.update.Upsert(upsert(keys, vectors, labels=labels))
            assert done.replaced == sum(key in model.vectors for key in keys)
            model.vectors |= dict(zip(keys, vectors, strict=True))
            model.labels |= dict(zip(keys, labels, strict=True))
        elif kind == "set":
            keys, label = model.some(3), f"l{model.chance.randrange(4)}"
            await served.update.Set(update_pb2.SetRequest(keys=keys, label=label))
            model.labels |= dict.fromkeys(keys, label)
        else:
            keys = [*model.some(5), f"nobody/{turn}"]
            request = update_pb2.DeleteRequest(keys=keys)
            if kind == "where":
                label = f"l{model.chance.randrange(4)}"
                keys = [key for key in model.vectors if model.labels[key] == label][:1]
                request = update_pb2.DeleteRequest(
                    filter=filter_pb2.Filter(text=f"label = '{label}' and key = '{keys[0] if keys else 'none'}'")
                )
            done = await served.update.Delete(request)
            there = [key for key in keys if key in model.vectors]
            assert done.deleted == len(there)
            for key in there:
                del model.vectors[key], model.labels[key]
        await compare(served, model, turn, numbers.standard_normal(dim).astype(np.float32))


async def compare(served: Any, model: Model, turn: int, query: Float32) -> None:
    """Compare a search, sometimes filtered or exact, and sometimes the listing."""
    label = f"l{model.chance.randrange(4)}" if turn % 3 == 0 else None
    k = model.chance.choice([1, 5, 20])
    more: dict[str, Any] = {"exact": True} if turn % 2 else {}
    if label is not None:
        more["filter"] = filter_pb2.Filter(text=f"label = '{label}'")
    reply: search_pb2.SearchResponse = await served.neighbors(by_vectors([query]), k, fields=EVERY, **more)
    keys = list(reply.neighbors.keys)
    wanted = model.nearest(query, label)
    assert len(keys) == len(set(keys)) == min(k, len(wanted))
    assert set(keys) <= {key for _, key in wanted}
    assert list(reply.neighbors.labels) == [model.labels[key] for key in keys]
    distances = wire.decode(reply.neighbors.distances)
    exact = {key: distance for distance, key in wanted}
    assert np.allclose(distances, [exact[key] for key in keys], atol=1e-4)
    if more.get("exact"):
        assert np.allclose(distances, [distance for distance, _ in wanted[: len(keys)]], atol=1e-4)
    if turn % 20 == 0:
        there = await listed(served)
        assert sorted(there) == sorted(model.vectors)
        query_batch = types_pb2.QueryBatch(keys=types_pb2.Keys(values=there[:50]))
        if there:
            got = await served.search.GetVectors(search_pb2.GetVectorsRequest(query=query_batch))
            assert np.array_equal(wire.decode(got.vectors), np.stack([model.vectors[key] for key in there[:50]]))
