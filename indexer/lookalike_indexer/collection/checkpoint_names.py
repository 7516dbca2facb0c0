"""What the checkpoints of one model are called in a collection: the model's name, "@" and the step."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"(\d+)")


def checkpoint_alias(model: str, step: str) -> str:
    """The name of a model's checkpoint as a model of its own."""
    return f"{model}@{step}"


def is_checkpoint(model: str) -> bool:
    """Whether a model of the collection is a checkpoint of one."""
    return "@" in model


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts names by the numbers in them: step9 before step10."""
    return tuple((0, int(piece)) if piece.isdecimal() else (1, piece) for piece in _DIGITS.split(text) if piece)
