"""What a server says of its collections when it begins."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Served:
    """A collection and what is served of it; `problem` says why nothing is, "" where all is well."""

    name: str
    problem: str
    generation: int = 0
    images: int = 0
    indexes: tuple[str, ...] = ()
