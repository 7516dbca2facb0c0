"""Option --config: a TOML file with settings of `lookalike serve`."""

from __future__ import annotations

import difflib
import os
import select
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from lookalike_indexer.errors import UsageError
from lookalike_indexer.text import harmless
from lookalike_server.commands.collection_options import CollectionType
from lookalike_server.commands.fronts_option import AUTOMATIC, FrontsType
from lookalike_server.commands.options import Settable, Setting, settable

# Seconds to wait for the writer of a pipe.
_WRITER_S = 5.0
# Smallest similarity, from 0 to 1, of a key that is suggested for an unknown one.
_ALIKE = 0.75


def read_configuration(path: Path, settings: Mapping[str, Settable], ctx: click.Context) -> dict[str, Any]:
    """Return the values of a file by click's parameter names. `settings` are the known settings by key.

    Raises UsageError if the file cannot be read, a key is unknown, or a value is invalid.
    """
    values: dict[str, Any] = {}
    for key, value in _pairs(_parsed(path)):
        known = settings.get(key)
        if known is None:
            raise UsageError(f"--config {path}: {key} is not a setting{_suggestion(key, settings)}.")
        values[str(known.name)] = _checked(path, known, value, ctx)
    return values


def config_option(command: click.Command) -> click.Command:
    """Add --config to a command. The option covers all settings of the command."""

    def read(ctx: click.Context, option: click.Parameter, path: Path | None) -> None:
        if path is None:
            return
        try:
            ctx.default_map = read_configuration(path, settable(ctx.command), ctx)
        except UsageError as error:
            raise click.UsageError(harmless(str(error)), ctx) from error

    option = Setting(
        ["--config"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        # Before all other options, because it provides their defaults.
        is_eager=True,
        expose_value=False,
        callback=read,
        help="Read settings from FILE, TOML. The environment (LOOKALIKE_SERVE_MAX_K for --max-k) overrides the file, "
        "and options override both. docs/configuration.md lists all keys.",
    )
    command.params.insert(1, option)
    return command


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(f"--config {path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} is not TOML: {error}.") from error


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file. If it is a pipe, such as a shell's <(command), wait briefly for its writer."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode) and not select.select([descriptor], [], [], _WRITER_S)[0]:
            raise UsageError(f"--config {path} is a pipe without a writer; give a file.")
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _pairs(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys with their values."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _pairs(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _suggestion(key: str, settings: Mapping[str, Settable]) -> str:
    """Return a suggestion for an unknown key."""
    word = key.rpartition(".")[2].replace("-", "_")
    moved = [known for known in settings if known.rpartition(".")[2] == word]
    near = moved or difflib.get_close_matches(key.replace("-", "_"), settings, 1, _ALIKE)
    return f"; write {near[0]} instead" if near else "; docs/configuration.md lists all settings"


def _checked(path: Path, known: Settable, value: Any, ctx: click.Context) -> Any:
    """Return a value in the form that click takes."""
    if known.nargs == -1 and isinstance(value, str):
        value = [value]
    wanted = _expected_type(known, value)
    if wanted:
        raise UsageError(f"--config {path}: {known.key} is {value!r}; it must be {wanted}.")
    several = value if _takes_several(known) else [value]
    try:
        for one in several:
            known.type.convert(one, known, ctx)
    except click.BadParameter as error:
        raise UsageError(f"--config {path}: {known.key}: {error.message}") from error
    if isinstance(known.type, CollectionType):
        return [known.type.below(path.absolute().parent, one) for one in value]
    if isinstance(known.type, click.Path):
        # Relative to the configuration file, which may be read from any folder.
        return str(path.absolute().parent / value)
    return value


def _takes_several(known: Settable) -> bool:
    return bool(known.multiple) or known.nargs == -1


def _expected_type(known: Settable, value: Any) -> str:
    """Return what a value of a wrong type should be; "" if the type is right."""
    if _takes_several(known):
        right = isinstance(value, list) and all(isinstance(one, str) for one in value)
        return "" if right else "a list of strings"
    if known.is_flag:
        return "" if isinstance(value, bool) else "true or false"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    kind = known.type.name
    if kind == "float":
        return "" if number else "a number"
    if kind in ("integer", "size", "pixels"):
        written = kind != "integer" and isinstance(value, str)
        return "" if written or (number and isinstance(value, int)) else "an integer"
    if kind == FrontsType.name:
        right = value == AUTOMATIC or (number and isinstance(value, int))
        return "" if right else f'an integer or "{AUTOMATIC}"'
    return "" if isinstance(value, str) else "a string"
