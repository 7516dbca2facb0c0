"""Spaces in which all images are the same, such as copies of one picture: nothing can be told apart there."""

from __future__ import annotations

from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.experiments.space_sample import Sampled
from lookalike_indexer.numerics.variation import all_alike


def require_varied(drawn: Sampled, purpose: str) -> None:
    """NotBuiltError when the embeddings differ by rounding alone; `purpose` says what needs different ones: "a map"."""
    if all_alike(drawn.vectors):
        raise NotBuiltError(f"{alike(drawn)}; {purpose} needs different ones.")


def alike(drawn: Sampled) -> str:
    """The beginning of a sentence about such a space."""
    return f"All {len(drawn.rows)} images of {drawn.space} have the same embedding"
