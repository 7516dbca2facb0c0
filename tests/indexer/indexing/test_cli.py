from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.build import build
from lookalike_indexer.cli.build_options import build_settings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.indexing.settings import BuildSettings


def run(*arguments):
    return CliRunner().invoke(build, [str(argument) for argument in arguments])


def test_index_is_published_with_its_ladder(make_collection, clustered):
    storage = make_collection(clustered(900, 16, 20, spread=1.5))
    result = run(storage.root, "--index", "ivf-flat", "--nlist", 8)
    assert result.exit_code == 0, result.output
    entry = generations.require_latest(storage).indexes["tiny/main"]
    lines = result.output.splitlines()
    assert lines[0].startswith("tiny/main: IVF8,Flat, cosine, 900 images, ")
    assert lines[0].endswith("(as requested; nlist as requested)")
    assert lines[1] == "recall@k on 90 queries that are stored images:"
    assert lines[2].replace("k = ", "").split() == ["nprobe", "1", "10", "100", "1024"]
    table = [line.split() for line in lines[3:-1]]
    measured = {(str(point.nprobe), point.k): f"{point.recall:.4f}" for point in entry.recall}
    assert {row[0] for row in table} == {nprobe for nprobe, _ in measured}
    for nprobe, *recalls in table:
        assert recalls[:4] == [measured.get((nprobe, k), "-") for k in (1, 10, 100, 1024)]
    assert [row[0] for row in table if row[-1] == "default"] == [str(entry.default_nprobe)]
    assert lines[-1].endswith("is at generation 2.")


def test_small_collection_gets_an_exact_index(make_collection, clustered):
    result = run(make_collection(clustered(50, 8, 4)).root)
    assert result.exit_code == 0, result.output
    assert "exact search is quick enough for 50 images" in result.output
    assert "recall: 1, each search is exact" in result.output


def test_lossy_index_without_lists_reports_its_one_recall(make_collection, clustered):
    result = run(make_collection(clustered(300, 16, 90)).root, "--index", "SQ4")
    assert "recall@k on 30 queries" in result.output
    assert "nprobe" not in result.output


def test_json_for_machines(make_collection, clustered):
    storage = make_collection(clustered(400, 16, 20))
    told = json.loads(run(storage.root, "--json", "--index", "ivf-sq8", "--train-size", 100, "--metric", "l2").stdout)
    entry = generations.require_latest(storage).indexes["tiny/main"]
    assert (told["index"], told["trained_on"], told["metric"]) == ("IVF2,SQ8", 100, "l2")
    assert told["recall"] == [{"k": each.k, "nprobe": each.nprobe, "recall": each.recall} for each in entry.recall]
    assert told["bytes"] == storage.size(entry.path)
    assert told["reused"] is False
    again = json.loads(run(storage.root, "--json", "--index", "ivf-sq8", "--train-size", 100, "--metric", "l2").stdout)
    assert again == {**told, "reused": True}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--index", "Bogus"], 2, "--index 'Bogus' is neither a kind of index nor a factory string"),
        (["--index", "flat", "--nlist", "4"], 2, "--nlist 4 goes with the kinds of --index"),
        (["--index", "ivf-pq"], 2, "256 training vectors, and 54 of 60 images can be trained on"),
        (["--index", "IVF2,PQ3"], 2, "--index 'IVF2,PQ3': faiss cannot make it for 8 dimensions and cosine"),
        (["--target-recall", "2"], 2, "--target-recall 2 must be"),
        (["--space", "huge"], 1, "no space 'huge'; it has: tiny"),
        (["--gpus", "64"], 1, "--gpus 64"),
    ],
)
def test_errors_have_one_sentence(make_collection, clustered, arguments, code, message):
    storage = make_collection(clustered(60, 8, 4))
    result = run(storage.root, *arguments)
    assert result.exit_code == code
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert generations.numbers(storage) == [1]


def test_folder_without_a_collection_is_not_made_into_one(tmp_path):
    result = run(tmp_path / "nothing")
    assert result.exit_code == 1
    assert "holds no collection" in result.output
    assert not (tmp_path / "nothing").exists()


def test_another_writer_is_waited_for_by_the_person(make_collection, clustered):
    storage = make_collection(clustered(60, 8, 4))
    with writing(Storage(storage.root)):
        result = run(storage.root)
    assert result.exit_code == 1
    assert "Another process is writing to" in result.output


def test_settings_of_a_command_with_other_stages_options():
    options = {
        "index": "ivf-sq8", "nlist": 9, "target_recall": 0.8, "max_memory": None, "train_size": 77,
        "clusters": 5, "model": "resnet152", "metric": "l2", "seed": 3, "gpus": "",
    }  # fmt: skip
    assert build_settings(**options) == BuildSettings(
        index="ivf-sq8", nlist=9, metric="l2", target_recall=0.8, train_size=77, seed=3
    )
