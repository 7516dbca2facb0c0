"""Names of the algorithms that find a clustering's centroids; see `clustering.strategies`."""

from __future__ import annotations

from typing import Final, Literal, get_args

Strategy = Literal["kmeans", "spherical", "bisecting", "agglomerative", "whitened"]
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)
