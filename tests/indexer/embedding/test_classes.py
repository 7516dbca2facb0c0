from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import ModelSpec, PreprocessingSpec, WeightsSpec
from lookalike_indexer.embedding.class_names_file import read_class_names
from lookalike_indexer.embedding.classes import class_names, imagenet_names
from lookalike_indexer.errors import UsageError
from lookalike_indexer.experiments.view import View

_PREPROCESSING = PreprocessingSpec(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", True)


def spec(kind: str, classes: int = 1000) -> ModelSpec:
    return ModelSpec("resnet50", classes, WeightsSpec(kind, "x", "0" * 64), _PREPROCESSING)


def test_names_match_every_torchvision_classifier():
    names = class_names(spec("imagenet"))
    for arch in torchvision.models.list_models(module=torchvision.models):
        for weights in torchvision.models.get_model_weights(arch):
            assert weights.meta["categories"] in (names, None), weights


def test_other_heads_have_numbers():
    assert class_names(spec("untrained")) == [f"class {number}" for number in range(1000)]
    # A file may hold any network of 1,000 classes.
    assert class_names(spec("file"))[7] == "class 7"
    assert class_names(spec("package"))[7] == "cock"
    assert class_names(spec("file", 3)) == ["class 0", "class 1", "class 2"]


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A custom network with three classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(torchvision.models.squeezenet1_1(num_classes=3).state_dict(), tmp_path / "own.pth")
    return str(tmp_path / "own.pth")


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return str(path)


@pytest.mark.parametrize(
    "content",
    [
        "cat\ndog\nfish, gold\n",
        "\ufeffcat\r\ndog\r\nfish, gold",
        ["cat", "dog", "fish, gold"],
        {"2": "fish, gold", "0": "cat", "1": "dog"},
        {"0": ["n1", "cat"], "1": ["n2", "dog"], "2": ["n3", "fish, gold"]},
        {"dog": 1, "cat": 0, "fish, gold": 2},
    ],
)
def test_file_names_classes_in_every_usual_form(tmp_path: Path, content: Any):
    assert read_class_names(write(tmp_path / "names", content)) == ["cat", "dog", "fish, gold"]


def test_invalid_class_name_file_is_rejected(tmp_path: Path):
    for content, sentence in (
        ("cat\n\ndog\n", "has no name for class 1"),
        (["cat", 3], "has no name for class 1"),
        ({"0": "cat", "2": "dog"}, 'has 2 names, and none of index "1"'),
        ('{"0": "cat"', "is not JSON"),
        (["\ud800"], "that is not valid Unicode"),
        ('{"0": ' + "[" * 100_000, "too deeply"),
    ):
        with pytest.raises(UsageError, match=sentence):
            read_class_names(write(tmp_path / "names", content))
    (tmp_path / "names").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not a text in UTF-8"):
        read_class_names(str(tmp_path / "names"))
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_class_names(str(tmp_path / "none"))


def test_names_are_stored_with_the_model_and_kept(storage, embed, weights: str, tmp_path: Path):
    def names() -> list[str]:
        return View(CollectionReader.open(str(storage.root))).class_names("squeezenet1_1")

    report = embed(weights=weights)
    assert (report.class_names, names()) == ("numbers", ["class 0", "class 1", "class 2"])
    # A second run embeds nothing again, and its names apply to existing predictions.
    report = embed(weights=weights, class_names=write(tmp_path / "names", "cat\ndog\nfish\n"))
    assert (report.embedded, report.class_names, names()) == (0, "own", ["cat", "dog", "fish"])
    view = View(CollectionReader.open(str(storage.root)))
    assert set(view.predicted("squeezenet1_1").names.values()) <= {"cat", "dog", "fish"}
    assert embed(weights=weights).class_names == "own"
    assert names() == ["cat", "dog", "fish"]
    assert embed(weights=weights, class_names=write(tmp_path / "names", "a\nb\nc\n")).class_names == "own"
    assert names() == ["a", "b", "c"]
    # An earlier generation keeps the names that it was published with.
    earlier = View(CollectionReader.open(str(storage.root), generations.require_latest(storage).generation - 1))
    assert earlier.class_names("squeezenet1_1") == ["cat", "dog", "fish"]


def test_number_of_names_is_checked_before_anything_is_written(storage, embed, weights: str, tmp_path: Path):
    file = write(tmp_path / "names", "cat\ndog\n")
    with pytest.raises(UsageError, match="--class-names has 2 names, but squeezenet1_1 has 3 classes"):
        embed(weights=weights, class_names=file)
    assert not storage.root.exists()
    with pytest.raises(UsageError, match="cannot be read"):
        embed(weights="imagenet", class_names=str(tmp_path / "none"))


def test_thousand_classes_are_not_imagenet_unless_stated(storage, embed, tmp_path: Path, monkeypatch):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "own.pth")
    assert embed(weights=str(tmp_path / "own.pth")).class_names == "numbers"
    assert embed(weights=str(tmp_path / "own.pth"), class_names="imagenet").class_names == "imagenet"
    view = View(CollectionReader.open(str(storage.root)))
    assert view.class_names("squeezenet1_1") == list(imagenet_names())
    # A file with the digest of published weights is recognized.
    digest = view.reader.model("squeezenet1_1").spec.weights.digest
    published = type("Weights", (), {"name": "IMAGENET1K_V1", "url": f"https://example.invalid/own-{digest[:8]}.pth"})
    monkeypatch.setattr("lookalike_indexer.models.presets.torchvision.models.get_model_weights", lambda _: [published])
    known = view.reader.model("squeezenet1_1").spec.preprocessing
    monkeypatch.setattr("lookalike_indexer.embedding.transforms.transforms_of", lambda *_: known)
    monkeypatch.setattr("lookalike_indexer.embedding.transforms.fitting", lambda *_: known)
    assert embed(weights=str(tmp_path / "own.pth"), name="second").class_names == "imagenet"


def test_view_takes_names_for_models_that_have_none(storage, embed, weights: str):
    embed(weights=weights)
    embed(weights=weights, name="second", class_names="")
    view = View(CollectionReader.open(str(storage.root)))
    view.call_classes(["a", "b", "c"])
    assert view.class_names("squeezenet1_1") == view.class_names("second") == ["a", "b", "c"]
    assert set(view.predicted("second").names.values()) <= {"a", "b", "c"}
    with pytest.raises(UsageError, match=r"has 2 names, but no model .* has 2 classes; the models have: second 3"):
        view.call_classes(["a", "b"])
