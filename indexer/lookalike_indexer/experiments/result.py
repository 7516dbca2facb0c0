"""Result of every experiment, so that the command line, the protocol and stored tables show the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.collection.metrics import NAMES


@dataclass(frozen=True)
class Result:
    """The result of an experiment as plain data.

    `settings` are those of the run, including defaults; `tables` its rows, by a short name; `figures` single numbers
    such as "purity"; `findings` their meaning as sentences for users.
    """

    kind: str
    settings: Mapping[str, Setting]
    tables: Mapping[str, pa.Table]
    figures: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[str, ...] = ()

    @property
    def measured_by(self) -> str:
        """The addition to a title above distances, such as " (cosine distances)"; "" if the settings name no metric."""
        name = NAMES.get(str(self.settings.get("metric")))
        return f" ({name} distances)" if name else ""
