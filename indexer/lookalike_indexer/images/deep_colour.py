"""Colors of 16 bits a sample, of which Pillow keeps the higher 8 bits only."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lookalike_indexer.images.levels import greatest_level, to_8_bit

_Samples = npt.NDArray[np.uint16]

# The raw modes by which Pillow takes the higher byte of each sample, and those by which it takes the lower one.
_LOWER = {
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGB;16N": "RGB;16B" if sys.byteorder == "little" else "RGB;16L",
    "RGBA;16B": "RGBA;16L",
    "RGBA;16L": "RGBA;16B",
    "RGBA;16N": "RGBA;16B" if sys.byteorder == "little" else "RGBA;16L",
}
# Both bytes of gray and alpha come as four samples of 8 bits.
_GRAY_AND_ALPHA, _FOUR_BYTES = "LA;16B", "RGBA"
# Above this level of 8 bits the samples need more than 14 bits, so that the higher byte tells all that 8 bits can.
_DARK = 0x3F


def raw_mode(picture: Image.Image) -> str:
    """The raw mode of an opened picture of 16 bits a sample that is not loaded yet; "" of all others."""
    modes = {_mode_of(tile.args) for tile in getattr(picture, "tile", ())}
    mode = modes.pop() if len(modes) == 1 else ""
    known = mode in _LOWER or mode == _GRAY_AND_ALPHA
    return mode if known and "transparency" not in picture.info else ""


def is_dark(picture: Image.Image) -> bool:
    """Whether the colors of a loaded picture may be of fewer bits than their samples: 12 bits in 16, for example."""
    return int(np.asarray(picture)[..., :3].max()) <= _DARK


def samples(data: bytes, picture: Image.Image, mode: str) -> _Samples:
    """The whole samples of a loaded picture of this raw mode, as height x width x channels; `data` is its file."""
    if mode == _GRAY_AND_ALPHA:
        pairs = np.asarray(_loaded(data, picture, _FOUR_BYTES))
        higher, lower = pairs[..., 0::2], pairs[..., 1::2]
    else:
        higher, lower = np.asarray(picture), np.asarray(_loaded(data, picture, _LOWER[mode]))
    whole: _Samples = np.left_shift(higher, 8, dtype=np.uint16) | lower
    return whole


def to_rgb(levels: _Samples, declared: int) -> Image.Image:
    """Samples as mode RGB by the rule of `levels.to_8_bit`; white shows behind transparency.

    Where alpha goes no further than the colors do, it has the same range.
    """
    has_alpha = levels.shape[-1] in (2, 4)
    colours = levels[..., :-1] if has_alpha else levels
    greatest = greatest_level(0, float(colours.max()), declared)
    shown = np.broadcast_to(to_8_bit(colours, greatest), (*levels.shape[:2], 3))
    if not has_alpha:
        return Image.fromarray(np.ascontiguousarray(shown))
    front = Image.fromarray(np.dstack([shown, to_8_bit(levels[..., -1], greatest)]))
    return Image.alpha_composite(Image.new("RGBA", front.size, (255, 255, 255, 255)), front).convert("RGB")


def _loaded(data: bytes, picture: Image.Image, mode: str) -> Image.Image:
    """The same picture, decoded by another raw mode."""
    again = Image.open(io.BytesIO(data), formats=[picture.format or ""])
    again.tile = [tile._replace(args=_with_mode(tile.args, mode)) for tile in again.tile]
    again.load()
    return again


def _mode_of(args: str | tuple[Any, ...] | None) -> str:
    """The raw mode among the arguments of a decoder."""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _with_mode(args: str | tuple[Any, ...] | None, mode: str) -> str | tuple[Any, ...]:
    return (mode, *args[1:]) if isinstance(args, tuple) else mode
