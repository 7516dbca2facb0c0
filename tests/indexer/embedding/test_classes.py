from __future__ import annotations

import torchvision

from lookalike_indexer.collection.spec import ModelSpec, PreprocessingSpec, WeightsSpec
from lookalike_indexer.embedding.classes import class_names

_PREPROCESSING = PreprocessingSpec(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", True)


def spec(kind: str, classes: int = 1000) -> ModelSpec:
    return ModelSpec("resnet50", classes, WeightsSpec(kind, "x", "0" * 64), _PREPROCESSING)


def test_the_names_are_those_of_every_classifier_of_torchvision():
    names = class_names(spec("file"))
    for arch in torchvision.models.list_models(module=torchvision.models):
        for weights in torchvision.models.get_model_weights(arch):
            assert weights.meta["categories"] in (names, None), weights


def test_other_heads_have_numbers():
    assert class_names(spec("untrained")) == [f"class {number}" for number in range(1000)]
    assert class_names(spec("file", 3)) == ["class 0", "class 1", "class 2"]
