"""An option for each field of `Limits`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from lookalike_indexer.cli.bytes import Bytes, Pixels
from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.errors import UsageError
from lookalike_server.commands.options import setting
from lookalike_server.common.limits import MIB, Limits, description_of, least_of, most_of, option_of

F = TypeVar("F", bound=Callable[..., Any])

# Table of a configuration file.
SECTION = "limits"

# Limits that a collection stores for its own images.
_STORED = ("max_image_bytes", "max_image_pixels")
# Alias that `index` and `embed` have too.
_ALSO = {"max_image_pixels": "--max-pixels"}
# Limits that must have room for the largest image.
_ROOMS = ("max_message_bytes", "max_peer_bytes", "max_queue_bytes")

_FIELDS = dataclasses.fields(Limits)


class _LimitedValue(click.ParamType):  # type: ignore[type-arg]  # older releases take no argument
    """A value of another type, from `least` to `most`."""

    def __init__(self, kind: click.ParamType, least: int, most: int) -> None:  # type: ignore[type-arg]
        self._kind, self._least, self._most = kind, least, most
        self.name = kind.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number: int = self._kind.convert(value, param, ctx)
        if not self._least <= number <= self._most:
            self.fail(f"{value!r} is out of range; it must be {self._least} to {self._most}.", param, ctx)
        return number


def limit_options(command: F) -> F:
    """Add the options. The command gets those that were given as `limits`, by field name."""

    @functools.wraps(command)
    def run(*arguments: Any, **given: Any) -> Any:
        values = {field.name: given.pop(field.name) for field in _FIELDS}
        limits = {name: value for name, value in values.items() if value is not None}
        return command(*arguments, limits=limits, **given)

    wrapped: Any = run
    for field in reversed(_FIELDS):
        wrapped = _option(field)(wrapped)
    result: F = wrapped
    return result


def _option(field: dataclasses.Field[int]) -> Callable[[F], F]:
    names = [option_of(field), field.name, *([_ALSO[field.name]] if field.name in _ALSO else [])]
    default = default_of(field)
    return setting(
        *names,
        type=limit_type(field),
        metavar="SIZE" if field.name.endswith("_bytes") else "N",
        help=f"{description_of(field)}  [default: {default}]".strip(),
        section=SECTION,
    )


def limit_type(field: dataclasses.Field[int]) -> click.ParamType:  # type: ignore[type-arg]
    """Return the option type of a limit: a number; bytes and pixels may have a unit."""
    kind = Bytes() if field.name.endswith("_bytes") else Pixels() if field.name.endswith("_pixels") else click.INT
    return _LimitedValue(kind, least_of(field), most_of(field))


def default_of(field: dataclasses.Field[int]) -> str:
    """Return the default in readable form."""
    if field.name in _STORED:
        return "the collection's limit"
    value = getattr(Limits, field.name)
    whole = field.name.endswith("_bytes") and value % MIB == 0
    return f"{value // MIB}MiB" if whole else str(value)


def chosen_limits(given: Mapping[str, int], stored: ImageLimits) -> Limits:
    """Return the limits of a server: those given, and for images otherwise those of the collection.

    Raises UsageError if two limits contradict each other.
    """
    images = ImageLimits(
        given.get("max_image_bytes", stored.max_bytes), given.get("max_image_pixels", stored.max_pixels)
    )
    limits = dataclasses.replace(Limits().admitting(images), **given)
    for name in _ROOMS:
        room, needed = getattr(limits, name), limits.max_image_bytes + MIB
        if name in given and room < needed:
            raise UsageError(
                f"{name} is {room}, and an image of max_image_bytes, {limits.max_image_bytes}, needs {needed}; "
                f"set {name} to {needed} or more, or max_image_bytes to {max(room - MIB, 1)} or less."
            )
    sides = limits.min_thumbnail_side, limits.default_thumbnail_side, limits.max_thumbnail_side
    if list(sides) != sorted(sides):
        raise UsageError(
            f"min_thumbnail_side, default_thumbnail_side and max_thumbnail_side are {', '.join(map(str, sides))}; "
            "set them in ascending order."
        )
    return limits
