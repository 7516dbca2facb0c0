"""Colors with 16 bits per sample, of which Pillow keeps only the higher 8 bits."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lookalike_indexer.images.levels import greatest_level, to_8_bit

_Samples = npt.NDArray[np.uint16]

# Maps the raw modes for the higher byte of each sample to those for the lower byte.
_LOWER = {
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGB;16N": "RGB;16B" if sys.byteorder == "little" else "RGB;16L",
    "RGBA;16B": "RGBA;16L",
    "RGBA;16L": "RGBA;16B",
    "RGBA;16N": "RGBA;16B" if sys.byteorder == "little" else "RGBA;16L",
}
# Both bytes of gray and alpha are read as four samples of 8 bits.
_GRAY_AND_ALPHA, _FOUR_BYTES = "LA;16B", "RGBA"
# Above this 8-bit level the samples use more than 14 bits, so the higher byte holds all that 8 bits can.
_DARK = 0x3F


def raw_mode(picture: Image.Image) -> str:
    """Return the raw mode of an opened, not yet loaded image with 16 bits per sample; "" for all others."""
    modes = {_mode_of(tile.args) for tile in getattr(picture, "tile", ())}
    mode = modes.pop() if len(modes) == 1 else ""
    known = mode in _LOWER or mode == _GRAY_AND_ALPHA
    return mode if known and "transparency" not in picture.info else ""


def is_dark(picture: Image.Image) -> bool:
    """Return whether the colors of a loaded image may have fewer bits than their samples, for example 12 of 16."""
    return int(np.asarray(picture)[..., :3].max()) <= _DARK


def samples(data: bytes, picture: Image.Image, mode: str) -> _Samples:
    """Return the full samples of a loaded image of this raw mode, height x width x channels; `data` is its file."""
    if mode == _GRAY_AND_ALPHA:
        pairs = np.asarray(_loaded(data, picture, _FOUR_BYTES))
        higher, lower = pairs[..., 0::2], pairs[..., 1::2]
    else:
        higher, lower = np.asarray(picture), np.asarray(_loaded(data, picture, _LOWER[mode]))
    whole: _Samples = np.left_shift(higher, 8, dtype=np.uint16) | lower
    return whole


def to_rgb(levels: _Samples, declared: int) -> Image.Image:
    """Convert samples to mode RGB by the rule of `levels.to_8_bit`; transparency shows white.

    If the range of alpha does not exceed that of the colors, it uses the same range.
    """
    has_alpha = levels.shape[-1] in (2, 4)
    colors = levels[..., :-1] if has_alpha else levels
    greatest = greatest_level(0, float(colors.max()), declared)
    shown = np.broadcast_to(to_8_bit(colors, greatest), (*levels.shape[:2], 3))
    if not has_alpha:
        return Image.fromarray(np.ascontiguousarray(shown))
    front = Image.fromarray(np.dstack([shown, to_8_bit(levels[..., -1], greatest)]))
    return Image.alpha_composite(Image.new("RGBA", front.size, (255, 255, 255, 255)), front).convert("RGB")


def _loaded(data: bytes, picture: Image.Image, mode: str) -> Image.Image:
    """Return the same image, decoded with another raw mode."""
    again = Image.open(io.BytesIO(data), formats=[picture.format or ""])
    again.tile = [tile._replace(args=_with_mode(tile.args, mode)) for tile in again.tile]
    again.load()
    return again


def _mode_of(args: str | tuple[Any, ...] | None) -> str:
    """Return the raw mode from the arguments of a decoder."""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _with_mode(args: str | tuple[Any, ...] | None, mode: str) -> str | tuple[Any, ...]:
    return (mode, *args[1:]) if isinstance(args, tuple) else mode
