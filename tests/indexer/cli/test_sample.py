"""`lookalike sample`: greedy k-center on points with a known order."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.sample import sample
from lookalike_indexer.collection import generations
from lookalike_indexer.experiments.stored_results import out_of_date

# On a circle, in degrees: the mean is at 20, then 160 is farthest, then -60, then 90.
ANGLES = [20, 22, 24, 160, -60, 90, 18, 16]


@pytest.fixture
def storage(make_collection):
    angles = np.deg2rad(ANGLES)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    return make_collection(vectors, labels=[*"aaabbccc"], part_rows=3)


def run(storage, *options, code=0):
    result = CliRunner().invoke(sample, [str(storage.root), *map(str, options)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else " ".join(result.output.split())


def test_each_image_is_farthest_from_those_before(storage):
    found = json.loads(run(storage, "-n", 4, "--json"))
    lines = found["tables"]["images"]
    first = ANGLES[lines[0]["id"] // 3]
    assert first in (20, 22, 24, 18)
    assert [ANGLES[line["id"] // 3] for line in lines[1:]] == [160, -60, 90]
    assert lines[0]["distance"] is None
    apart = np.deg2rad([160 - first, first + 60, 90 - first])
    assert [line["distance"] for line in lines[1:]] == pytest.approx(1 - np.cos(apart), abs=1e-6)
    left = max(abs(angle - first) for angle in (16, 24))
    assert found["figures"]["radius"] == pytest.approx(1 - np.cos(np.deg2rad(left)), abs=1e-6)
    assert "They have 3 of 3 labels." in found["findings"]


def test_all_images_can_be_chosen_each_once_though_some_are_copies(make_collection):
    storage = make_collection(np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2]])
    listed = run(storage, "-n", 5, "--list").splitlines()
    assert sorted(listed) == [f"/pictures/{number:05d}.jpg" for number in (1, 4, 7, 10, 13)]
    assert "choose 1 to 5 images, or raise --among." in run(storage, "-n", 6, code=2)


def test_few_can_be_looked_at_and_a_result_is_kept(storage, tmp_path):
    told = run(storage, "-n", 2, "--among", 4, "--keep", "few", "--out", tmp_path / "out")
    assert "Chose among 4 of 8 images, sampled at random; use --among for more." in told
    assert (tmp_path / "out" / "sample.png").stat().st_size > 1000
    assert not out_of_date(generations.require_latest(storage), "sample/few")
