from __future__ import annotations

import dataclasses

import pytest
import torchvision

from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.embedding.transforms import Chosen, chosen_transforms
from lookalike_indexer.models.weights import WeightsRequest

FILE = WeightsRequest("file", "/own.pth")


def chosen(model: str, preprocess: str = "", digest: str = "", size: int | None = None) -> Chosen:
    return chosen_transforms(EmbedSettings("x", model=model, preprocess=preprocess), FILE, None, digest, size)


def test_file_without_named_transforms_gets_the_defaults_with_a_notice():
    found = chosen("resnet50")
    assert (found.spec.resize, found.spec.crop) == (232, 224)
    assert found.why.startswith(
        "Images are resized to 232 pixels and cropped to 224: the weights file does not say how"
    )
    assert "torchvision's IMAGENET1K_V2 of resnet50" in found.why
    assert found.why.endswith("trained with another resize: --preprocess IMAGENET1K_V1 for 256.")
    # If all published weights have one resize, the name is not needed.
    only = chosen("resnet18")
    assert only.spec.resize == 256
    assert "--preprocess" not in only.why


def test_named_weights_choose_transforms_without_a_notice():
    named = chosen("resnet50", "IMAGENET1K_V1")
    assert (named.spec.resize, named.why) == (256, "")
    published = chosen_transforms(EmbedSettings("x", model="resnet50"), WeightsRequest("imagenet", ""), None)
    assert (published.spec.resize, published.why) == (232, "")


def test_file_of_published_weights_gets_their_transforms():
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V1
    digest = str(weights.url).rpartition("-")[2].partition(".")[0]
    found = chosen("resnet50", digest=digest + "0" * 56)
    assert found.spec.resize == 256
    assert "torchvision's IMAGENET1K_V1 of resnet50, and these are its transforms" in found.why


def test_network_with_fixed_size_is_reported_as_the_reason():
    found = chosen("vit_b_16", size=384)
    assert found.spec.crop == 384
    assert "because the network takes images of that size" in found.why


def test_model_of_the_collection_keeps_its_transforms(golden_like: Manifest):
    settings = EmbedSettings("x", model="resnet50", name="tiny")
    found = chosen_transforms(settings, FILE, golden_like)
    assert (found.spec.resize, found.why) == (64, "")
    asked = dataclasses.replace(settings, preprocess="IMAGENET1K_V2")
    assert chosen_transforms(asked, FILE, golden_like).spec.resize == 232


@pytest.fixture
def golden_like(make_collection) -> Manifest:
    """The generation of a collection whose model resizes to 64 pixels."""
    import numpy as np

    from lookalike_indexer.collection import generations

    return generations.require_latest(make_collection(np.eye(2, dtype=np.float32)))
