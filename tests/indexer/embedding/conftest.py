"""A folder of small pictures, and collections that are made of it with a small network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import EmbedReport, run_embed
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.progress import Silent

Embed = Callable[..., EmbedReport]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty pictures in the folders a and b, and three files that are none."""
    root = tmp_path / "photos"
    for number in range(20):
        paint(root / "ab"[number % 2] / f"{number:02d}.png", number)
    (root / "a" / "03-broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (root / "b" / "04-empty.png").touch()
    (root / "zz.gif").write_bytes(b"text")
    return root


@pytest.fixture
def add_photo() -> Callable[[Path, int], None]:
    """Write a picture that its number alone decides."""
    return paint


def paint(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(number).integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(coarse).resize((40, 32)).save(path)


@pytest.fixture
def settings(photos: Path) -> EmbedSettings:
    """A small network without training, and small parts: the 23 files make 4 of them."""
    return EmbedSettings(
        source=str(photos),
        model="squeezenet1_1",
        weights="untrained:1",
        batch_size=4,
        part_size=7,
        workers=1,
        compute="float32",
    )


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "collection")


@pytest.fixture
def embed(storage: Storage, settings: EmbedSettings) -> Embed:
    """Run the stage, with some settings changed, and publish what it made."""

    def run(**changes: Any) -> EmbedReport:
        wanted = dataclasses.replace(settings, **changes)
        draft, report = run_embed(storage, generations.latest(storage), wanted, Silent())
        generations.publish(storage, draft)
        return report

    return run


@pytest.fixture
def contents() -> Callable[[Storage], dict[str, bytes]]:
    """The bytes of every file of a collection, but for its lock."""

    def read(storage: Storage) -> dict[str, bytes]:
        paths = sorted(path for path in storage.root.rglob("*") if path.is_file() and path.name != ".lock")
        return {str(path.relative_to(storage.root)): path.read_bytes() for path in paths}

    return read


@pytest.fixture
def save_network(tmp_path: Path) -> Callable[[int], Path]:
    """Save the weights of a small network made from a seed."""

    def save(seed: int) -> Path:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = torchvision.models.shufflenet_v2_x0_5(weights=None)
        path = tmp_path / f"weights-{seed}.pth"
        torch.save(module.state_dict(), path)
        return path

    return save


@pytest.fixture
def save_vit(tmp_path: Path) -> Callable[[int], Path]:
    """Save a vision transformer for images of a size in pixels, without its head: a network as others fine-tune it."""

    def save(size: int) -> Path:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = torchvision.models.vit_b_32(weights=None, image_size=size)
        state = {name: value for name, value in module.state_dict().items() if not name.startswith("heads.")}
        path = tmp_path / f"vit-{size}.pth"
        torch.save({"model": state}, path)
        return path

    return save
