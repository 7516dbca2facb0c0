"""Kinds of rejects: which ones later runs try again."""

from __future__ import annotations

# All but damaged images can pass by themselves: a disk comes back, a limit is raised, a file is put right.
KINDS = ("missing", "unreadable", "timeout", "crashed", "limit", "changed", "damaged")
FINAL = "damaged"

# How releases before format 2, which kept no kinds, began the reasons of each.
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
    """The kind of a reject, by its reason where a part of format 1 has no kind."""
    if kind:
        return kind
    return next((name for beginning, name in _BEGINNINGS.items() if reason.startswith(beginning)), FINAL)
