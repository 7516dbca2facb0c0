"""Summary of a served collection, which the server prints at startup."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Served:
    """A collection and what is served of it. `problem` says why nothing is; "" if it is served."""

    name: str
    problem: str
    generation: int = 0
    images: int = 0
    indexes: tuple[str, ...] = ()
