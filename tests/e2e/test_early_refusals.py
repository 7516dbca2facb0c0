"""Mistakes that can be detected early are rejected before embedding; later errors say how to continue."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.xdist_group("e2e")
Run = Callable[..., CompletedProcess[str]]
MODEL = ["--model", "squeezenet1_1", "--weights", "untrained:1", "--workers", "1"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six images, and two files that are no images."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(1)
    for number in range(6):
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f"{number}.png")
    for number in range(2):
        (folder / f"broken{number}.png").write_bytes(b"no picture")
    return folder


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--index", "ivf-sq9"], ["ivf-sq9", "neither a kind of index", "ivf-sq8"]),
        (["--index", "IVF4,SQ9"], ["SQ9", "neither a kind of index"]),
        (["--index", "IVF4,PQ7"], ["IVF4,PQ7", "512 dimensions"]),
        (["--index", "PCA600,Flat"], ["PCA to 600 dimensions", "512"]),
        (["--index", "IVF0,Flat"], ["at least one inverted list"]),
        (["--index", "IVF99,Flat"], ["99 lists", "at most 8"]),
        (["--index", "IVF1000000000,Flat"], ["1000000000 lists", "at most 8"]),
        (["--index", "IVF2,PQ8"], ["256 training vectors", "7 of 8 images"]),
        (["--index", "ivf-pq"], ["256 training vectors"]),
        (["--index", "OPQ8,Flat"], ["OPQ", "256 training vectors"]),
        (["--index", "hnsw", "--nlist", "4"], ["--nlist 4 goes with", "ivf-"]),
        (["--index", "IVF4,Flat", "--nlist", "4"], ["--nlist 4 goes with"]),
        (["--index", "IVF4,Flat", "--train-size", "3"], ["--train-size 3", "at least 4"]),
        (["--nlist", "9"], ["--nlist 9", "at most 8"]),
        (["--nlist", "8"], ["8 training vectors"]),
        (["--nlist", "5", "--train-size", "4"], ["--train-size 4", "at least 5"]),
        (["--clusters", "9"], ["--clusters 9", "at most 8"]),
        (["--target-recall", "2"], ["--target-recall 2"]),
        (["--compute", "float16"], ["float16 needs a GPU"]),
        (["--preprocess", "V9"], ["V9"]),
        (["--layer", "none"], ["no layer 'none'"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_mistakes_are_reported_before_embedding(
    photos: Path, tmp_path: Path, typed: Run, options: list[str], words: list[str]
) -> None:
    done = typed("index", photos, "--collection", tmp_path / "c", *MODEL, *options)
    assert done.returncode == 2, done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("Error: ")
    assert "are kept" not in message
    for word in words:
        assert word in message
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("wrong", "right"), [(["--clusters", "7"], ["--clusters", "2"]), (["--nlist", "7"], ["--nlist", "2"])]
)
def test_late_error_keeps_the_embeddings(
    photos: Path, tmp_path: Path, typed: Run, wrong: list[str], right: list[str]
) -> None:
    late = typed("index", photos, "--collection", tmp_path / "c", *MODEL, *wrong)
    assert late.returncode == 2
    stages = [line for line in late.stderr.splitlines() if line.startswith("Stage ")]
    assert stages[0] == "Stage 1 of 3: embedding."
    assert "Stage 2 of 3: clustering." in stages
    assert "The embeddings are kept: run the same command with other options" in late.stderr
    again = typed("index", photos, "--collection", tmp_path / "c", *MODEL, *right, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["embed"]["embedded"] == 0


def test_every_space_is_checked_before_the_first_is_clustered(photos: Path, tmp_path: Path, typed: Run) -> None:
    folder = tmp_path / "c"
    assert typed("embed", photos, "--collection", folder, *MODEL).returncode == 0
    (photos / "broken0.png").unlink()
    for options in (["--clusters", "7"], ["--clusters", "7", "--space", "all"]):
        done = typed("cluster", folder, *options)
        assert done.returncode == 2
        assert "has only 6 images" in done.stderr
    done = typed("evolution", "--collection", folder, "--checkpoints", photos / "0.png", "--model", "resnet18",
                 "--image", "none.png")  # fmt: skip
    assert (done.returncode, "none.png" in done.stderr) == (1, True)
    done = typed("evolution", "--collection", folder, "--checkpoints", photos / "0.png", "--model", "resnet18",
                 "--clusters", "7")  # fmt: skip
    assert (done.returncode, "--clusters 7" in done.stderr) == (2, True)


@pytest.mark.own_process
def test_wrong_files_are_rejected_before_a_large_module_is_imported(photos: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.ones((2, 4), np.float32))
    (tmp_path / "vectors.txt").touch()
    (tmp_path / "photos.tar.gz").touch()
    (tmp_path / "list.txt").touch()
    to = ["--collection", tmp_path / "c"]
    given = ["--space", "own", *to]
    commands = [
        (
            ["index", tmp_path / "nope", *to],
            1,
            f"There is no folder, list file, Parquet file or archive {tmp_path}/nope",
        ),
        (
            ["embed", tmp_path / "nope", *to],
            1,
            f"There is no folder, list file, Parquet file or archive {tmp_path}/nope",
        ),
        (["index", photos / "0.png", *to], 2, "0.png is a single image; give its folder, or a list file."),
        (["index", tmp_path / "photos.tar.gz", *to], 2, "is a compressed tar file"),
        (["index", tmp_path / "list.txt", *to], 2, "list.txt is empty; give a folder of images, or a list with one"),
        (["import", tmp_path / "nope.npy", *given], 1, f"There is no file {tmp_path}/nope.npy."),
        (["import", tmp_path / "vectors.txt", *given], 2, "must be a .npy, .parquet or .arrow file."),
        (["import", tmp_path / "vectors.npy", *given], 2, "vectors.npy has no keys; give them with --keys FILE"),
        (["import", tmp_path / "vectors.npy", "--keys", photos / "none.txt", *given], 1, "There is no file"),
        (
            ["import", tmp_path / "vectors.npy", "--keys", photos / "0.png", "--images", tmp_path / "gone", *given],
            1,
            f"There is no folder, list file, Parquet file or archive {tmp_path}/gone",
        ),
    ]
    typed = [[str(word) for word in words] for words, *_ in commands]
    program = [sys.executable, "-m", "tests.programs.run_and_list_modules", json.dumps(typed)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=240)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == len(commands)
    for told, (_, _, message) in zip(errors, commands, strict=True):
        assert message in told
    assert json.loads(done.stdout) == {"codes": [code for _, code, _ in commands], "large": []}
    assert not (tmp_path / "c").exists()
