"""A few hundred changes compared with a model in memory; `python -m tests.server.live` makes any number."""

from __future__ import annotations

import random as chances

import pytest
from tests.server.live.model import Model, compare, run
from tests.server.live.test_update import listed, random


def model_of(toy, seed: int) -> Model:
    keys = [toy.key(int(number)) for number in toy.ids]
    labels = {key: f"label{int(number) % 3}" if number % 3 else "" for key, number in zip(keys, toy.ids, strict=True)}
    return Model(dict(zip(keys, toy.vectors, strict=True)), labels, chances.Random(seed))


@pytest.mark.parametrize("index", ["Flat", "IVF16,Flat", "HNSW8"])
async def test_every_acknowledged_change_is_seen_by_the_next_call(make_toy, serve, index) -> None:
    toy = make_toy(random(120), index=index)
    # The toy's image without an embedding is deleted first, so that all images are in the model.
    model = model_of(toy, seed=len(index))
    from lookalike.v1 import update_pb2

    async with serve(toy, writable=True) as served:
        await served.update.Delete(update_pb2.DeleteRequest(keys=[toy.key(int(toy.ids[-1]) + 2)]))
        await run(served, model, 100)
    # And after a restart, also on a server that only follows.
    async with serve(toy) as served:
        assert sorted(await listed(served)) == sorted(model.vectors)
        for turn in range(4):
            await compare(served, model, turn, random(1, seed=turn)[0])
