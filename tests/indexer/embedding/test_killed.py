"""A run that is killed at any moment and then resumed gives the same result as an uninterrupted run."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lookalike_indexer.collection.storage import Storage

FILES = 9 * 7 + 2  # of 9 parts: 5 tables of 1 model with 3 spaces; the statistics and the manifest


@pytest.fixture
def many_photos(tmp_path: Path, add_photo: Callable[[Path, int], None]) -> Path:
    """Sixty-two images and a broken one: nine parts of seven."""
    for number in range(62):
        add_photo(tmp_path / "many" / f"{number:02d}.png", number)
    (tmp_path / "many" / "broken.png").write_bytes(b"broken")
    return tmp_path / "many"


def start(photos: Path, collection: Path) -> subprocess.Popen[bytes]:
    options = ["--model", "shufflenet_v2_x0_5", "--weights", "untrained:5", "--part-size", "7", "--batch-size", "4"]
    options += ["--layer", "conv5", "--layer", "stage2", "--pool", "max", "--workers", "1", "--compute", "float32"]
    command = [sys.executable, "-m", "lookalike", "embed", str(photos), "--collection", str(collection), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bytes(tmp_path: Path, many_photos: Path, contents):
    whole = start(many_photos, tmp_path / "whole")
    assert whole.communicate(timeout=120)[1] == b""
    expected = contents(Storage(tmp_path / "whole"))
    assert len(expected) == FILES

    cut = tmp_path / "cut"
    seed = random.randrange(1 << 30)
    moments = sorted(random.Random(seed).sample(range(FILES - 1), 2))
    kills = 0
    for moment in moments:
        process = start(many_photos, cut)
        try:
            # The moment is after a number of files, at a random time within the next one.
            while process.poll() is None and len(list(cut.rglob("*.*"))) <= moment:
                time.sleep(0.002)
            time.sleep(random.random() * 0.02)
        finally:
            process.kill()
            process.communicate()
        kills += process.returncode == -9
    assert kills >= 1, f"seed {seed}"
    resumed = start(many_photos, cut)
    assert resumed.communicate(timeout=120)[1] == b""
    assert resumed.returncode == 0
    assert contents(Storage(cut)) == expected, f"seed {seed}"
