"""Check for spaces in which all images are equal, such as copies of one image: nothing can be distinguished there."""

from __future__ import annotations

from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.experiments.space_sample import Sampled
from lookalike_indexer.numerics.variation import all_equal


def require_varied(drawn: Sampled, purpose: str) -> None:
    """Raise NotBuiltError if all embeddings are equal up to rounding; `purpose` names what needs distinct ones."""
    if all_equal(drawn.vectors):
        raise NotBuiltError(f"{alike(drawn)}; {purpose} needs different ones.")


def alike(drawn: Sampled) -> str:
    """Return the beginning of a sentence about such a space."""
    return f"All {len(drawn.rows)} images of {drawn.space} have the same embedding"
