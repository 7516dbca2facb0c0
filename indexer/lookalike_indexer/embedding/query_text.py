"""A text among the pictures that are to be embedded. Apart from the embedder, so that asking for it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A text that is searched for; its length is that of its UTF-8 bytes."""

    value: str

    def __len__(self) -> int:
        return len(self.value.encode())


def refusal(position: int, item: object, reason: str) -> str:
    """A sentence about a text or a picture of a call that has no vector; `position` counts from 0."""
    if isinstance(item, Text):
        return f"Text {position} cannot be embedded: {reason}."
    return f"Picture {position} cannot be decoded: {reason}."
