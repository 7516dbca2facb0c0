"""`lookalike attach`: the stored table, rejected tables, and other commands that handle its files."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from lookalike.cli._run import run as typed
from lookalike_indexer.attributes import buckets
from lookalike_indexer.cli.attach import attach
from lookalike_indexer.cli.compact import compact
from lookalike_indexer.cli.gc import gc
from lookalike_indexer.cli.remove import remove
from lookalike_indexer.collection import encoding, generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DataLossError
from lookalike_indexer.progress import Silent
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify

SHOTS = """file,price,taken,camera,sharp,split,tags
00010.jpg,12.5,2026-01-02,Canon,true,train,"[""sale"",""new""]"
./00001.jpg,3,2025-12-31T23:00:00+01:00,,false,test,[]
/pictures/00019.jpg,,2026-02-03 04:05:06.25,Nikon,,train,
00007.jpg,7e2,,"",true,,"[""old""]"
nowhere.jpg,1,,,,,
"""


def rows(storage, table="shots"):
    """Return the attribute table of each image by id, as DuckDB reads the files."""
    paths = CollectionReader.open(str(storage.root)).paths(f"attributes/{table}")
    found = duckdb.execute("select * from read_parquet(?)", [paths])
    names = [column[0] for column in found.description]
    return {row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in found.fetchall()}


def invoke(command, *arguments):
    result = CliRunner().invoke(command, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def damages(storage):
    report = run_verify(storage, VerifySettings(deep=True), Silent())
    return [f"{each.path} {each.what}; {each.mend}" for each in report.damages if "embeddings" not in each.path]


def test_csv_becomes_typed_columns_aligned_with_the_images_by_id(storage, attached):
    before = generations.require_latest(storage)
    told = attached("shots.csv", SHOTS)
    assert [(each["name"], each["type"], each["count"]) for each in told["columns"]] == [
        ("price", "float64", 3),
        ("taken", "timestamp", 3),
        ("camera", "string", 3),
        ("sharp", "bool", 3),
        ("split", "string", 3),
        ("tags", "list<string>", 3),
    ]
    assert told["columns"][0]["examples"] == ["3.0", "700.0", "12.5"]
    assert (told["table"], told["rows"], told["unmatched"], told["example"]) == ("shots", 4, 1, "nowhere.jpg")
    assert (told["without"], told["relabelled"], told["generation"]) == (3, 0, 2)
    found = rows(storage)
    assert list(found) == [1, 4, 7, 10, 13, 16, 19]
    nothing = dict.fromkeys(found[4])
    assert found[4] == found[13] == found[16] == nothing
    assert found[1] == nothing | {
        "price": 3.0,
        "taken": dt.datetime(2025, 12, 31, 22),
        "sharp": False,
        "split": "test",
        "tags": [],
    }
    assert found[19]["taken"] == dt.datetime(2026, 2, 3, 4, 5, 6, 250_000)
    assert (found[7]["camera"], found[1]["camera"]) == ("", None)
    assert found[10]["tags"] == ["sale", "new"]
    after = generations.require_latest(storage)
    assert dataclasses.replace(after, generation=1, files={}, attributes={}) == dataclasses.replace(before, files={})
    assert damages(storage) == []


def test_same_command_again_changes_nothing_and_another_table_replaces(storage, attached):
    first, again = attached("shots.csv", SHOTS), attached("shots.csv", SHOTS)
    assert first == again
    told = attached("shots.csv", "file,stock\n00004.jpg,5\n")
    assert told["generation"] == 3
    assert rows(storage)[4] == {"stock": 5}
    assert list(generations.require_latest(storage).attributes) == ["shots"]
    assert "files" in invoke(gc, storage.root, "--keep", 1)
    assert len([path for path in storage.walk() if path.startswith("attributes/")]) == 3
    assert damages(storage) == []


def test_parquet_keeps_the_types_of_arrow(storage, attached, tmp_path):
    noon = dt.datetime(2026, 1, 2, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    table = pa.table(
        {
            "file": pa.array(["00001.jpg", "00004.jpg"]).dictionary_encode(),
            "stock": pa.array([1, None], pa.int16()),
            "weight": pa.array([1.5, float("nan")], pa.float32()),
            "day": pa.array([dt.date(2026, 1, 2), None]),
            "at": pa.array([noon, None], pa.timestamp("ns", "+02:00")),
            "camera": pa.array(["a", "b"]).dictionary_encode(),
            "tags": pa.array([["x", None], None], pa.large_list(pa.large_string())),
            "sharp": pa.array([True, None]),
            "nothing": pa.nulls(2),
            "picture": pa.array([b"1", b"2"]),
        }
    )
    pq.write_table(table, tmp_path / "whole.parquet")
    data = (tmp_path / "whole.parquet").read_bytes()
    message = attached("shots.parquet", data, code=2)
    assert "The column picture of" in message
    assert "has the type binary; attributes are bool, integers, floats," in message
    names = [name for name in table.column_names if name not in ("file", "picture")]
    told = attached("shots.parquet", data, "--columns", ",".join(names))
    assert [each["type"] for each in told["columns"]] == [
        "int64", "float64", "timestamp", "timestamp", "string", "list<string>", "bool", "string",
    ]  # fmt: skip
    assert rows(storage)[1] == {
        "stock": 1,
        "weight": 1.5,
        "day": dt.datetime(2026, 1, 2),
        "at": dt.datetime(2026, 1, 2, 10),
        "camera": "a",
        "tags": ["x"],
        "sharp": True,
        "nothing": None,
    }
    assert rows(storage)[4] == dict.fromkeys(names) | {"camera": "b"}


def test_json_lines_tell_types_by_their_values(storage, attached):
    lines = [
        {"file": "00001.jpg", "price": 3, "tags": ["a"], "taken": "2026-01-02", "code": "007"},
        {"file": "00004.jpg", "price": 4.5, "taken": None, "stock": 7},
    ]
    told = attached("shots.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
    assert [(each["name"], each["type"]) for each in told["columns"]] == [
        ("price", "float64"), ("tags", "list<string>"), ("taken", "timestamp"), ("code", "string"), ("stock", "int64"),
    ]  # fmt: skip
    assert rows(storage)[4] == {"price": 4.5, "tags": None, "taken": None, "code": None, "stock": 7}


def test_column_type_can_be_given(storage, attached):
    told = attached(
        "shots.csv", "file,tags,code\n00001.jpg,a; b,1\n00004.jpg,,2\n", "--type", "tags=list", "--type", "code=string"
    )
    assert [each["type"] for each in told["columns"]] == ["list<string>", "string"]
    assert rows(storage)[1] == {"tags": ["a", "b"], "code": "1"}


def test_label_column_corrects_labels_and_embeds_nothing(storage, attached):
    told = attached("fix.csv", 'file,label,price\n00001.jpg,tiger,1\n00004.jpg,"",2\n00007.jpg,,3\n00010.jpg,cat,4\n')
    assert (told["relabelled"], told["rows"], [each["name"] for each in told["columns"]]) == (2, 4, ["price"])
    reader = CollectionReader.open(str(storage.root))
    assert reader.images(["label"]).column("label").to_pylist() == ["tiger", None, None, "cat", "dog", "cat", None]
    assert (
        attached("fix.csv", 'file,label,price\n00001.jpg,tiger,1\n00004.jpg,"",2\n00007.jpg,,3\n00010.jpg,cat,4\n')[
            "generation"
        ]
        == told["generation"]
    )
    only = attached("only.csv", "file,label\n00007.jpg,bear\n")
    assert (only["table"], only["relabelled"]) == ("", 1)
    assert list(generations.require_latest(storage).attributes) == ["fix"]
    assert damages(storage) == []


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("file,a\nx.jpg,1\n", [], "keys such as 'x.jpg', and the collection has keys such as '00001.jpg'"),
        ("file,a\n00001.jpg,1\n./00001.jpg,2\n", [], "two rows for the image '00001.jpg', one of them with the key"),
        ("file,a\n00001.jpg,1\n,2\n", [], "Row 2 of"),
        ("file,a\n", [], "has no rows"),
        ("file\n00001.jpg\n", [], "nothing to attach"),
        ("file,a,a\n00001.jpg,1,2\n", [], "has the column 'a' twice"),
        ("file,a\n00001.jpg,1\n", ["--key", "name"], "has no column 'name'; it has: file, a."),
        ("file,id\n00001.jpg,1\n", [], "The column 'id' would hide a field that every image has"),
        ("file,a\n00001.jpg,x\n", ["--type", "a=int64"], "The column a of"),
        (
            "file,a\n00001.jpg,x\n",
            ["--type", "a=money"],
            "'money' is not a type for the column 'a'; the types are: bool",
        ),
        ("file,a\n00001.jpg,x\n", ["--type", "a"], "--type a must be COLUMN=TYPE"),
        ("file,a\n00001.jpg,x\n", ["--name", "../up"], "'../up' cannot be the name of an attribute table"),
        (b"file,a\n00001.jpg,\xff\n", [], "cannot be read as CSV"),
        ("file,a\n00001.jpg,1,2\n", [], "cannot be read as CSV"),
    ],
)
def test_mistakes_are_reported_and_change_nothing(storage, attached, content, options, message):
    before = generations.require_latest(storage)
    assert message in attached("shots.csv", content, *options, code=2)
    assert generations.require_latest(storage) == before
    assert not [path for path in storage.walk() if path.startswith(("attributes/", "work/"))]


def test_spreadsheet_is_no_table(attached):
    told = attached("shots.xlsx", "file,price\n00001.jpg,1\n", code=2)
    assert "shots.xlsx is not a table that lookalike reads; save it as .csv, .tsv, .parquet or .jsonl." in told


def test_column_of_another_table_is_named(storage, attached):
    attached("shots.csv", "file,price\n00001.jpg,1\n")
    told = attached("more.csv", "file,price\n00001.jpg,1\n", code=2)
    assert "The attribute table 'shots' has a column 'price' as well" in told
    assert attached("more.csv", "file,stock\n00001.jpg,1\n")["table"] == "more"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file": "00001.jpg", "a": {"b": 1}}', "has values of the types dict"),
        ('{"file": "00001.jpg", "a": 1}\n{"file": "00004.jpg", "a": "x"}', "has values of the types int64, string"),
        ('{"file": "00001.jpg", "a": [["x"]]}', "The column a of"),
        ('{"file": "00001.jpg", "a": 100000000000000000000}', "The column a of"),
        ("[1]", "Line 1 of"),
        ("[" * 100_000, "Line 1 of"),
    ],
)
def test_mistakes_in_json_are_reported(storage, attached, line, message):
    assert message in attached("shots.jsonl", line, code=2)


def test_added_images_have_no_values_until_the_table_is_attached_again(storage, attached, grow_collection):
    attached("shots.csv", SHOTS)
    grow_collection(storage, np.ones((2, 4), np.float32))
    assert list(rows(storage)) == [1, 4, 7, 10, 13, 16, 19]
    assert damages(storage) == []
    attached("shots.csv", SHOTS)
    assert list(rows(storage)) == [1, 4, 7, 10, 13, 16, 19, 22, 25]


def test_compact_merges_the_parts_also_where_the_table_ends(storage, attached, grow_collection):
    attached("shots.csv", SHOTS)
    grow_collection(storage, np.ones((2, 4), np.float32))
    before = rows(storage)
    invoke(compact, storage.root)
    manifest = generations.require_latest(storage)
    assert (len(manifest.images), len(manifest.attributes["shots"].parts)) == (1, 1)
    assert rows(storage) == before
    assert damages(storage) == []
    invoke(gc, storage.root, "--keep", 1)
    assert rows(storage) == before


def test_remove_takes_a_table_away_and_gc_its_files(storage, attached):
    attached("shots.csv", SHOTS)
    told = json.loads(invoke(remove, storage.root, "--attributes", "shots", "--json"))
    assert (told["attributes"], told["generation"]) == (["shots"], 3)
    assert generations.require_latest(storage).attributes == {}
    invoke(gc, storage.root, "--keep", 1)
    assert not [path for path in storage.walk() if path.startswith("attributes/")]
    result = CliRunner().invoke(remove, [str(storage.root), "--attributes", "shots"])
    assert (result.exit_code, result.output) == (
        1,
        "Error: The collection has no attribute table 'shots'; it has: none.\n",
    )


def test_info_lists_the_attributes(storage, attached, capsys):
    attached("shots.csv", SHOTS)
    assert typed(["info", str(storage.root)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["attribute", "type", "images", "examples", "table"] in lines
    assert ["price", "float64", "3", "3.0,", "700.0,", "12.5", "shots"] in lines
    tags = next(line for line in lines if line[:1] == ["tags"])
    # Brackets show where a list ends.
    assert " ".join(tags[3:-1]).startswith("[")


def test_verify_reports_a_damaged_part_with_its_repair_command(storage, attached):
    attached("shots.csv", SHOTS)
    path = generations.require_latest(storage).attributes["shots"].parts[0]
    storage.local(path).write_bytes(b"x")
    assert damages(storage) == [
        f"{path} has 1 bytes and the manifest says "
        f"{generations.require_latest(storage).files[path].bytes:,}; remove it and attach the table again with: "
        f"lookalike attach {storage.root} TABLE --name shots"
    ]


def test_table_in_any_order_is_joined_in_bounded_pieces(storage, tmp_path, monkeypatch):
    """Many small buckets, spilled from memory, give the same files as one bucket."""
    order = np.random.default_rng(0).permutation(7)
    text = "file,n\n" + "".join(f"{3 * i + 1:05d}.jpg,{i}\n" for i in order)
    (tmp_path / "t.csv").write_text(text)
    invoke(attach, storage.root, tmp_path / "t.csv", "--key", "file")
    first = {path: storage.read(path) for path in generations.require_latest(storage).attributes["t"].parts}
    for path in first:
        storage.remove(path)
    monkeypatch.setattr(buckets, "_PLANNED", 8)
    monkeypatch.setattr(buckets, "_HELD", 1)
    invoke(attach, storage.root, tmp_path / "t.csv", "--key", "file")
    assert {path: storage.read(path) for path in first} == first
    assert [row["n"] for row in rows(storage, "t").values()] == list(range(7))


def test_manifest_with_an_unknown_type_is_rejected(storage, attached):
    attached("shots.csv", SHOTS)
    manifest = generations.require_latest(storage)
    entry = manifest.attributes["shots"]
    wrong = dataclasses.replace(entry, columns=[dataclasses.replace(entry.columns[0], type="money")])
    data = encoding.encode(dataclasses.replace(manifest, generation=9, attributes={"shots": wrong}))
    storage.publish("generations/000009.json", data.manifest)
    with pytest.raises(DataLossError, match="the attribute 'price' of 'shots' with an unknown type, 'money'"):
        CollectionReader.open(str(storage.root))
