"""Option types for sizes in bytes and in pixels."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1, "B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for suffix, base in (("", 1024), ("B", 1000), ("IB", 1024))
}
_THOUSANDS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


class Bytes(click.ParamType):  # type: ignore[type-arg]  # older releases take no argument
    """A number of bytes: 4096, 500MB (decimal), 8GiB or 8G (binary)."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(value))
        size = int(float(found[1]) * _UNITS.get(found[2].upper(), 0)) if found else 0
        if not size:
            self.fail(f"{value!r} is not a size; write it like 500MB or 8GiB.", param, ctx)
        return size


class Pixels(click.ParamType):  # type: ignore[type-arg]
    """A number of pixels: 134217728, 200M, 200MP or 0.5G (millions and thousands of millions)."""

    name = "pixels"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?)P?\s*", str(value), re.IGNORECASE)
        count = int(float(found[1]) * _THOUSANDS[found[2].upper()]) if found else 0
        if not count:
            self.fail(f"{value!r} is not a number of pixels; write it like 200M.", param, ctx)
        return count
