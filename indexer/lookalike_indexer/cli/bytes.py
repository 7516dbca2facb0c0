"""Sizes as people write them."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1, "B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for suffix, base in (("", 1024), ("B", 1000), ("IB", 1024))
}


class Bytes(click.ParamType):  # type: ignore[type-arg]  # older releases take no argument
    """A number of bytes: 4096, 500MB (decimal), 8GiB or 8G (binary)."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(value))
        size = int(float(found[1]) * _UNITS.get(found[2].upper(), 0)) if found else 0
        if not size:
            self.fail(f"{value!r} is no size; write it like 500MB or 8GiB.", param, ctx)
        return size
