"""The space that answers by default."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest
import torch
import torchvision
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.cli.build import build
from lookalike_indexer.cli.embed import embed
from lookalike_indexer.cli.index import index
from lookalike_indexer.cli.remove import remove
from lookalike_indexer.cli.set_defaults import set_defaults
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.storage import Storage

MAIN = ["--clusters", "2", "--index", "Flat"]
EMBED = ["--batch-size", "4", "--workers", "1", "--compute", "float32"]
UNTRAINED = ["--model", "shufflenet_v2_x0_5", "--weights", "untrained:5"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for number in range(6):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(coarse).resize((40, 32)).save(root / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a network whose weights come from a file, as those of a trained one do."""
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.manual_seed(1)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    return ["--model", "squeezenet1_1", "--weights", str(path), "--preprocess", "IMAGENET1K_V1"]


def run(command: click.Command, *arguments: object) -> str:
    done = CliRunner().invoke(command, [str(one) for one in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def default_of(collection: Path) -> str:
    return generations.require_latest(Storage(collection)).default_space


def test_trained_space_becomes_the_default_once_it_has_an_index(photos, trained, tmp_path):
    collection = tmp_path / "collection"
    run(index, photos, "--collection", collection, *UNTRAINED, *EMBED, *MAIN)
    assert default_of(collection) == "shufflenet_v2_x0_5"
    said = run(embed, photos, "--collection", collection, *trained, *EMBED)
    # A server could not search in the trained space yet.
    assert default_of(collection) == "shufflenet_v2_x0_5"
    assert "default space" not in said
    said = run(build, collection, "--space", "squeezenet1_1", "--index", "Flat")
    assert default_of(collection) == "squeezenet1_1"
    assert "squeezenet1_1 is the default space now, because shufflenet_v2_x0_5 is of an untrained network" in said


def test_index_with_a_trained_network_reports_that_the_default_has_changed(photos, trained, tmp_path):
    collection = tmp_path / "collection"
    run(index, photos, "--collection", collection, *UNTRAINED, *EMBED, *MAIN)
    said = run(index, photos, "--collection", collection, *trained, *EMBED, *MAIN)
    assert default_of(collection) == "squeezenet1_1"
    assert "squeezenet1_1 is the default space now" in said


def test_user_default_stays(photos, trained, tmp_path):
    collection = tmp_path / "collection"
    run(embed, photos, "--collection", collection, *UNTRAINED, "--layer", "conv5", *EMBED)
    said = run(set_defaults, collection, "--default-space", "shufflenet_v2_x0_5.conv5.avg")
    assert "shufflenet_v2_x0_5.conv5.avg is now the default space" in said
    assert "lookalike build" in said
    run(index, photos, "--collection", collection, *trained, *EMBED, *MAIN)
    assert default_of(collection) == "shufflenet_v2_x0_5.conv5.avg"
    run(remove, collection, "--space", "shufflenet_v2_x0_5.conv5.avg")
    assert default_of(collection) == "squeezenet1_1"


def test_unknown_space_is_rejected_and_the_others_are_named(photos, tmp_path):
    collection = tmp_path / "collection"
    run(embed, photos, "--collection", collection, *UNTRAINED, *EMBED)
    done = CliRunner().invoke(set_defaults, [str(collection), "--default-space", "resnet152"])
    assert done.exit_code == 1
    assert "has no space 'resnet152'; it has: shufflenet_v2_x0_5." in done.output
    said = json.loads(run(set_defaults, collection, "--default-space", "shufflenet_v2_x0_5", "--json"))
    assert said == {"generation": 2, "default_space": "shufflenet_v2_x0_5"}


def test_all_spaces_are_indexed_immediately(photos, tmp_path):
    collection = tmp_path / "collection"
    run(embed, photos, "--collection", collection, *UNTRAINED, "--layer", "conv5", *EMBED)
    found = json.loads(run(build, collection, "--space", "all", "--index", "Flat", "--json"))
    assert [each["space"] for each in found["indexes"]] == ["shufflenet_v2_x0_5", "shufflenet_v2_x0_5.conv5.avg"]
    manifest = generations.require_latest(Storage(collection))
    assert (manifest.generation, len(manifest.indexes)) == (2, 2)
    done = CliRunner().invoke(build, [str(collection), "--space", "all", "--index", "IVF9,Flat"])
    assert done.exit_code != 0
    assert generations.require_latest(Storage(collection)).generation == 2
