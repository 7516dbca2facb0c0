"""Small networks and weights files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision

from lookalike_indexer.collection.spec import PreprocessingSpec


@pytest.fixture(scope="session")
def plain_spec() -> PreprocessingSpec:
    """ImageNet's usual preprocessing, on small squares."""
    return PreprocessingSpec(64, 64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", True)


@pytest.fixture
def save_weights(tmp_path: Path) -> Callable[..., Path]:
    """Save the state dict of a seeded network, changed by `change` if given."""

    def save(arch: str, classes: int = 1000, seed: int = 0, change: Callable[[dict], object] | None = None) -> Path:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = torchvision.models.get_model(arch, weights=None, num_classes=classes)
        state = dict(module.state_dict())
        path = tmp_path / f"{arch}-{classes}-{seed}.pth"
        torch.save(change(state) if change else state, path)
        return path

    return save
