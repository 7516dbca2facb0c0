"""The valley between near-duplicates and all other images, in the distances of each image to its nearest other.

Near-duplicates are a hill of small distances beside the hill of all others. A kernel density of the logarithms
shows both; the valley between them is where to cut, and how deep it is says how sure the cut is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float64

# Distances up to this are those of copies: rounding alone.
ROUNDING = 1e-5
# A valley that is less deep than this is none.
_SHALLOW = 0.3
# From this depth on, images may be deleted by the cut.
FAIRLY_SURE = 0.6
_STEPS = 512
# Logarithms that lie closer together than this are one value.
_LEAST_SPREAD = 1e-6
# The hills are of at least so many images, and the right one of this share of all.
_FEWEST, _SHARE = 3, 0.1
# The left hill lies at most at this part of the distance of the right one.
_APART = 0.6


@dataclass(frozen=True)
class Valley:
    """A cut: the `distance`, and the `depth` of the valley in [0, 1]; depth 0 means that there is none.

    The depth is 1 less the density in the valley by that of the lower of the two hills. Without a valley the
    distance is `ROUNDING`, which takes copies alone.
    """

    distance: float
    depth: float

    @property
    def sureness(self) -> str:
        """The depth in a word."""
        if not self.depth:
            return "no valley"
        return "sure" if self.depth >= 0.9 else "fairly sure" if self.depth >= FAIRLY_SURE else "unsure"


def valley(nearest: npt.NDArray[np.float32]) -> Valley:
    """The valley in the distances (n,) of each image to its nearest other; infinite ones are left out."""
    there = nearest[np.isfinite(nearest) & (nearest > ROUNDING)].astype(np.float64)
    if len(there) < 2 * _FEWEST:
        return Valley(ROUNDING, 0.0)
    logs = np.sort(np.log10(there))
    quartiles = np.percentile(logs, [25, 75])
    spread = min(float(logs.std()), float(quartiles[1] - quartiles[0]) / 1.34) or float(logs.std())
    if spread < _LEAST_SPREAD:
        return Valley(ROUNDING, 0.0)
    # Silverman's rule: Density Estimation, 1986.
    width = 0.9 * spread * len(logs) ** -0.2
    grid = np.linspace(logs[0] - width, logs[-1] + width, _STEPS)
    density = _density(logs, grid, width)
    best = Valley(ROUNDING, 0.0)
    for place in _minima(density):
        found = _judged(logs, grid, density, place)
        if found.depth > max(best.depth, _SHALLOW):
            best = found
    return best


def _density(logs: Float64, grid: Float64, width: float) -> Float64:
    """A Gaussian kernel density on a grid; the values are counted in the cells of the grid first."""
    step = grid[1] - grid[0]
    cells = np.rint((logs - grid[0]) / step).astype(np.int64)
    counts = np.bincount(cells, minlength=len(grid))
    kernel = np.exp(-0.5 * np.square((grid[:, None] - grid) / width))
    density: Float64 = (kernel * counts).sum(axis=1)
    return density


def _minima(density: Float64) -> list[int]:
    """The middle of each stretch of the density that is lower than what lies on both of its sides."""
    # Below a millionth of the highest hill there is nothing.
    floor = np.maximum(density, 1e-6 * density.max())
    steps = np.sign(np.diff(floor)).astype(int)
    found, fell_at = [], -1
    for place, step in enumerate(steps.tolist()):
        if step < 0:
            fell_at = place + 1
        elif step > 0 and fell_at >= 0:
            found.append((fell_at + place) // 2)
            fell_at = -1
    return found


def _judged(logs: Float64, grid: Float64, density: Float64, place: int) -> Valley:
    left = int(np.searchsorted(logs, grid[place]))
    right = len(logs) - left
    hills = int(density[:place].argmax()), place + int(density[place:].argmax())
    apart = 10 ** (grid[hills[0]] - grid[hills[1]])
    if left < _FEWEST or right < max(_FEWEST, _SHARE * len(logs)) or apart > _APART:
        return Valley(ROUNDING, 0.0)
    depth = 1 - density[place] / min(density[hills[0]], density[hills[1]])
    return Valley(float(np.float32(10 ** grid[place])), float(depth))
