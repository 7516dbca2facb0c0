"""Location of torchvision's published weights on this machine, and whether they exist."""

from __future__ import annotations

from pathlib import Path

import torch

from lookalike_indexer.models.architecture import checked_architecture
from lookalike_indexer.models.presets import published


def weights_path(arch: str, name: str = "") -> Path:
    """Return the path where torch.hub stores a model's published weights, "" for the default ones."""
    url: str = published(checked_architecture(arch), name).url
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def weights_status(arch: str) -> tuple[Path, bool]:
    """Return the path of a model's default weights, and whether the file exists. Downloads nothing."""
    path = weights_path(arch)
    return path, path.is_file()
