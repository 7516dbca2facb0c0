from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.cli.build import build
from lookalike_indexer.cli.embed import embed
from lookalike_indexer.cli.embed_options import embed_settings
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import UsageError
from lookalike_indexer.models.network import Node

SMALL = ["--model", "squeezenet1_1", "--weights", "untrained:4", "--workers", "1"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.new("RGB", (20, 20), (number * 80, 0, 0)).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "bad.png").write_bytes(b"bad")
    return tmp_path / "photos"


def test_reports_for_people_and_for_machines(photos: Path, tmp_path: Path):
    collection = ["--collection", str(tmp_path / "c")]
    first = CliRunner().invoke(embed, [str(photos), *collection, *SMALL])
    assert first.exit_code == 0, first.output
    assert "Embedded 3 images in" in first.stdout
    assert "weights untrained:4 (UNTRAINED" in first.stdout
    assert f"1 could not be embedded: lookalike rejects {tmp_path / 'c'} lists them with the reasons" in first.stdout
    # Without a terminal there is no bar, but a line every ten seconds at most.
    assert "\r" not in first.stderr
    second = CliRunner().invoke(embed, [str(photos), *collection, *SMALL, "--json"])
    report = json.loads(second.stdout)
    assert (report["generation"], report["images"], report["skipped"], report["embedded"]) == (1, 3, 4, 0)
    assert report["pretrained"] is False
    third = CliRunner().invoke(embed, [str(photos), *collection, *SMALL])
    assert "4 were embedded before, or are damaged and unchanged." in third.stdout


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--weights", "untrained:x"], 2, "the seed must be a whole number"),
        (["--weights", "none.pth"], 1, "There is no weights file"),
        (["--model", "resnet999"], 2, "no classification model 'resnet999'"),
        (["--pool", "max"], 2, "--pool is given 1 times for 0 --layer"),
        (["--layer", "conv99"], 2, "it has 26 convolutions, from conv1 on"),
        (["--layer", "features", "--pool", "avg,middle"], 2, "'middle' is not one of"),
        (["--labels", "none.csv"], 2, "There is no labels file none.csv"),
        (["--gpus", "x"], 2, "neither 'all' nor GPU numbers"),
        (["--batch-size", "0"], 2, "0 is not in the range"),
        (["--decode-timeout", "0"], 2, "0.0 is not in the range"),
        (["--name", "../up"], 2, "cannot be the name of a model"),
    ],
)
def test_mistakes_have_a_sentence_and_an_exit_code(photos: Path, tmp_path: Path, options, code: int, message: str):
    result = CliRunner().invoke(embed, [str(photos), "--collection", str(tmp_path / "c"), *SMALL, *options])
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_index_that_lacks_the_new_images_is_reported(photos: Path, tmp_path: Path):
    collection = str(tmp_path / "c")
    run = CliRunner().invoke
    assert run(embed, [str(photos), "--collection", collection, *SMALL]).exit_code == 0
    assert run(build, [collection, "--index", "Flat"]).exit_code == 0
    Image.new("RGB", (20, 20), (0, 90, 0)).save(photos / "9.png")
    done = run(embed, [str(photos), "--collection", collection, *SMALL])
    assert "The index squeezenet1_1/main covers 3 of 4 images; update it with: lookalike build" in done.stdout


def test_missing_folder_fails(tmp_path: Path):
    result = CliRunner().invoke(embed, [str(tmp_path / "none"), "--collection", str(tmp_path / "c"), *SMALL])
    assert result.exit_code == 1
    assert "There is no folder, list file, Parquet file or archive" in result.stderr


def settings(**changes: object):
    options = {"source": "x", "layers": (), "pools": (), "gpus": "", "model": "resnet18"}
    return embed_settings(**{**options, **changes})


def test_each_layer_has_its_pooling():
    avg, most, top = ("avg",), ("max",), ("top10",)
    a, b, c = ("a",), ("b",), ("c",)
    assert settings(layers=(a, b)).layers == (Node("a", "avg"), Node("b", "avg"))
    assert settings(layers=(a, b), pools=(most,)).layers == (Node("a", "max"), Node("b", "max"))
    assert settings(layers=(a, b), pools=(most, top)).layers == (Node("a", "max"), Node("b", "top10"))
    with pytest.raises(UsageError, match="--pool is given 2 times for 3 --layer"):
        settings(layers=(a, b, c), pools=(most, avg))


def test_one_forward_pass_fills_a_space_for_each_layer_and_pooling(photos: Path, tmp_path: Path):
    collection = str(tmp_path / "c")
    options = ["--model", "alexnet", "--weights", "untrained:1", "--workers", "1"]
    layers = ["--layer", "conv1,conv2,conv3,conv4,conv5", "--pool", "avg, max,top10"]
    made = CliRunner().invoke(embed, [str(photos), "--collection", collection, *options, *layers])
    assert made.exit_code == 0, made.output
    spaces = CollectionReader.open(collection).manifest.spaces
    del spaces["alexnet"]
    channels = {"conv1": 64, "conv2": 192, "conv3": 384, "conv4": 256, "conv5": 256}
    assert {name: space.dim for name, space in spaces.items()} == {
        f"alexnet.{layer}.{pool}": dim for layer, dim in channels.items() for pool in ("avg", "max", "top10")
    }
    assert {space.layer for space in spaces.values()} == {f"features.{number}" for number in (1, 4, 7, 9, 11)}
    # Activations after the ReLU are never negative, and their highest tenth is between mean and maximum.
    by_pool = {pool: vectors(collection, f"alexnet.conv3.{pool}") for pool in ("avg", "top10", "max")}
    assert (by_pool["avg"] >= 0).all()
    assert (by_pool["avg"] <= by_pool["top10"] + 1e-6).all()
    assert (by_pool["top10"] <= by_pool["max"] + 1e-6).all()


def vectors(collection: str, space: str):
    reader = CollectionReader.open(collection)
    return reader.vectors(space, np.arange(3))


def test_models_can_have_different_names():
    assert settings().alias == "resnet18"
    assert settings(name="mine").space_name(Node("layer4", "max")) == "mine.layer4.max"
