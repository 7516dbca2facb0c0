"""A part of a picture. Apart from what decodes it: whoever passes one on need not import that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Boxed:
    """A part of a picture given as encoded bytes: (left, top, width, height) in pixels of the upright picture."""

    image: bytes
    box: tuple[int, int, int, int]

    def __len__(self) -> int:
        """The bytes of the picture."""
        return len(self.image)
