"""Canonical JSON: equal values give equal bytes, whatever the order of their dictionaries."""

from __future__ import annotations

from typing import Any

import msgspec


def canonical(value: object) -> bytes:
    """A value's JSON with every key in order, without white space.

    Python sorts the keys: msgspec's own sorting can end the process where a dictionary has tens of thousands of them.
    """
    return msgspec.json.encode(sorted_keys(msgspec.to_builtins(value)))


def sorted_keys(value: Any) -> Any:
    """Plain data with the keys of each dictionary in order."""
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [sorted_keys(each) for each in value]
    return value
