"""Small images in folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

MakePicture = Callable[..., Path]


@pytest.fixture
def make_picture() -> MakePicture:
    """Write an image of one color, by default a JPEG whatever its name."""

    def make(path: Path, color: tuple[int, int, int] = (200, 30, 30), kind: str = "JPEG") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), color).save(path, kind)
        return path

    return make
