"""Limits of time and of losses on a cluster."""

from __future__ import annotations

from typing import Final

# The timeout for a new worker to start: to get a free CPU, and to import.
START_S: Final = 120.0
# The timeout of a run for new machines after the last one is gone.
NOBODY_S: Final = 60.0
# The maximum number of workers that may be lost during the same item, because it may be the cause.
MOST_LOST: Final = 3
