"""What every experiment returns, so that the command line, the wire and the stored tables show the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.collection.metrics import NAMES


@dataclass(frozen=True)
class Result:
    """An experiment's outcome as plain data.

    `settings` are those it ran with, defaults filled in; `tables` its rows, by
    a short name; `figures` single numbers such as "purity"; `findings` what
    they mean, a sentence each, for people.
    """

    kind: str
    settings: Mapping[str, Setting]
    tables: Mapping[str, pa.Table]
    figures: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[str, ...] = ()

    @property
    def measured_by(self) -> str:
        """What follows a title above distances, such as " (cosine distances)"; "" where the settings name no metric."""
        name = NAMES.get(str(self.settings.get("metric")))
        return f" ({name} distances)" if name else ""
