"""Names of a model's checkpoints in a collection: the model's name, "@" and the step."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"(\d+)")


def checkpoint_alias(model: str, step: str) -> str:
    """Return the name under which a model's checkpoint is a model of its own."""
    return f"{model}@{step}"


def is_checkpoint(model: str) -> bool:
    """Return whether a model of the collection is a checkpoint of another model."""
    return "@" in model


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key that orders names by the numbers in them: step9 before step10."""
    return tuple((0, int(piece)) if piece.isdecimal() else (1, piece) for piece in _DIGITS.split(text) if piece)
