"""Valley between near-duplicates and all other images, in the distances of images to their nearest neighbors.

Near-duplicates form a peak of small distances beside the peak of all others. A kernel density of the logarithms shows
both. The valley between them is the cut; its depth is the confidence of the cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float64

# Up to this distance images are copies: the distance is only rounding.
ROUNDING = 1e-5
# Shallower valleys are ignored.
_SHALLOW = 0.3
# From this depth on, images may be deleted by the cut.
FAIRLY_SURE = 0.6
_STEPS = 512
# Logarithms with a smaller spread count as one value.
_LEAST_SPREAD = 1e-6
# The minimum number of images of each peak, and the minimum share of all images of the right one.
_FEWEST, _SHARE = 3, 0.1
# The distance of the left peak is at most this share of that of the right one.
_APART = 0.6


@dataclass(frozen=True)
class Valley:
    """A cut: the `distance`, and the `depth` of the valley in [0, 1]; depth 0 means that there is none.

    The depth is 1 minus the ratio of the density in the valley to that of the lower peak. Without a valley the distance
    is `ROUNDING`, which includes only copies.
    """

    distance: float
    depth: float

    @property
    def sureness(self) -> str:
        """The depth as a word."""
        if not self.depth:
            return "no valley"
        return "sure" if self.depth >= 0.9 else "fairly sure" if self.depth >= FAIRLY_SURE else "unsure"


def valley(nearest: npt.NDArray[np.float32]) -> Valley:
    """Return the valley in the distances (n,) of each image to its nearest neighbor; infinite ones are left out."""
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
    """Return a Gaussian kernel density on a grid; values are first counted in the cells of the grid."""
    step = grid[1] - grid[0]
    cells = np.rint((logs - grid[0]) / step).astype(np.int64)
    counts = np.bincount(cells, minlength=len(grid))
    kernel = np.exp(-0.5 * np.square((grid[:, None] - grid) / width))
    density: Float64 = (kernel * counts).sum(axis=1)
    return density


def _minima(density: Float64) -> list[int]:
    """Return the middle of each stretch of the density that is lower than its surroundings on both sides."""
    # A density below a millionth of the highest peak counts as zero.
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
