from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.images.preprocessing import geometric
from lookalike_indexer.models.normalize import Normalizer
from lookalike_indexer.models.presets import preprocessing

SIZES = [(500, 375), (375, 500), (224, 224), (32, 32), (1, 1), (233, 1000), (1001, 333), (3, 700), (255, 256)]


def presets() -> dict[PreprocessingSpec, object]:
    """Return every distinct preprocessing of torchvision's classification weights."""
    found = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        for weights in torchvision.models.get_model_weights(name):
            found.setdefault(preprocessing(weights), weights.transforms())
    return found


def test_two_halves_are_torchvisions_transforms_bit_by_bit():
    generator = np.random.default_rng(0)
    different = presets()
    assert len(different) >= 20
    for spec, transforms in different.items():
        for width, height in SIZES if spec.crop == 224 else SIZES[:3]:
            image = Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8))
            pixels = geometric(image, spec)
            assert pixels.dtype == np.uint8
            halves = Normalizer(spec, torch.device("cpu"))(torch.from_numpy(pixels)[None])
            assert torch.equal(halves[0], transforms(image)), (spec, width, height)


def test_real_images_match(photos_dir: Path):
    weights = torchvision.models.ResNet152_Weights.DEFAULT
    spec = preprocessing(weights)
    for path in sorted((photos_dir / "imagenet100").iterdir())[:10]:
        with Image.open(path) as file:
            image = file.convert("RGB")
        halves = Normalizer(spec, torch.device("cpu"))(torch.from_numpy(geometric(image, spec))[None])
        assert torch.equal(halves[0], weights.transforms()(image)), path


def test_crop_larger_than_the_resize_is_black_outside():
    spec = PreprocessingSpec(4, 8, (0.0,) * 3, (1.0,) * 3, "bilinear", True)
    pixels = geometric(Image.new("RGB", (4, 4), (255, 255, 255)), spec)
    assert pixels[:, 2:6, 2:6].min() == 255
    assert pixels.sum() == 3 * 16 * 255


def test_ribbon_that_would_become_huge_is_rejected(small_spec: PreprocessingSpec):
    with pytest.raises(DecodeError, match="1 x 1000000 pixels is too long and thin"):
        geometric(Image.new("RGB", (1, 1_000_000)), small_spec)
