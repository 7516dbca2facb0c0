from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lookalike import wire
from lookalike.v1 import types_pb2

FORMATS = sorted((Path(__file__).parent.parent / "indexer" / "golden").glob("format-*"))


@pytest.mark.parametrize("golden", FORMATS, ids=lambda path: path.name)
async def test_collection_of_each_released_format_is_served(golden, tmp_path, serve) -> None:
    shutil.copytree(golden, tmp_path / "golden")
    async with serve(SimpleNamespace(root=tmp_path / "golden")) as served:
        query = types_pb2.QueryBatch(keys=types_pb2.Keys(values=["b/3.png", "a/0.png"]))
        reply = await served.neighbors(query, 6, include_self=True)
        newest = max(int(path.stem) for path in (golden / "generations").glob("*.json"))
        assert reply.served.generation == newest
        ids = wire.decode(reply.neighbors.ids).reshape(2, 6)
        np.testing.assert_array_equal(ids[:, 0], [6, 0])
