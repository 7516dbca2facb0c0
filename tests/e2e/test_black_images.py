"""Equal black images, from the folder to the report: each command succeeds, or explains in one sentence why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.xdist_group("e2e")

COMMANDS = (
    "show a/0.png",
    "explain a/0.png",
    "matrix",
    "oddballs",
    "split a",
    "interpret",
    "classes",
    "choose-k",
    "compare",
    "dendrogram",
    "evolution",
    "map --method pca",
    "map --method tsne",
)
ALIKE = "All 4 images of squeezenet1_1 have the same embedding; "


def black(folder: Path, count: int) -> Path:
    """Return a folder with a number of copies of a black image, with the label a."""
    (folder / "black" / "a").mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (64, 48)).save(folder / "black" / "a" / f"{number}.png")
    return folder / "black"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_command_answers_or_explains_why_not(typed, tmp_path: Path, count: int) -> None:
    collection = tmp_path / "collection"
    options = ("--model", "squeezenet1_1", "--weights", "untrained:3")
    done = typed("index", black(tmp_path, count), "--collection", collection, *options)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        done = typed(*command.split(), "--collection", collection)
        assert done.returncode in (0, 1, 2), command
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1]
            assert last.startswith("Error: "), (command, done.stderr)
            assert last.endswith((".", ")", "ARCH")), (command, last)
        if count == 4 and command.startswith(("map", "choose-k")):
            assert ALIKE in done.stderr, command


def test_report_of_black_images_is_written(lookalike, tmp_path: Path) -> None:
    collection, page = tmp_path / "collection", tmp_path / "report.html"
    options = ("--model", "squeezenet1_1", "--weights", "untrained:3")
    done = lookalike("index", black(tmp_path, 4), "--collection", collection, *options)
    assert done.returncode == 0, done.stderr
    done = lookalike("report", collection, "--out", page)
    assert done.returncode == 0, done.stderr
    assert f"Not made: 7 A map of the images: {ALIKE}a map needs different ones." in done.stdout
    assert f"Not made: {ALIKE}a map needs different ones." in page.read_text("utf-8")
    assert "it failed with" not in done.stdout
    for chapter in (1, 3, 4, 5, 11, 12):
        assert f"Not made: {chapter} " not in done.stdout
