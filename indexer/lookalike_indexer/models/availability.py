"""Where torchvision's published weights lie on this machine, and whether they are there."""

from __future__ import annotations

from pathlib import Path

import torch

from lookalike_indexer.models.architecture import checked_architecture
from lookalike_indexer.models.presets import published


def weights_path(arch: str, name: str = "") -> Path:
    """Where torch.hub keeps a model's published weights, the default ones for ""."""
    url: str = published(checked_architecture(arch), name).url
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def weights_status(arch: str) -> tuple[Path, bool]:
    """The path of a model's default weights, and whether a file is there. Downloads nothing."""
    path = weights_path(arch)
    return path, path.is_file()
