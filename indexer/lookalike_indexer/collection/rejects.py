"""Kinds of rejects, and which of them later runs try again."""

from __future__ import annotations

# All but damaged images may become readable: a disk comes back, a limit is raised, a file is repaired.
KINDS = ("missing", "unreadable", "timeout", "crashed", "limit", "changed", "damaged")
FINAL = "damaged"

# Releases before format 2 stored no kinds; their reasons began like this.
_BEGINNINGS = {
    "there is no such file": "missing",
    "the file cannot be read": "unreadable",
    "its file name is not valid UTF-8": "unreadable",
    "decoding took longer": "timeout",
    "the decoder crashed": "crashed",
    "the file is larger than": "limit",
    "the picture has": "limit",
    "decoding needs more memory": "limit",
}


def kind_of(kind: str | None, reason: str) -> str:
    """Return the kind of a reject; derive it from the reason if a part of format 1 has no kind."""
    if kind:
        return kind
    return next((name for beginning, name in _BEGINNINGS.items() if reason.startswith(beginning)), FINAL)
