from __future__ import annotations

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner

from lookalike.cli._run import run
from lookalike_indexer.cli.attach import attach


@pytest.fixture
def cli(make_collection, capsys, monkeypatch):
    """Run a command line on a collection of three cats and two dogs; return the exit code, output and errors."""
    storage = make_collection(np.eye(5, dtype=np.float32), labels=["cat", "dog", "cat", "dog", "cat"], part_rows=2)
    monkeypatch.setenv("LOOKALIKE_COLLECTION", str(storage.root))

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_list_of_a_folder_has_the_images_of_a_label(cli):
    code, out, err = cli("images", "--label", "cat", "--limit", 2)
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()[:3]] == [
        ["id", "label", "size", "key"],
        ["1", "cat", "64", "x", "64", "00001.jpg"],
        ["7", "cat", "64", "x", "64", "00007.jpg"],
    ]
    assert out.splitlines()[3] == "... and 1 more of 3; --limit lists them."


def test_first_argument_names_the_folder(cli, monkeypatch):
    folder = os.environ["LOOKALIKE_COLLECTION"]
    monkeypatch.delenv("LOOKALIKE_COLLECTION")
    assert json.loads(cli("images", folder, "--json")[1])["total"] == 5
    assert cli("results", folder)[:2] == (0, "No result is stored; experiments store theirs with --keep NAME.\n")
    code, _, err = cli("results", folder, "map/none")
    assert code == 1
    assert "map/none" in err
    code, _, err = cli("images", folder, "--server", "127.0.0.1:1")
    assert code == 2
    assert "Name a --collection or a --server, not both." in err
    assert "Name the collection once" in cli("images", folder, "-c", folder)[2]


def test_machines_get_the_same_columns_as_from_a_server(cli):
    found = json.loads(cli("images", "--json")[1])
    assert (found["label"], found["total"]) == (None, 5)
    assert list(found["images"][0]) == ["id", "key", "label", "uri", "width", "height"]


@pytest.fixture
def shots(cli, tmp_path):
    """The same with attached attributes, which one image lacks."""
    rows = ["00001.jpg,3,[],2026-01-02", '00004.jpg,,"[""a"",""b""]",', '00007.jpg,1.5,"[""a""]",2026-01-03T04:05:06']
    (tmp_path / "shots.csv").write_text("\n".join(["file,price,tags,taken", *rows, "00010.jpg,7,,"]))
    done = CliRunner().invoke(
        attach, [os.environ["LOOKALIKE_COLLECTION"], str(tmp_path / "shots.csv"), "--key", "file"]
    )
    assert done.exit_code == 0, done.output
    return cli


def test_list_of_a_folder_has_matching_images_with_attributes(shots):
    code, out, err = shots("images", "--where", "price < 5 or tags has 'b'")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["id", "label", "size", "key", "price", "tags", "taken"],
        ["1", "cat", "64", "x", "64", "00001.jpg", "3.0000", "2026-01-02T00:00:00+00:00"],
        ["4", "dog", "64", "x", "64", "00004.jpg", "-", "a,", "b", "-"],
        ["7", "cat", "64", "x", "64", "00007.jpg", "1.5000", "a", "2026-01-03T04:05:06+00:00"],
    ]
    assert "price" not in shots("images", "--where", "price < 5", "--fields", "none")[1]
    found = json.loads(shots("images", "--where", "price < 5", "--label", "cat", "--fields", "tags", "--json")[1])
    assert (found["where"], found["total"], found["images"][1]["tags"]) == ("price < 5", 2, ["a"])
    assert "price" not in found["images"][0]
    assert shots("images", "--where", "price > 100")[1] == "No image matches.\n"


def test_table_has_the_perceptual_hash_only_by_name(cli, tmp_path):
    (tmp_path / "hashes.csv").write_text("key,phash,blur\n00001.jpg,-8018251891017332890,0.12345678901234567\n")
    root = os.environ["LOOKALIKE_COLLECTION"]
    assert CliRunner().invoke(attach, [root, str(tmp_path / "hashes.csv"), "--key", "key"]).exit_code == 0
    assert cli("images")[1].splitlines()[0].split() == ["id", "label", "size", "key", "blur"]
    assert "-8018251891017332890" in cli("images", "--fields", "phash")[1]
    assert "phash" in json.loads(cli("images", "--json")[1])["images"][0]
    # Examples of long numbers have four digits.
    (line,) = [line.split() for line in cli("info")[1].splitlines() if line.startswith("blur ")]
    assert line[:4] == ["blur", "float64", "1", "0.1235"]


def test_printed_csv_can_be_attached(shots, tmp_path):
    code, out, _ = shots("images", "--csv")
    assert code == 0
    assert out.splitlines()[0] == "id,key,label,uri,width,height,price,tags,taken"
    (tmp_path / "again.csv").write_text(out)
    root = os.environ["LOOKALIKE_COLLECTION"]
    options = ["--key", "key", "--name", "shots", "--columns", "price,tags,taken"]
    assert CliRunner().invoke(attach, [root, str(tmp_path / "again.csv"), *options]).exit_code == 0
    assert shots("images", "--csv")[1] == out


def test_mistakes_in_a_filter_are_reported(shots):
    code, _, err = shots("images", "--where", "prize < 5")
    assert code == 2
    assert "There is no column 'prize'; did you mean 'price'? The columns are: id, key, label, width" in err
    assert "(at character 1 of the filter)" in err
    assert shots("images", "--fields", "prize")[0] == 2
    assert "Use --json or --csv, not both." in shots("images", "--json", "--csv")[2]


def test_unknown_label_is_named(cli):
    code, _, err = cli("images", "--label", "iceberg")
    assert code == 1
    assert err == "Error: No image of the collection collection has the label 'iceberg'; it has cat, dog.\n"
