"""A text query among images to embed. Separate from the embedder, so that its users need no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A query text; its length is that of its UTF-8 bytes."""

    value: str

    def __len__(self) -> int:
        return len(self.value.encode())


def refusal(position: int, item: object, reason: str) -> str:
    """Return a sentence about a text or an image of a call that has no vector; `position` counts from 0."""
    if isinstance(item, Text):
        return f"Text {position} cannot be embedded: {reason}."
    if reason.startswith("the box "):
        return f"Image {position} cannot be cropped: {reason}."
    return f"Image {position} cannot be decoded: {reason}."
