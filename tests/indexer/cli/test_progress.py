"""Progress without a terminal."""

from __future__ import annotations

import contextlib
import io
import sys

import numpy as np
import pytest

from lookalike_indexer.cli import progress
from lookalike_indexer.cli.progress import TerminalProgress
from lookalike_indexer.clustering import kmeans
from lookalike_indexer.clustering.settings import ClusterSettings


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The current time in seconds, as a list with one item."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_long_work_prints_a_line_every_ten_seconds(clock, capsys):
    with TerminalProgress().stage("Embedding", 2000, "images", done=500) as bar:
        for _ in range(25):
            clock[0] += 1
            bar.advance(10)
            bar.note("3 rejected")
    assert capsys.readouterr().err.splitlines() == [
        "Embedding: 600 of 2,000 images, 10.0 a second, 02:20 left, 3 rejected",
        "Embedding: 700 of 2,000 images, 10.0 a second, 02:10 left, 3 rejected",
    ]


def test_work_of_unknown_length_has_no_remaining_time(clock, capsys):
    with TerminalProgress().stage("Listing", None, "image") as bar:
        clock[0] += 20
        bar.advance(4000)
    assert capsys.readouterr().err == "Listing: 4,000 images, 200.0 a second\n"


def test_short_work_prints_nothing(clock, capsys):
    with TerminalProgress().stage("k-means", 25, "iteration") as bar:
        clock[0] += 9.9
        bar.advance(25)
    assert capsys.readouterr().err == ""


def test_slow_work_reports_seconds_per_item(clock, capsys):
    with TerminalProgress().stage("compare", 10, "clustering") as bar:
        for seconds in (60, 12.4, 12.4):
            clock[0] += seconds
            bar.advance()
    # The first step may load modules, so it predicts nothing about the others.
    assert capsys.readouterr().err.splitlines() == [
        "compare: 1 of 10 clusterings, 60.0 s each",
        "compare: 2 of 10 clusterings, 12.4 s each, 01:39 left",
        "compare: 3 of 10 clusterings, 12.4 s each, 01:26 left",
    ]


def test_bar_in_a_terminal_does_not_count_the_first_step(monkeypatch):
    shown = io.StringIO()
    shown.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", shown)
    now = [100.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with TerminalProgress().stage("compare", 10, "clustering") as bar:
        now[0] += 600
        bar.advance()
        now[0] += 5
        bar.advance()
    last = shown.getvalue().split("\r")[-1]
    assert " 2/10 [00:05<" in last


def test_first_iteration_of_k_means_does_not_count_the_starts(clock, capsys, monkeypatch):
    def slow_start(vectors, k, seed):
        clock[0] += 30
        return np.arange(k)

    @contextlib.contextmanager
    def steps(vectors, k, settings, machines):
        def step(centroids):
            clock[0] += 11
            return centroids + 1, 1.0

        yield lambda seed: step

    monkeypatch.setattr(kmeans, "starting_rows", slow_start)
    monkeypatch.setattr(kmeans, "_steps", steps)
    vectors = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
    kmeans.train(vectors, 3, ClusterSettings(iterations=4, restarts=1), TerminalProgress())
    assert capsys.readouterr().err.splitlines()[:3] == [
        "k-means++: 1 of 1 starts, 30.0 s each",
        "k-means: 1 of 4 iterations, 11.0 s each",
        "k-means: 2 of 4 iterations, 11.0 s each, 00:22 left, inertia 1",
    ]
