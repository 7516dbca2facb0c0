from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.sources.labels import Labels
from lookalike_indexer.sources.row import SourceRow


def rows(*keys: str) -> list[SourceRow]:
    return [SourceRow(key, "folder", key, 1, 1) for key in keys]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_gives_each_key_its_label_and_counts_strangers(tmp_path: Path, kind: str):
    path = tmp_path / f"labels.{kind}"
    if kind == "csv":
        path.write_text(
            'key,weight,label\n"a,b.jpg",1,007\nc.jpg,2,ünï\nd.jpg,3,\nstranger.jpg,4,x\n', encoding="utf-8"
        )
    else:
        columns = {"label": ["007", "ünï", None, "x"], "key": ["a,b.jpg", "c.jpg", "d.jpg", "stranger.jpg"]}
        pq.write_table(pa.table(columns), path)
    labels = Labels(path)
    found = [row.label for row in labels.applied(rows("c.jpg", "unlisted.jpg", "a,b.jpg", "d.jpg"))]
    assert found == ["ünï", None, "007", None]
    assert labels.unknown == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na,b\n", "has the columns name, label: it needs key and label"),
        ("key,label\na,b\na,c\n", "has the key 'a' twice"),
        ("key,label\na,b,c\n", "is neither CSV nor Parquet of key,label"),
        ("", "is neither CSV nor Parquet of key,label"),
    ],
)
def test_says_what_is_wrong_with_a_labels_file(tmp_path: Path, text: str, message: str):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        Labels(tmp_path / "labels.csv")


def test_a_missing_labels_file_is_named(tmp_path: Path):
    with pytest.raises(NotFoundError, match=r"There is no labels file .*none\.csv"):
        Labels(tmp_path / "none.csv")
