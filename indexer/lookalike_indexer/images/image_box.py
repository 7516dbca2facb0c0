"""Region of an image. Separate from the decoder, so that code that only passes it on need not import that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Boxed:
    """A region of an image given as encoded bytes: (left, top, width, height) in pixels of the upright image."""

    image: bytes
    box: tuple[int, int, int, int]

    def __len__(self) -> int:
        """Return the number of bytes of the image."""
        return len(self.image)
