"""What callers call a collection."""

from __future__ import annotations

from pathlib import Path


def known_as(name: str, root: str) -> str:
    """The name of the collection in the folder `root`: the one that it was given, or that of its folder."""
    return name or Path(root).resolve().name
