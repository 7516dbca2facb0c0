"""A typical user's program. `make lint` checks it with `mypy --strict` and pyright; it is never run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

import numpy as np
import numpy.typing as npt

import lookalike


def answers(client: lookalike.Client, vectors: npt.NDArray[np.float32]) -> list[str]:
    one = assert_type(client.search(key="a.jpg", k=3, where=lookalike.column("price") < 20), lookalike.Neighbors)
    many = assert_type(client.search(vectors=vectors, recall=0.95, progress=True), lookalike.NeighborsBatch)
    liked = client.search(keys=["a.jpg"], not_keys=["b.jpg"])
    assert_type(liked, lookalike.Neighbors)
    home = assert_type(client.membership(id=3, members=2), lookalike.Memberships)
    homes = assert_type(client.clusters(ids=[1, 2]), lookalike.MembershipsBatch)
    assert_type(client.lookup(key="a.jpg"), lookalike.StoredImage)
    assert_type(client.lookup(keys=["a.jpg"]), lookalike.StoredImages)
    distances: npt.NDArray[np.float32] = one.distances
    numbers: list[int] = [*distances.shape, len(many), home[0].cluster, homes[0]["space/kmeans"].size]
    return (
        [*map(str, numbers)]
        + [image.key for image in client.images(where="label = 'dogs'")]
        + [near.key for near in one]
    )


async def same(client: lookalike.aio.Client, pictures: Sequence[bytes]) -> int:
    found = assert_type(await client.search(images=pictures, errors="rows"), lookalike.NeighborsBatch)
    listed = [member.margin async for member in client.members("space/kmeans", 3)]
    matrix = assert_type(await client.class_matrix(), lookalike.Experiment)
    return len(found.errors) + len(listed) + len(matrix.tables)


def program() -> float | None:
    try:
        with lookalike.Client(tls=lookalike.TLS(ca="ca.pem"), token="secret") as client:  # noqa: S106
            answers(client, np.eye(3, dtype=np.float32))
            done = client.upsert(images={"a.jpg": "a.jpg"}, attributes={"a.jpg": {"price": 5}})
            client.search(image="a.jpg", after=done)
    except lookalike.OverloadedError as error:
        return error.retry_after
    return None
