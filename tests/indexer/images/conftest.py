"""Encoded images."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from lookalike_indexer.collection.spec import PreprocessingSpec

Encode = Callable[..., bytes]


@pytest.fixture
def encode() -> Encode:
    """Encode a Pillow image."""

    def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
        out = io.BytesIO()
        image.save(out, kind, **options)
        return out.getvalue()

    return encoded


@pytest.fixture(scope="session")
def small_spec() -> PreprocessingSpec:
    """A tiny preprocessing: resize 20, crop 16."""
    return PreprocessingSpec(20, 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear", True)
