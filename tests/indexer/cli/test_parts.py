from __future__ import annotations

import json

import pyarrow.parquet as pq
from click.testing import CliRunner

from lookalike_indexer.cli.parts import parts


def test_prints_the_files_of_the_newest_generation_alone(make_collection, clustered):
    storage = make_collection(clustered(12, 4, 2), part_rows=5)
    # A part of another generation.
    storage.local("images/part-000000.0123456789abcdef.parquet").write_bytes(b"not read")
    printed = CliRunner().invoke(parts, [str(storage.root), "images"])
    assert printed.exit_code == 0, printed.output
    paths = printed.output.split()
    assert len(paths) == 3
    assert sum(pq.read_metadata(path).num_rows for path in paths) == 12
    as_json = json.loads(CliRunner().invoke(parts, [str(storage.root), "images", "--json"]).output)
    assert (as_json["generation"], as_json["paths"]) == (1, paths)


def test_missing_table_is_named_with_the_existing_tables(make_collection, clustered):
    storage = make_collection(clustered(12, 4, 2))
    printed = CliRunner().invoke(parts, [str(storage.root), "pictures"])
    assert printed.exit_code == 1
    assert "has no table 'pictures'; it has: embeddings/" in printed.output
