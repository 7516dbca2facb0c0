"""Captions of oddballs explain why each is unusual."""

from __future__ import annotations

import pytest

from lookalike_indexer.charts.oddballs import caption

KINDS = ("outside", "secondary", "far", "nearer")


@pytest.mark.parametrize(
    ("kinds", "score", "words"),
    [
        (["secondary"], 0.1, "among another class"),
        (["outside"], 0.1, "outside its class"),
        (["far"], 0.2, "far from its class"),
        (["nearer"], -0.1, "like church"),
        (["secondary", "nearer"], -0.2, "like church"),
        (["outside", "far"], 0.1, "outside its class"),
    ],
)
def test_caption_is_of_the_kind_of_oddball(kinds, score, words):
    why = ", ".join(kinds)
    line = {"key": "tench/a.jpg", "label": "tench", "looks_like": "church", "score": score, "why": why}
    line |= {kind: kind in kinds for kind in KINDS}
    assert caption(line) == [words, "a.jpg", why]


def test_image_of_a_single_class_is_far_from_it():
    line = {"key": "a.jpg", "label": "tench", "looks_like": "", "score": -0.8, "why": "far"}
    line |= {kind: kind == "far" for kind in KINDS}
    assert caption(line)[0] == "far from its class"
