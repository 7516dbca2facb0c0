from __future__ import annotations

import csv
import io
import json
import re

import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_benchmarks.cli import bench as command
from lookalike_benchmarks.questions import QUESTIONS
from lookalike_benchmarks.report import SUITES, write
from lookalike_benchmarks.tables import comma_separated, format_value
from lookalike_benchmarks.targets import TARGETS, judge

LABELS = {
    "command": "lookalike bench serve",
    "machine": {"processor": "Some processor", "cores": 2, "gpus": []},
    "versions": {"faiss-gpu": "1.15.1"},
}


def row(case, measured, params=None, note="", suite="serve"):
    return {"suite": suite, "case": case, "params": params or {}, "measured": measured, "note": note, **LABELS}


@pytest.fixture
def put(tmp_path):
    """Write rows to the results of their suites."""

    def add(*rows):
        (tmp_path / "results").mkdir(exist_ok=True)
        for one in rows:
            with (tmp_path / "results" / f"{one['suite']}.jsonl").open("a") as file:
                file.write(json.dumps(one) + "\n")

    return add


def target(key):
    return next(one for one in TARGETS if one.key == key)


def test_target_is_judged_by_its_worst_row():
    case = "chroma, recall@10 {}, 1 caller"
    rows = [row(case.format(recall), {"ratio_median": ratio}) for recall, ratio in (("0.90", 5.0), ("0.99", 1.9))]
    verdict = judge(target("networked-peers"), rows)
    assert not verdict.met
    assert verdict.figures() == {"ratio_median": 1.9}
    assert judge(target("networked-peers"), rows[:1]).met


def test_every_bound_of_a_target_has_to_hold():
    case = "lookalike over scikit-learn KMeans k 256"
    good, bad = ({"speedup": 3.0, "inertia_ratio": ratio} for ratio in (1.0005, 1.01))
    assert judge(target("kmeans"), [row(case, good)]).met
    assert not judge(target("kmeans"), [row(case, bad)]).met


def test_target_without_a_row_was_not_measured():
    verdict = judge(target("lookup"), [row("something else", {"ids_to_key_label_uri_ms": 1.0})])
    assert verdict.row is None
    assert not verdict.met


def test_targets_have_keys_of_their_own():
    assert len({one.key for one in TARGETS}) == len(TARGETS)


def test_all_parameters_and_measures_are_columns_of_the_csv():
    rows = [row("a, b", {"seconds": 0.5}, {"k": 1}), row("c", {}, {"lists": [1, 2]}, note="it needs a GPU")]
    first, second = csv.DictReader(io.StringIO(comma_separated(rows)))
    assert first["case"] == "a, b"
    assert (first["seconds"], first["param k"], first["note"]) == ("0.5", "1", "")
    assert (first["machine processor"], first["version faiss-gpu"]) == ("Some processor", "1.15.1")
    assert (second["seconds"], second["param lists"], second["note"]) == ("", "[1, 2]", "it needs a GPU")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345, "12,345"),
        (0.12345678, "0.1235"),
        (1234.5, "1,234"),
        (True, "yes"),
        (None, ""),
        ("a|b", r"a\|b"),
        ([1], "[1]"),
    ],
)
def test_values_are_formatted_for_people(value, text):
    assert format_value(value) == text


