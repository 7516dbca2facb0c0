from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.experiments.valley import ROUNDING, valley


def hills(near: int, far: int, at: float, seed: int = 0):
    """Return log-normal distances: near-duplicates around `at`, all others around 0.3."""
    generator = np.random.default_rng(seed)
    parts = [at * np.exp(0.4 * generator.standard_normal(near)), 0.3 * np.exp(0.15 * generator.standard_normal(far))]
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize(("near", "far"), [(20, 980), (300, 700), (800, 200)])
def test_valley_between_separate_hills_is_sure(near, far):
    distances = hills(near, far, 0.01)
    found = valley(distances)
    assert found.sureness == "sure"
    assert distances[:near].max() <= found.distance < distances[near:].min()


def test_hills_that_overlap_are_less_sure():
    apart, together = valley(hills(300, 700, 0.02)), valley(hills(300, 700, 0.12))
    assert together.depth < apart.depth


@pytest.mark.parametrize(
    "distances", [hills(0, 1000, 0.1), np.array([], np.float32), np.full(50, 0.2, np.float32), np.zeros(50, np.float32)]
)
def test_one_hill_has_no_valley(distances):
    found = valley(distances)
    assert (found.depth, found.distance, found.sureness) == (0, ROUNDING, "no valley")


def test_copies_and_lonely_images_do_not_count():
    distances = np.concatenate([hills(50, 500, 0.01), np.zeros(100), np.full(10, np.inf)]).astype(np.float32)
    assert valley(distances) == valley(hills(50, 500, 0.01))
