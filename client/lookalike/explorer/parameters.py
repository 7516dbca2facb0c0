"""Validation of request parameters, before any work; each mistake is an InvalidArgumentError."""

from __future__ import annotations

import functools
import math
import operator

from starlette.requests import Request

from lookalike import Filter, InvalidArgumentError, column

_LONGEST = 1024
# Many proxies reject URLs above 16 KiB, and a character of a filter may take several bytes in a URL.
_LONGEST_FILTER = 4096


def text(request: Request, name: str, default: str | None = None, longest: int = _LONGEST) -> str:
    """Return a text parameter; without a `default` it is required."""
    value = request.query_params.get(name, default)
    if value is None:
        raise InvalidArgumentError(f"The parameter {name} is missing.")
    if len(value) > longest:
        raise InvalidArgumentError(f"The parameter {name} has {len(value)} characters; {longest} is the most.")
    return value


def filter_text(request: Request) -> str:
    """Return the parameter `where`, "" without one."""
    return text(request, "where", "", _LONGEST_FILTER)


def where(request: Request, label: str = "", other: str = "") -> Filter | None:
    """Combine the filter `where` with label == `label` and label != `other`; None without any of them."""
    words = filter_text(request)
    parts = [Filter(words)] if words else []
    parts += [column("label") == label] if label else []
    parts += [column("label") != other] if other else []
    return functools.reduce(operator.and_, parts) if parts else None


def integer(request: Request, name: str, default: int | None, low: int, high: int) -> int:
    """Return an integer parameter from `low` to `high`."""
    value = request.query_params.get(name)
    if value in (None, "") and default is not None:
        return default
    return checked_integer(name, text(request, name), low, high)


def checked_integer(name: str, value: str, low: int, high: int) -> int:
    """Parse an integer from `low` to `high`."""
    # int() would also accept 1_000, and digits of other scripts.
    if not (value.isascii() and value.removeprefix("-").isdigit() and len(value) < 20 and low <= int(value) <= high):
        raise InvalidArgumentError(f"{name}={value!r} must be a whole number from {low} to {high}.")
    return int(value)


def share(request: Request, name: str) -> float | None:
    """Return a number above 0 and at most 1; None if it is missing."""
    value = request.query_params.get(name, "")
    if not value:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number <= 1:
        raise InvalidArgumentError(f"{name}={value!r} must be a number above 0 and at most 1.")
    return number


def flag(request: Request, name: str) -> bool:
    """Return True if a parameter is "1"."""
    return request.query_params.get(name, "") == "1"


def image_id(request: Request) -> int:
    """Return the parameter `id`."""
    return integer(request, "id", None, -(2**63), 2**63 - 1)
