"""Quality flags of an image, each with its threshold in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lookalike_indexer.errors import NotFoundError

# It imports image decoding, which users of the flags do not need.
if TYPE_CHECKING:
    from lookalike_indexer.quality.measures import Measures

# The attribute table; a change of the measures or of a threshold requires another version.
TABLE: Final = "quality"
VERSION: Final = 2

_DARK, _BRIGHT, _BLURRY, _UNIFORM = 0.25, 0.75, 1.0, 0.02
_TINY, _ODD = 64, 3.0


@dataclass(frozen=True)
class Flag:
    """A flag: its rule in words, the measure that decides it, and whether the lowest values come first."""

    name: str
    rule: str
    measure: str
    lowest_first: bool
    holds: Callable[[Measures, int, int], bool]


def aspect(width: int, height: int) -> float:
    """Return the longer side divided by the shorter one."""
    return max(width, height) / max(1, min(width, height))


def _uniform(found: Measures) -> bool:
    return found.contrast < _UNIFORM


FLAGS: Final = {
    flag.name: flag
    for flag in (
        Flag(
            "dark", f"95% of the pixels are darker than {_DARK}", "lightest", True, lambda m, w, h: m.lightest < _DARK
        ),
        Flag(
            "bright",
            f"95% of the pixels are lighter than {_BRIGHT}",
            "darkest",
            False,
            lambda m, w, h: m.darkest > _BRIGHT,
        ),
        Flag(
            "blurry",
            f"sharpness below {_BLURRY:g}, and not uniform",
            "sharpness",
            True,
            lambda m, w, h: m.sharpness < _BLURRY and not _uniform(m),
        ),
        Flag(
            "uniform", f"standard deviation of the luma below {_UNIFORM}", "contrast", True, lambda m, w, h: _uniform(m)
        ),
        Flag("tiny", f"shorter side below {_TINY} pixels", "shorter_side", True, lambda m, w, h: min(w, h) < _TINY),
        Flag(
            "odd_aspect",
            f"longer side more than {_ODD:g} times the shorter one",
            "aspect",
            False,
            lambda m, w, h: aspect(w, h) > _ODD,
        ),
    )
}
MEASURES: Final = ("brightness", "darkest", "lightest", "contrast", "sharpness")
HASH: Final = "phash"
# The columns of the attribute table, with their types.
COLUMNS: Final = {**dict.fromkeys(MEASURES, "float64"), HASH: "int64", **dict.fromkeys(FLAGS, "bool")}


def check_flag(name: str) -> None:
    """Raise NotFoundError if there is no such flag; "" means all."""
    if name and name not in FLAGS:
        raise NotFoundError(f"There is no quality flag {name!r}; the flags are {', '.join(FLAGS)}.")
