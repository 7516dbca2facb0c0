from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.build import build
from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.manifest import Candidate
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import UsageError
from lookalike_indexer.indexing import choice, recipes
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.choice import pick
from lookalike_indexer.indexing.search_time_model import slowdown
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.indexing.trial import Trial
from lookalike_indexer.progress import Silent

DIM = 32


@pytest.fixture
def small(monkeypatch):
    """Let "auto" try its candidates on collections of a thousand images already, on a machine without GPUs."""
    monkeypatch.setattr(recipes, "_FLAT_BELOW", 1000)
    monkeypatch.setattr(choice, "_SAMPLE", 1500)
    monkeypatch.setattr("lookalike_indexer.indexing.choice.faiss.get_num_gpus", lambda: 0)


def candidate(index, recall, speed, size=100.0):
    return Candidate(index, index.upper(), 8, recall, speed, size, "", speed)


def verdicts(tried, rows=1000, **settings):
    return {each.index: each.verdict for each in choice._judged(tried, rows, BuildSettings(**settings))}


def test_fastest_index_at_the_target_is_chosen():
    tried = [candidate("a", 0.96, 10), candidate("b", 0.95, 90), candidate("c", 0.94, 500)]
    found = verdicts(tried, target_recall=0.95)
    assert found == {
        "a": "slower", "b": "taken: the fastest that reached a recall of 0.95", "c": "finds too little",
    }  # fmt: skip


def test_candidates_above_the_memory_limit_are_left_out():
    tried = [candidate("a", 0.96, 10, 50), candidate("b", 0.95, 90, 2100)]
    found = verdicts(tried, rows=1 << 20, max_memory=1 << 30)
    assert found["a"].startswith("taken: the fastest")
    assert found["b"] == "needs 2100 MiB"


def test_closest_candidate_is_taken_if_none_meets_the_target():
    tried = [candidate("a", 0.5, 10, 90), candidate("b", 0.7, 5, 80)]
    assert verdicts(tried, target_recall=0.9)["b"].startswith("taken: none reached a recall of 0.9")
    found = verdicts(tried, max_memory=1000)
    assert found["b"] == "taken: none fits in --max-memory, and this is the smallest"
    assert found["a"].startswith("needs ")


def test_times_over_a_sample_are_scaled_to_the_collection(make_collection, clustered, monkeypatch):
    """A flat index that is 8% faster over the sample is slower over five times the images."""
    monkeypatch.setattr(recipes, "_FLAT_BELOW", 1000)
    monkeypatch.setattr(choice, "_SAMPLE", 1000)
    monkeypatch.setattr("lookalike_indexer.indexing.choice.faiss.get_num_gpus", lambda: 0)
    speeds = {"flat": 1080.0, "hnsw": 900.0}
    monkeypatch.setattr(
        Trial, "candidate", lambda self, kind: Candidate(kind, kind, 8, 0.99, speeds.get(kind, 500.0), 100.0, "")
    )
    storage = make_collection(clustered(5000, DIM, 20), part_rows=5000)
    told = CliRunner().invoke(build, [str(storage.root)])
    assert told.exit_code == 0, told.output
    entry = generations.require_latest(storage).indexes["tiny/main"]
    expected = {each.index: each.expected_queries_per_second for each in entry.candidates}
    assert expected["flat"] == pytest.approx(1080 / 5)
    assert expected["hnsw"] == pytest.approx(900 * np.log(1000) / np.log(5000))
    assert entry.factory == "HNSW32,SQ8"
    assert "of 5000" in told.output
    assert "are scaled by what a search compares" in told.output


@pytest.mark.parametrize(("rows", "most"), [(30_000, 1.0), (1_000_000, 8.0)])
def test_lists_cost_about_the_square_root_of_the_images(rows, most):
    settings = BuildSettings(index="ivf-sq8")
    factor = slowdown("ivf-sq8", 16, settings, 30_000, settings, rows)
    # 1,000,000 images are 33 times as many, whose root is 6; the number of lists is a power of two.
    assert most / 2 <= factor <= most


