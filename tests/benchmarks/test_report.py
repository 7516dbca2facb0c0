from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_benchmarks.cli import bench as command
from lookalike_benchmarks.report import SUITES, write
from lookalike_benchmarks.tables import tables, told
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
    """Put rows into the results of their suites."""

    def add(*rows):
        (tmp_path / "results").mkdir(exist_ok=True)
        for one in rows:
            with (tmp_path / "results" / f"{one['suite']}.jsonl").open("a") as file:
                file.write(json.dumps(one) + "\n")

    return add


def target(key):
    return next(one for one in TARGETS if one.key == key)


def test_a_target_is_judged_by_its_worst_row():
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


def test_a_target_without_a_row_was_not_measured():
    verdict = judge(target("lookup"), [row("something else", {"ids_to_key_label_uri_ms": 1.0})])
    assert verdict.row is None
    assert not verdict.met


def test_targets_have_keys_of_their_own():
    assert len({one.key for one in TARGETS}) == len(TARGETS)


def test_what_differs_is_a_column_and_what_does_not_is_said_once():
    rows = [row(f"case {k}", {"seconds": k / 3}, {"k": k, "rows": 1000}) for k in (1, 2)]
    assert tables(rows) == [
        "With rows 1,000:",
        "",
        "| case | k | **seconds** |",
        "|---|---|--:|",
        "| case 1 | 1 | 0.3333 |",
        "| case 2 | 2 | 0.6667 |",
        "",
    ]


def test_other_measures_make_another_table_and_none_makes_a_list():
    rows = [row("a", {"seconds": 1.0}), row("b", {"mib": 2}), row("c", {}, note="it needs a GPU")]
    lines = tables(rows)
    assert "| case | **seconds** |" in lines
    assert "| case | **mib** |" in lines
    assert lines[-4:] == ["Not measured:", "", "- c: it needs a GPU", ""]


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
def test_values_are_told_for_people(value, text):
    assert told(value) == text


def test_the_report_has_targets_tables_charts_and_commands(put, tmp_path):
    figures = {"queries_per_s": 10.0, "p50_ms": 1.0, "p99_ms": 2.0, "p99_9_ms": 3.0}
    shared = {"loop": "closed", "kind": "vector"}
    loops = [
        row(f"closed loop by vector, {callers} callers", figures, {**shared, "callers": callers}) for callers in (1, 4)
    ]
    put(*loops, row("requests of 64 over bare faiss in batches of 64", {"ratio_median": 0.5}))
    for rows in (1000, 10_000):
        put(row(f"build {rows:,} images", {"seconds": rows / 100, "peak_rss_mib": 5}, {"rows": rows}, suite="scale"))
    (tmp_path / "results" / "reasons.toml").write_text('batches = "the callers share the processor"\n')
    page = write(tmp_path / "results", tmp_path / "docs").read_text()
    assert "| ratio_median >= 0.9 | ratio_median 0.5 | **missed**: the callers share the processor |" in page
    assert "ratio_median >= 0.35 |  | not measured" not in page
    assert "not measured: no such GPU here" in page
    assert "    lookalike bench serve\n" in page
    assert "Not measured yet; `lookalike bench kmeans` does." in page
    for name in ("serve-throughput", "serve-latency", "scale-time", "scale-memory"):
        assert f"![{name}](benchmarks/{name}.png)" in page
        with Image.open(tmp_path / "docs" / "benchmarks" / f"{name}.png") as chart:
            assert chart.size[0] > 500


def test_runs_on_other_machines_have_a_section_of_their_own(put, tmp_path):
    put(row("here", {"ms": 2.0}))
    there = row("there", {"ms": 1.0}) | {"machine": {"processor": "Another", "cores": 16, "gpus": ["A GPU"]}}
    (tmp_path / "results" / "elsewhere").mkdir()
    (tmp_path / "results" / "elsewhere" / "serve.jsonl").write_text(json.dumps(there) + "\n")
    text = write(tmp_path / "results", tmp_path / "docs").read_text()
    first, second = text.split("## serve")[1].split("## overload")[0].split("On: ")[1:]
    assert first.startswith("processor Some processor, cores 2.")
    assert "| here |" in first
    assert second.startswith("processor Another, cores 16, gpus A GPU.")
    assert "| there |" in second


def test_recall_against_speed_is_drawn_for_each_batch_size(put, tmp_path):
    for batch in (1, 64):
        for nprobe, recall in ((1, 0.7), (8, 0.95)):
            params = {"index": "ivf", "factory": "IVF64,Flat", "batch": batch, "nprobe": nprobe, "placement": "cpu"}
            figures = {"recall_at_10": recall, "queries_per_s": 1000 / nprobe}
            put(row(f"ivf nprobe {nprobe} batch {batch}", figures, params, suite="search"))
    page = write(tmp_path / "results", tmp_path / "docs").read_text()
    assert "benchmarks/search-cpu-batch-1.png" in page
    assert "benchmarks/search-cpu-batch-64.png" in page


def test_the_command_writes_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, ["report", "--out", "results"], catch_exceptions=False)
    assert result.exit_code == 0
    assert (tmp_path / "docs" / "benchmarks.md").read_text().count("Not measured yet") == len(SUITES)


def test_a_row_names_no_path_of_this_machine(monkeypatch):
    from lookalike_benchmarks.cli import _repeatable

    arguments = ["bench", "embed", "--photos", "/data/photos", "--weights", "../w.pth", "--out", "results"]
    assert _repeatable(arguments) == "lookalike bench embed --photos PHOTOS --weights WEIGHTS --out results"
