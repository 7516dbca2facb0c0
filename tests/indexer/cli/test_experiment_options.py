from __future__ import annotations

import json

import click
import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import experiment_options, for_programs, open_view, shown
from lookalike_indexer.cli.out_folder import OutFolder, file_name, listed
from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.experiments.result import Result


@click.command()
@experiment_options
@reported
def example(collection: str, out: str | None, as_json: bool) -> None:
    click.echo(f"{open_view(collection).reader.name} {out} {as_json}")


def test_collection_is_an_option_or_in_the_environment(make_collection, clustered):
    root = str(make_collection(clustered(4, 2, 2)).root)
    assert CliRunner().invoke(example, ["--collection", root]).output == "collection None False\n"
    asked = CliRunner().invoke(example, ["--json", "--out", "x"], env={"LOOKALIKE_COLLECTION": root})
    assert asked.output == "collection x True\n"


def test_command_that_draws_nothing_leaves_no_new_folder(tmp_path):
    @click.command()
    @click.option("--out")
    @click.option("--draw", is_flag=True)
    def drawing(out: str, draw: bool) -> None:
        folder = OutFolder(out)
        if not draw:
            raise click.UsageError("no")
        folder.save("one", Image.new("RGB", (4, 4)))

    (tmp_path / "there").mkdir()
    for out in ("new/deep", "there"):
        assert CliRunner().invoke(drawing, ["--out", str(tmp_path / out)]).exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert CliRunner().invoke(drawing, ["--out", str(tmp_path / "new" / "deep"), "--draw"]).exit_code == 0
    assert (tmp_path / "new" / "deep" / "one.png").exists()


def test_without_a_collection_one_sentence_explains_how_to_name_it(tmp_path):
    missing = CliRunner().invoke(example, [], env={"LOOKALIKE_COLLECTION": None})
    assert missing.exit_code == 2
    assert (
        "Give the collection as the first argument, by -c/--collection DIR, or by LOOKALIKE_COLLECTION."
        in missing.output
    )
    wrong = CliRunner().invoke(example, ["--collection", str(tmp_path / "none")])
    assert (wrong.exit_code, "Traceback" in wrong.output) == (1, False)
    assert "holds no collection" in wrong.output
    assert CliRunner().invoke(example, ["--help"]).exit_code == 0


def test_json_has_null_for_what_is_not_a_number():
    table = pa.table({"x": [0.5, float("nan")], "y": ["é", None], "z": [[1.0, float("inf")], []]})
    result = Result("kind", {"k": 3}, {"rows": table}, {"mean": float("nan")}, ("Found.",))
    assert json.loads(for_programs(result)) == {
        "kind": "kind",
        "settings": {"k": 3},
        "figures": {"mean": None},
        "findings": ["Found."],
        "tables": {"rows": [{"x": 0.5, "y": "é", "z": [1.0, None]}, {"x": None, "y": None, "z": []}]},
    }


def test_long_table_is_cut_with_a_notice():
    table = pa.table({"n": list(range(5)), "hidden": ["x"] * 5})
    assert shown(table, ["n"], 2).splitlines() == ["n", "0", "1", "... and 3 more; --json has all."]
    assert shown(table, ["n"], 5).splitlines() == ["n", "0", "1", "2", "3", "4"]


def test_charts_go_into_a_new_folder(tmp_path):
    folder = OutFolder(str(tmp_path / "a" / "b"))
    (tmp_path / "a" / "b" / "own.txt").write_text("mine")
    assert folder.save("tiny.conv1/k4", Image.new("RGB", (2, 2))).name == "tiny.conv1-k4.png"
    assert folder.save("tiny.conv1-k4", Image.new("RGB", (3, 3))).name == "tiny.conv1-k4-2.png"
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == [
        "own.txt",
        "tiny.conv1-k4-2.png",
        "tiny.conv1-k4.png",
    ]
    # Another run replaces its own images.
    assert OutFolder(str(tmp_path / "a" / "b")).save("tiny.conv1/k4", Image.new("RGB", (5, 5))).name == (
        "tiny.conv1-k4.png"
    )
    with Image.open(tmp_path / "a" / "b" / "tiny.conv1-k4.png") as replaced:
        assert replaced.size == (5, 5)


def test_impossible_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file; name a folder"):
        OutFolder(str(tmp_path / "file"))
    with pytest.raises(NotFoundError, match="cannot be made"):
        OutFolder(str(tmp_path / "file" / "below"))


@pytest.mark.parametrize(
    ("text", "name"),
    [("../../etc/x", "etc-x"), ("Ä b", "A-b"), ("日本", "image"), ("a" * 300, "a" * 80), ("", "image")],
)
def test_file_names_stay_in_their_folder(text: str, name: str):
    assert file_name(text) == name


def test_many_names_are_shortened():
    assert listed(list("abc")) == "a, b, c"
    assert listed([str(number) for number in range(9)]) == "0, 1, 2, 3, 4 and 4 more"