@pytest.mark.parametrize("kind", recipes.candidates(1000))
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_every_candidate_can_be_tried(clustered, kind, metric):
    vectors = clustered(2100, DIM, 20)
    tried = Trial(vectors[100:], vectors[:100], BuildSettings(metric=metric, target_recall=0.9)).candidate(kind)
    assert tried.index == kind
    # A code of eight bits is imprecise; as the only candidate, its trial must show this.
    assert (0.5 if kind == "ivf-pqfs" else 0.9) <= tried.recall <= 1
    assert tried.queries_per_second > 0
    assert tried.bytes_per_image > DIM
    assert (tried.nprobe == 0) == (kind == "flat")


def test_exact_index_finds_everything_also_among_copies():
    vectors = np.repeat(np.eye(DIM, dtype=np.float32), 40, axis=0)
    assert Trial(vectors, vectors[::40].copy(), BuildSettings()).candidate("flat").recall == 1


@pytest.mark.usefixtures("small")
def test_choice_is_kept_with_what_was_tried(make_collection, clustered, monkeypatch):
    storage = make_collection(clustered(2500, DIM, 20))
    before = generations.require_latest(storage)
    draft, report = run_build(storage, before, BuildSettings(target_recall=0.9), Silent())
    entry = report.entry
    assert [each.index for each in entry.candidates] == recipes.candidates(2500)
    taken = next(each for each in entry.candidates if each.verdict.startswith("taken"))
    assert entry.factory == recipes.choose(2500, DIM, BuildSettings(index=taken.index)).factory
    assert entry.sampled == 1500
    assert "kinds tried on 1500 images" in report.reason

    def never(*_):
        raise AssertionError("it was tried again")

    monkeypatch.setattr(Trial, "candidate", never)
    # Chosen by the published generation, and by the file that a killed run left.
    published = generations.publish(storage, draft)
    assert run_build(storage, published, BuildSettings(target_recall=0.9), Silent())[1].entry == entry
    assert run_build(storage, before, BuildSettings(target_recall=0.9), Silent())[1].entry == entry


@pytest.mark.usefixtures("small")
def test_unreadable_record_is_measured_again(make_collection, clustered):
    storage = make_collection(clustered(1200, DIM, 20))
    draft = generations.require_latest(storage)
    first = pick(CollectionReader(storage, draft), "tiny", BuildSettings(), Silent())
    with storage.staged(layout.choice("tiny", first.digest)) as path:
        path.write_bytes(b"{")
    again = pick(CollectionReader(storage, draft), "tiny", BuildSettings(), Silent())
    assert [each.index for each in again.candidates] == [each.index for each in first.candidates]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("settings", "factory"),
    [({"gpus": (0,)}, "IVF16,SQfp16"), ({"nlist": 8}, "IVF8,SQfp16"), ({"index": "ivf-sq8"}, "IVF16,SQ8")],
)
def test_nothing_is_tried_where_the_settings_decide_or_a_gpu_is_to_hold_it(
    make_collection, clustered, settings, factory
):
    storage = make_collection(clustered(1200, DIM, 20))
    reader = CollectionReader(storage, generations.require_latest(storage))
    chosen = pick(reader, "tiny", BuildSettings(**settings), Silent())
    assert chosen.recipe.factory == factory
    assert not chosen.candidates


@pytest.mark.parametrize("kind", ["ivf-pqfs", "ivf-rabitq", "hnsw"])
def test_kinds_for_processors_reach_their_target_over_a_collection(make_collection, clustered, kind):
    storage = make_collection(clustered(2000, 256, 40, spread=0.3))
    _, report = run_build(
        storage, generations.require_latest(storage), BuildSettings(index=kind, target_recall=0.95), Silent()
    )
    assert report.recall >= 0.95
    assert len(report.entry.recall) > 1 or report.entry.recall[0].recall == 1
    assert report.entry.default_nprobe > 0


def test_memory_limit_goes_with_auto_only():
    with pytest.raises(UsageError, match=r"--max-memory goes with --index auto, not with 'flat'"):
        BuildSettings(index="flat", max_memory=1)
    assert dataclasses.replace(BuildSettings(), max_memory=1).max_memory == 1
