"""`lookalike label-issues`, on groups of vectors with some flipped labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.graph import graph
from lookalike_indexer.cli.label_issues import label_issues
from lookalike_indexer.collection import generations
from lookalike_indexer.experiments.stored_results import out_of_date

NAMES = ["ant", "bee", "cat", "dog"]
FLIPPED = {3: "bee", 50: "ant", 77: "dog", 120: "cat"}


@pytest.fixture
def labels():
    """Row i belongs to group i % 4, as in `clustered`; the last image has no label."""
    labels = [FLIPPED.get(row, NAMES[row % 4]) for row in range(160)]
    return [*labels[:-1], None]


@pytest.fixture
def storage(make_collection, clustered, labels):
    storage = make_collection(clustered(160, 12, 4), labels=labels, part_rows=50)
    assert CliRunner().invoke(graph, [str(storage.root), "-k", "8"]).exit_code == 0
    return storage


def run(storage, *options, code=0):
    result = CliRunner().invoke(label_issues, [str(storage.root), *map(str, options)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else " ".join(result.output.split())


def test_flipped_labels_are_found_with_the_correct_label(storage):
    found = json.loads(run(storage, "--json"))
    issues = {line["id"] // 3: (line["label"], line["suggested"]) for line in found["tables"]["issues"]}
    assert issues == {row: (label, NAMES[row % 4]) for row, label in FLIPPED.items()}
    assert (found["figures"]["images"], found["figures"]["issues"], found["figures"]["unlabelled"]) == (159, 4, 1)
    scores = [line["score"] for line in found["tables"]["issues"]]
    assert scores == sorted(scores)
    assert -1 <= scores[0] < scores[-1] < -0.5
    assert {line["label"]: line["issues"] for line in found["tables"]["labels"]} == dict.fromkeys(NAMES, 1)
    assert found["settings"] == {"space": "tiny", "limit": 60, "predictions": False, "scores": False}
    assert "scores" not in found["tables"]
    every = json.loads(run(storage, "--json", "--scores"))["tables"]["scores"]
    assert len(every) == 159
    assert {line["id"] // 3 for line in every if line["issue"]} == set(FLIPPED)


def test_image_has_no_vote_for_itself(make_collection):
    storage = make_collection(np.eye(4, dtype=np.float32)[[0, 0, 0, 0, 1, 1, 1]], labels=[*"aaba", *"bbb"])
    assert CliRunner().invoke(graph, [str(storage.root), "-k", "3"]).exit_code == 0
    (line,) = json.loads(run(storage, "--json"))["tables"]["issues"]
    assert (line["id"], line["label"], line["suggested"]) == (7, "b", "a")
    # Three votes for a; the prior of one vote is distributed as the labels are: 3 of a, 4 of b.
    assert line["suggested_probability"] == pytest.approx((3 + 3 / 7) / 4)
    assert line["label_probability"] == pytest.approx((4 / 7) / 4)


def test_predictions_count_as_much_and_can_be_left_out(storage, publish_predictions):
    # The model predicts bee for row 8, an ant among ants.
    publish_predictions(storage, [[NAMES[row % 4] if row != 8 else "bee", "other"] for row in range(160)])
    both, alone = (json.loads(run(storage, "--json", "--scores", *options)) for options in ([], ["--no-predictions"]))
    assert (both["settings"]["predictions"], alone["settings"]["predictions"]) == (True, False)
    assert "by 8 neighbors and the predictions of tiny." in both["findings"][0]
    score = [next(one["score"] for one in found["tables"]["scores"] if one["id"] == 25) for found in (both, alone)]
    assert score[0] < score[1]
    assert {line["id"] // 3 for line in both["tables"]["issues"]} == set(FLIPPED)


def test_sheet_a_table_and_a_kept_result(storage, tmp_path):
    told = run(storage, "--limit", 3, "--out", tmp_path / "out", "--keep", "now")
    assert "4 of 159 labels are likely wrong, by 8 neighbors." in told
    assert "Listed are the 3 likeliest." in told
    assert (tmp_path / "out" / "label-issues.png").stat().st_size > 2000
    rows = (tmp_path / "out" / "label-issues.csv").read_text().splitlines()
    assert rows[0].replace('"', "") == "key,label,given_label,score"
    assert len(rows) == 4
    assert "Kept as label_issues/now" in told
    assert not out_of_date(generations.require_latest(storage), "label_issues/now")


@pytest.mark.parametrize(
    ("labels", "message"),
    [(["a"] * 4, "All labels are 'a'; label issues need at least two labels."), (None, "has a label")],
)
def test_labels_must_be_there(make_collection, labels, message):
    storage = make_collection(np.eye(4, dtype=np.float32), labels=labels)
    CliRunner().invoke(graph, [str(storage.root), "-k", "2"])
    assert message in run(storage, code=1)