def test_report_has_targets_tables_charts_and_commands(put, tmp_path):
    figures = {"queries_per_s": 10.0, "p50_ms": 1.0, "p99_ms": 2.0, "p99_9_ms": 3.0}
    shared = {"loop": "closed", "kind": "vector"}
    loops = [
        row(f"closed loop by vector, {callers} callers", figures, {**shared, "callers": callers}) for callers in (1, 4)
    ]
    put(*loops, row("requests of 64 over bare faiss in batches of 64", {"ratio_median": 0.5}))
    for rows in (1000, 10_000):
        measured = {"build_seconds": rows / 100, "peak_rss_mib": 5}
        put(row(f"build {rows:,} images", measured, {"rows": rows}, suite="scale"))
    (tmp_path / "results" / "reasons.toml").write_text('batches = "the callers share the processor"\n')
    page = write(tmp_path / "results", tmp_path / "docs").read_text()
    scores = (tmp_path / "docs" / "benchmark-targets.md").read_text()
    assert "| ratio_median >= 0.9 | ratio_median 0.5 | **missed**: the callers share the processor |" in scores
    assert "not measured: no such GPU here" in scores
    assert "`lookalike bench serve`\n" in page
    assert "On Some processor, 2 cores.\n" in page
    assert "Not measured yet; `lookalike bench kmeans` does." in page
    assert "| closed loop by vector, 4 callers | 10 | 1 | 2 |" in page
    assert "| work | 1,000 | 10,000 |" in page
    assert "| build N images: build_seconds | 10 | 100 |" in page
    for name in ("serve-throughput", "serve-latency", "scale-time", "scale-memory"):
        assert page.count(f"![{name}](benchmarks/{name}.png)") == 1
        with Image.open(tmp_path / "docs" / "benchmarks" / f"{name}.png") as chart:
            assert chart.size[0] > 500
    linked = set(re.findall(r"\(\.\./benchmarks/(results/csv/.*\.csv)\)", page))
    assert linked == {"results/csv/serve.csv", "results/csv/scale.csv"}
    assert all((tmp_path / path).is_file() for path in linked)


def test_run_on_another_machine_has_its_own_table_and_command(put, tmp_path):
    put(row("here", {"speedup": 2.0}, suite="kmeans"))
    machine = {"processor": "Another", "cores": 16, "gpus": ["A GPU"]}
    there = row("there", {"speedup": 1.0}, suite="kmeans") | {"machine": machine}
    (tmp_path / "results" / "elsewhere").mkdir()
    (tmp_path / "results" / "elsewhere" / "kmeans.jsonl").write_text(json.dumps(there) + "\n")
    text = write(tmp_path / "results", tmp_path / "docs").read_text()
    first, second = text.split("k-means?")[1].split("## ")[0].split("\nOn ")[1:]
    assert first.startswith("Some processor, 2 cores.")
    assert "| here |" in first
    assert second.startswith("Another, 16 cores, A GPU.")
    assert "| there |" in second


def test_peers_have_a_line_for_each_way_to_ask_and_explain_what_failed(put, tmp_path):
    engine = {"engine": "zvec", "networked": False}
    params = {**engine, "callers": 1, "recall_target": 0.95}
    put(
        row("zvec, built", {"build_seconds": 4.0, "rss_mib": 90.0, "best_recall_at_10": 1.0}, engine, suite="peers"),
        row(
            "zvec, 1 caller",
            {"ratio_median": 2.5, "ratio_min": 2.0, "ratio_max": 3.0},
            {**params, "batch": 1},
            suite="peers",
        ),
        row("zvec, batches", {}, {**params, "batch": 64}, note="ours reaches a recall of 0.9 at best", suite="peers"),
        row("scann, failed", {}, note="it failed here: no AVX", suite="peers"),
    )
    page = write(tmp_path / "results", tmp_path / "docs").read_text()
    assert "| zvec (library) | 1 caller | 2.5 |" in page
    assert "| zvec (library) | batches of 64 | ours reaches a recall of 0.9 at best |" in page
    assert "- scann, failed: it failed here: no AVX" in page
    assert "| zvec |  | 4.0 | 90 | 1.000 |" in page


def test_fastest_effort_that_reaches_a_recall_is_shown(put, tmp_path):
    for batch in (1, 64):
        for nprobe, recall in ((1, 0.7), (8, 0.95), (16, 0.96)):
            params = {"index": "ivf", "factory": "IVF64,Flat", "batch": batch, "nprobe": nprobe}
            figures = {"recall_at_10": recall, "queries_per_s": batch * 1000 / nprobe, "index_mib": 3.0}
            put(row(f"ivf nprobe {nprobe} batch {batch}", figures, params, suite="search"))
    page = write(tmp_path / "results", tmp_path / "docs").read_text()
    assert "| IVF64,Flat, cpu | 3 | 125 / 8,000 | 125 / 8,000 | - | - |" in page


def test_recall_against_speed_is_drawn_for_each_batch_size(put, tmp_path):
    for batch in (1, 64):
        for nprobe, recall in ((1, 0.7), (8, 0.95)):
            params = {"index": "ivf", "factory": "IVF64,Flat", "batch": batch, "nprobe": nprobe, "placement": "cpu"}
            figures = {"recall_at_10": recall, "queries_per_s": 1000 / nprobe}
            put(row(f"ivf nprobe {nprobe} batch {batch}", figures, params, suite="search"))
    page = write(tmp_path / "results", tmp_path / "docs").read_text()
    assert "benchmarks/search-cpu-batch-1.png" in page
    assert "benchmarks/search-cpu-batch-64.png" in page


