"""Progress where there is no terminal."""

from __future__ import annotations

import pytest

from lookalike_indexer.cli import progress
from lookalike_indexer.cli.progress import TerminalProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The present time in seconds, as a list of one."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_long_work_tells_a_line_every_ten_seconds(clock, capsys):
    with TerminalProgress().stage("Embedding", 2000, "images", done=500) as bar:
        for _ in range(25):
            clock[0] += 1
            bar.advance(10)
            bar.note("3 rejected")
    assert capsys.readouterr().err.splitlines() == [
        "Embedding: 600 of 2,000 images, 10.0 a second, 02:20 left, 3 rejected",
        "Embedding: 700 of 2,000 images, 10.0 a second, 02:10 left, 3 rejected",
    ]


def test_work_of_unknown_length_tells_no_time_that_is_left(clock, capsys):
    with TerminalProgress().stage("Listing", None, "image") as bar:
        clock[0] += 20
        bar.advance(4000)
    assert capsys.readouterr().err == "Listing: 4,000 images, 200.0 a second\n"


def test_short_work_says_nothing(clock, capsys):
    with TerminalProgress().stage("k-means", 25, "iteration") as bar:
        clock[0] += 9.9
        bar.advance(25)
    assert capsys.readouterr().err == ""
