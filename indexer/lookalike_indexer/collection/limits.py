"""Size limits of one image. A collection keeps the limits that it was created with; all decoding of its images uses
them.
"""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.errors import UsageError


@dataclass(frozen=True)
class ImageLimits:
    """The limits of an image: `max_bytes` encoded, `max_pixels` decoded."""

    max_bytes: int = 64 << 20
    max_pixels: int = 128 << 20

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.max_pixels < 1:
            raise UsageError("The limits for images must be at least one byte and one pixel.")

    def widened(self, other: ImageLimits) -> ImageLimits:
        """Return the limits that admit every image that either limits admit."""
        return ImageLimits(max(self.max_bytes, other.max_bytes), max(self.max_pixels, other.max_pixels))


DEFAULT_LIMITS = ImageLimits()
