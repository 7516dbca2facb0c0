"""Name by which callers know a collection."""

from __future__ import annotations

from pathlib import Path


def known_as(name: str, root: str) -> str:
    """Return the name of the collection in the folder `root`: the given one, or that of its folder."""
    return name or Path(root).resolve().name