def test_command_writes_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, ["report", "--out", "results"], catch_exceptions=False)
    assert result.exit_code == 0
    assert (tmp_path / "docs" / "benchmarks.md").read_text().count("Not measured yet") == len(QUESTIONS)


def test_every_suite_answers_a_question():
    assert {question.suite for question in QUESTIONS} == set(SUITES)


def test_row_names_no_path_of_this_machine(monkeypatch):
    from lookalike_benchmarks.cli import _repeatable

    arguments = ["bench", "embed", "--photos", "/data/photos", "--weights", "../w.pth", "--out", "results"]
    assert _repeatable(arguments) == "lookalike bench embed --photos PHOTOS --weights WEIGHTS --out results"


def test_filters_and_peers_under_them_have_a_line_for_each_kind_of_filter(put, tmp_path):
    measured = {"cpu_ms": 6.0, "our_cpu_ms": 2.0, "ratio": 3.0, "recall_at_10": 0.9512, "our_recall_at_10": 0.97}
    size = {"rows": 20000, "dim": 2048}
    theirs, ours = {"engine": "zvec", "filter": "far", **size}, {"index": "flat", "filter": "far", **size}
    put(
        row("zvec, far 1%", measured, {**theirs, "share": 0.01}, suite="filters"),
        row("zvec, far 50%", {**measured, "ratio": 0.5}, {**theirs, "share": 0.5}, suite="filters"),
        row("lancedb, failed", {}, size, "it failed here: no disk", suite="filters"),
        row("flat, far 1%", {"ratio": 1.5, "recall_ratio": 0.991}, {**ours, "share": 0.01}, suite="filters"),
        row("flat, 64 filters", {"ratio": 1.25}, {**ours, "share": 0.01, "batch": 64}, suite="filters"),
    )
    page = write(tmp_path / "results", tmp_path / "docs").read_text()
    section = page.partition("other engines under filters?")[2].partition("## ")[0]
    assert "| peer | filter | 1% match | 50% match |" in section
    assert "| zvec | far | 3 (0.95 / 0.97) | 0.5 (0.95 / 0.97) |" in section
    assert "- lancedb, failed: it failed here: no disk" in section
    assert "flat" not in section
    cost = page.partition("## What does a filter cost")[2].partition("## ")[0]
    assert "| index | filter | 1% match |" in cost
    assert "| flat | far | 1.5 (0.99) |" in cost
    assert "| flat, 64 filters | 1.25 |" in cost
    assert "zvec" not in cost
    assert not judge(target("filters-peers"), [row("zvec, far 50%", {"ratio": 0.5})]).met


def test_best_peer_has_the_lowest_ratio_and_unmeasured_peers_are_listed():
    def compared(engine, ratio, recall, networked=False, batch=64, **cpu):
        params = {"engine": engine, "recall_target": recall, "batch": batch, "callers": 1, "networked": networked}
        return {"case": engine, "params": params, "measured": {"ratio_median": ratio, **cpu}, "note": ""}

    rows = [
        {"case": "lookalike_local, built", "params": {"index": "Flat"}, "measured": {}, "note": ""},
        compared("usearch", 1.2, 0.9),
        compared("hnswlib", 1.8, 0.9),
        compared("hnswlib", 1.1, 0.99, cpu_ratio=1.5),
        compared("chroma", 3.0, 0.9, networked=True, batch=1),
    ]
    question = next(one for one in QUESTIONS if one.title.startswith("How far"))
    table = question.table(rows)
    assert "| libraries | batches of 64 | 1.2 (usearch) | 1.1 (hnswlib) |" in table
    assert "| libraries | batches of 64, processor time |  | 1.5 (hnswlib) |" in table
    assert "| servers | 1 caller | 3 (chroma) |  |" in table
    (said,) = [line for line in table if line.startswith("Our index is Flat. Not in this run: ")]
    assert "zvec" in said
    assert "usearch" not in said
    assert question.table([]) == []
