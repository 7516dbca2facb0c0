"""Hostile file names: they stay plain names on disk, in tables, on the terminal and in replies."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.e2e.conftest import serve_collection

import lookalike as lookalike_client
from lookalike_indexer.collection.reader import CollectionReader

pytestmark = pytest.mark.xdist_group("e2e")

Run = Callable[..., subprocess.CompletedProcess[str]]

NAMES = [
    "plain.png",
    "new\nline.png",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07.png",
    "=cmd|' C calc'!A0.png",
    "a%2f..%2f..%2fetc%2fpasswd.png",
    "a\\..\\..\\evil.png",
    "\u202egnp.exe.png",
    "'; DROP TABLE images; --.png",
    'quote"s and, commas.png',
    "x" * 240 + ".png",
    "part-000000.parquet#0.png",
]
RAW = b"caf\xe9-\xff.png"


def picture(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder of images with the names NAMES, in a subfolder with a hostile name, and RAW."""
    folder = tmp_path / "work" / "photos"
    inner = folder / "a\tlabel\x1b[2J"
    inner.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        picture(number).save(inner / name)
    (folder / "ok").mkdir()
    picture(99).save(tmp_path / "raw.png")
    (tmp_path / "raw.png").rename(folder / "ok" / os.fsdecode(RAW))
    return folder


def index(lookalike: Run, source: Path, collection: Path) -> subprocess.CompletedProcess[str]:
    options = ["--model", "squeezenet1_1", "--weights", "untrained:1", "--clusters", "2"]
    return lookalike("index", source, "--collection", collection, *options)


def test_hostile_names_stay_names(hostile: Path, tmp_path: Path, lookalike: Run) -> None:
    outside = tree(hostile)
    collection = tmp_path / "work" / "collection"
    done = index(lookalike, hostile, collection)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert tree(hostile) == outside, "nothing was written among the images"
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"photos", "collection"}

    reader = CollectionReader.open(str(collection))
    keys = [f"a\tlabel\x1b[2J/{name}" for name in NAMES]
    assert set(reader.images(["key"]).column("key").to_pylist()) == set(keys)
    assert [row["key"] for row in reader.rejects("squeezenet1_1").to_pylist()] == ["ok/caf\\xe9-\\xff.png"]

    with serve_collection(collection) as address:
        with lookalike_client.Client(address, timeout=120) as client:
            for key in keys:
                near = client.search(key=key, k=3)
                assert set(near.keys) < set(keys)
        shown = lookalike("search", "--server", address, "--key", keys[0], "-k", len(keys) - 1)
        unknown = lookalike("search", "--server", address, "--key", "no\x1b[31m such", "-k", 1)
    assert shown.returncode == 0, shown.stderr
    assert len([line for line in shown.stdout.splitlines() if ".png" in line]) == len(keys) - 1
    assert unknown.returncode == 1
    assert "\x1b" not in shown.stdout + shown.stderr + unknown.stdout + unknown.stderr


@pytest.mark.parametrize("name", ["../../evil", "\x1b[31m"])
def test_names_that_become_folders_are_rejected(hostile: Path, tmp_path: Path, typed: Run, name: str) -> None:
    options = ["--model", "squeezenet1_1", "--weights", "untrained:1"]
    done = typed("embed", hostile, "--collection", tmp_path / "c", "--name", name, *options)
    assert done.returncode == 2
    assert "\x1b" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path.parent / "evil").exists()


def test_listed_path_with_dots_is_read_from_there_and_written_nowhere(tmp_path: Path, typed: Run) -> None:
    (tmp_path / "lists").mkdir()
    for number in range(3):
        picture(number).save(tmp_path / f"{number}.png")
    (tmp_path / "lists" / "all.txt").write_text("".join(f"../{number}.png\n" for number in range(3)))
    before = tree(tmp_path)
    done = index(typed, tmp_path / "lists" / "all.txt", tmp_path / "c")
    assert done.returncode == 0, done.stderr
    assert {path for path in tree(tmp_path) if not path.startswith("c")} == before
