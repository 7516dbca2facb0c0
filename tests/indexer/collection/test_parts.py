from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.collection import layout, schema
from lookalike_indexer.collection.parts import read_part, write_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import UsageError


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_embeddings_are_read_by_arrow_pandas_and_duckdb(storage, dtype):
    vectors = np.random.default_rng(0).standard_normal((600, 5)).astype(dtype)
    part_schema = schema.embeddings(5, dtype)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=part_schema.field("embedding").type)
    table = pa.table([pa.array(np.arange(600)), lists], schema=part_schema)
    write_part(storage, "part-000000.parquet", table)
    path = storage.local("part-000000.parquet")
    assert pq.read_table(path).equals(table)
    assert pq.ParquetFile(path).metadata.num_row_groups == 3
    np.testing.assert_array_equal(np.stack(pd.read_parquet(path)["embedding"].to_numpy()), vectors)
    rows = duckdb.sql(f"select id, embedding[1] from '{path}' where id >= 598 order by id").fetchall()
    assert rows == [(598, pytest.approx(float(vectors[598, 0]))), (599, pytest.approx(float(vectors[599, 0])))]


def test_same_table_gives_the_same_bytes(storage):
    columns = [[1, 2], ["a", "b"], ["x", None], ["u", "v"], [1, 2], [3, 4], ["x", "y"], [None, "ab"]]
    table = pa.table(columns, schema=schema.SOURCE)
    for path in ("one.parquet", "two.parquet"):
        write_part(storage, path, table)
    assert storage.read("one.parquet") == storage.read("two.parquet")
    assert read_part(storage, "one.parquet").equals(table)
    assert read_part(storage, "one.parquet", ["label"]).column("label").to_pylist() == ["x", None]


def test_part_names_and_numbers():
    assert layout.part_number(layout.embeddings("part-space", 12)) == 12
    assert layout.part_number(layout.images(1_234_567)) == 1_234_567


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", ".hidden", "-x", "é", "a b", "x" * 129, "a\n"])
def test_invalid_folder_names_are_rejected(name):
    with pytest.raises(UsageError, match="cannot be the name of a space"):
        layout.checked_name(name, "space")


@pytest.mark.parametrize("name", ["resnet152", "alexnet.features.8.max", "a-b_c@d+e", "X" * 128, "7"])
def test_ordinary_names_are_taken(name):
    assert layout.checked_name(name, "space") == name
