"""Canonical JSON: equal values give equal bytes, whatever the order of dictionary keys."""

from __future__ import annotations

from typing import Any

import msgspec


def canonical(value: object) -> bytes:
    """Return a value as JSON with sorted keys and without white space.

    Python sorts the keys: msgspec's own sorting can crash the process if a dictionary has tens of thousands of keys.
    """
    return msgspec.json.encode(sorted_keys(msgspec.to_builtins(value)))


def sorted_keys(value: Any) -> Any:
    """Return plain data with the keys of each dictionary sorted."""
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [sorted_keys(each) for each in value]
    return value
