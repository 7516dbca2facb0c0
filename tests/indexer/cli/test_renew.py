"""`lookalike index` again: every clustering and index is extended to new images, with its own settings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.cli.build import build
from lookalike_indexer.cli.cluster import cluster
from lookalike_indexer.cli.embed import embed
from lookalike_indexer.cli.gc import gc
from lookalike_indexer.cli.index import index
from lookalike_indexer.cli.remove import remove
from lookalike_indexer.cli.verify import verify
from lookalike_indexer.collection.current import covers
from lookalike_indexer.collection.reader import CollectionReader

SMALL = ["--model", "squeezenet1_1", "--weights", "untrained:4", "--layer", "features.3", "--workers", "1"]
EXTRA = "squeezenet1_1.features.3.avg"


def run(command, *arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def draw(folder: Path, numbers: range) -> None:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Eight images in two spaces, clustered and indexed in several ways; then four more images."""
    photos, folder = tmp_path / "photos", tmp_path / "c"
    draw(photos, range(8))
    run(index, photos, "--collection", folder, *SMALL)
    run(cluster, folder, "--clusters", 3, "--seed", 5, "--name", "mine")
    run(cluster, folder, "--space", EXTRA, "--clusters", 2, "--metric", "l2", "--restarts", 2)
    run(build, folder, "--name", "fast", "--index", "ivf-flat", "--nlist", 2, "--seed", 7)
    run(build, folder, "--space", EXTRA, "--metric", "l2")
    draw(photos, range(8, 12))
    return folder


def made(collection: Path):
    return CollectionReader.open(str(collection)).manifest


def test_all_results_are_renewed_with_their_own_settings(collection: Path):
    before = made(collection)
    told = json.loads(run(index, collection.parent / "photos", "--collection", collection, *SMALL, "--json").stdout)
    after = made(collection)
    assert after.clusterings.keys() == before.clusterings.keys()
    assert after.indexes.keys() == before.indexes.keys()
    assert [entry.rows for entry in (*after.clusterings.values(), *after.indexes.values())] == [12] * 6
    assert all(covers(after, entry) for entry in (*after.clusterings.values(), *after.indexes.values()))
    for name in ("k", "metric", "seed", "asked_restarts", "automatic"):
        for key in ("squeezenet1_1/mine", f"{EXTRA}/k2-l2"):
            assert getattr(after.clusterings[key], name) == getattr(before.clusterings[key], name)
    for name in ("factory", "metric", "seed", "asked_nlist"):
        for key in ("squeezenet1_1/fast", f"{EXTRA}/main"):
            assert getattr(after.indexes[key], name) == getattr(before.indexes[key], name)
    # The automatic number of clusters is chosen again: the root of half of 12 images.
    assert after.clusterings["squeezenet1_1/auto"].k == 2
    assert len(told["renewed"]["clusterings"]) + len(told["renewed"]["indexes"]) == 4


def test_current_defaults_stay(collection: Path):
    run(index, collection.parent / "photos", "--collection", collection, *SMALL)
    reader = CollectionReader.open(str(collection))
    assert reader.clustering_name() == "squeezenet1_1/mine"
    assert reader.index().name == "fast"


def test_option_builds_another_index_and_renews_the_others(collection: Path):
    run(index, collection.parent / "photos", "--collection", collection, *SMALL, "--clusters", 4, "--index", "flat")
    reader = CollectionReader.open(str(collection))
    assert reader.clustering_name() == "squeezenet1_1/k4"
    assert reader.index().name == "main"
    assert reader.manifest.clusterings["squeezenet1_1/mine"].rows == 12
    assert reader.manifest.indexes["squeezenet1_1/fast"].rows == 12


def test_results_are_kept_with_no_renew(collection: Path):
    run(index, collection.parent / "photos", "--collection", collection, *SMALL, "--no-renew")
    rows = {key: entry.rows for key, entry in made(collection).clusterings.items()}
    assert rows == {"squeezenet1_1/auto": 8, "squeezenet1_1/mine": 12, f"{EXTRA}/k2-l2": 8}


def test_running_again_without_new_images_publishes_nothing(collection: Path):
    arguments = [collection.parent / "photos", "--collection", collection, *SMALL]
    run(index, *arguments)
    generation = made(collection).generation
    run(index, *arguments)
    assert made(collection).generation == generation


@pytest.mark.parametrize("command", [embed, index])
def test_results_built_from_a_lost_file_are_rebuilt(collection: Path, command):
    photos = collection.parent / "photos"
    for lost in (collection / "embeddings").glob("*/*.parquet"):
        lost.unlink()
    (photos / "03.png").unlink()
    again = [] if command is embed else ["--no-renew"]
    run(command, photos, "--collection", collection, *SMALL, *again)
    after = made(collection)
    assert all(covers(after, entry) for entry in (*after.clusterings.values(), *after.indexes.values()))
    run(gc, collection, "--keep", 1)
    assert "is as it was written" in run(verify, collection, "--deep").output


def lose(collection: Path, kept: int) -> None:
    """Delete the files of embeddings, and all images except the first ones."""
    for lost in (collection / "embeddings").glob("*/*.parquet"):
        lost.unlink()
    for picture in sorted((collection.parent / "photos").iterdir())[kept:]:
        picture.unlink()


def test_embed_lists_rebuilt_results_as_json(collection: Path):
    lose(collection, 5)
    told = json.loads(run(embed, collection.parent / "photos", "--collection", collection, *SMALL, "--json").stdout)
    assert {one["clustering"]: one["images"] for one in told["renewed"]["clusterings"]} == {
        "squeezenet1_1/auto": 5,
        "squeezenet1_1/mine": 5,
        f"{EXTRA}/k2-l2": 5,
    }
    assert len(told["renewed"]["indexes"]) == 3


@pytest.mark.parametrize("command", [embed, index])
def test_too_few_images_for_a_stored_result_names_the_remove_command(collection: Path, command):
    lose(collection, 1)
    again = [collection.parent / "photos", "--collection", collection, *SMALL]
    again += [] if command is embed else ["--clusters", 1, "--index", "flat"]
    refused = CliRunner().invoke(command, [str(argument) for argument in again])
    assert refused.exit_code == 1
    assert "the clustering squeezenet1_1/mine has 3 clusters, and its space 1 image now" in refused.stderr
    mend = refused.stderr.split("or run: ")[1].split(";")[0].split()
    assert mend[:3] == ["lookalike", "remove", str(collection)]
    run(remove, *mend[2:])
    run(command, *again)
    after = made(collection)
    assert all(covers(after, entry) for entry in (*after.clusterings.values(), *after.indexes.values()))
