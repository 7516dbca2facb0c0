"""Defaults of options from a file, lookalike.toml: the user's, and that of the current folder.

    collection = "pictures"

    [search]
    k = 20

A key is the name of an option without its dashes. `collection` and the options
that name a server stand above the tables and apply to all commands; a table
applies to the command of its name. The command line overrides the environment,
the environment overrides the folder's file, and that overrides the user's file.

A folder may come from somebody else, so its file can set only options that change
a reply: no server, which would receive a token of the environment, no cluster that
runs code, no address, and no option that deletes or writes.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

NAME: Final = "lookalike.toml"
VARIABLE: Final = "LOOKALIKE_CONFIG"
_REACH: Final = ("server", "tls", "ca", "tls-cert", "tls-key", "token-file", "insecure")
_SHARED: Final = ("collection", "collection-name", *_REACH)
# Options that the file of the current folder may set.
_OF_FOLDERS: Final = (
    *("collection", "collection-name", "space", "model", "clustering", "metric", "k", "recall", "nprobe", "exact"),
    *("where", "fields", "label", "limit", "rows", "members", "samples", "sample", "seed", "seeds", "clusters"),
    *("max-distance", "json", "explain", "include-self", "timeout"),
)
# Mutually exclusive options: one on the command line overrides all others of its group in a file.
_EXCLUSIVE: Final = (
    frozenset(["nprobe", "recall", "exact", "list"]),
    frozenset(["json", "csv", "list"]),
)
# Commands with a configuration file of their own, named by --config: it controls access to a server.
_OWN_FILE: Final = ("serve", "route")


@dataclass(frozen=True)
class SettingsFile:
    """Settings of one file: those for all commands, and those of each command's table."""

    path: Path
    shared: Mapping[str, Any]
    commands: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path, known: Collection[str], may_name_servers: bool) -> SettingsFile:
        """Read and validate a file; `known` are the names of commands. click.UsageError describes the mistake."""
        import tomllib  # here, because most users have no file

        try:
            with path.open("rb") as file:
                content = tomllib.load(file)
        except OSError as error:
            raise click.UsageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{path} is not TOML: {error}.") from error
        commands = {name: value for name, value in content.items() if isinstance(value, dict)}
        shared = {name: value for name, value in content.items() if name not in commands}
        for name in shared:
            if name not in _SHARED:
                table = f" Put it into the table of a command, such as [search]: {name} = ..."
                raise click.UsageError(
                    f"{path}: {name} is not a setting for all commands.{_suggestion(name, _SHARED)}{table}"
                )
        for name in commands:
            if name in _OWN_FILE:
                raise click.UsageError(f"{path}: [{name}] has a file of its own: lookalike {name} --config FILE.")
            if name not in known:
                raise click.UsageError(f"{path}: there is no command {name}.{_suggestion(name, known)}")
        if not may_name_servers:
            _check_harmless(path, [shared, *commands.values()])
        return cls(path, shared, commands)

    def defaults(self, command: click.Command, name: str, other: Callable[[], click.Command | None]) -> dict[str, Any]:
        """Return the values for a command, by the spelling of its options.

        `other` returns the unused form of the command; its options are valid but left out. click.UsageError: a key is
        an option of neither form.
        """
        options = _spellings(command)
        own = {**self.shared, **self.commands.get(name, {})}
        strange = [key for key in self.commands.get(name, {}) if key not in options]
        if strange:
            unused = other()
            known = {*options, *(_spellings(unused) if unused is not None else ())}
            for key in strange:
                if key not in known:
                    raise click.UsageError(f"{self.path}: {key} is no option of {name}.{_suggestion(key, known)}")
        return {key: value for key, value in own.items() if key in options}


def _check_harmless(path: Path, tables: Sequence[Mapping[str, Any]]) -> None:
    """Raise click.UsageError if the file of a folder sets an option that only the user's file may set."""
    for name, value in ((name, value) for table in tables for name, value in table.items()):
        if name not in _OF_FOLDERS:
            own = f"{name} is allowed only in your own file, {user_file()}."
            raise click.UsageError(f"{path}: {own} A folder can come from others.")
        if name == "collection" and "://" in str(value):
            raise click.UsageError(f"{path}: collection may be a folder here; an address stands in {user_file()}.")


def _spellings(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command by their names without dashes."""
    return {
        spelled.lstrip("-"): param
        for param in command.params
        if isinstance(param, click.Option)
        for spelled in (*param.opts, *param.secondary_opts)
    }


def defaults_of(
    command: click.Command,
    name: str,
    known: Collection[str],
    args: Sequence[str],
    other: Callable[[], click.Command | None],
) -> dict[str, Any]:
    """Return the defaults of a command's options from the files, by parameter; the folder's file overrides the user's.

    `args` are the words of the command line; defaults that conflict with them are left out. `other` is as in
    `SettingsFile.defaults`.
    """
    found: dict[str, Any] = {}
    for path, is_own in ((user_file(), True), (Path(NAME), False)):
        # A file that the variable names must exist; the others are optional.
        if (is_own and os.environ.get(VARIABLE)) or path.is_file():
            found |= SettingsFile.read(path, known, may_name_servers=is_own).defaults(command, name, other)
    typed = {word.partition("=")[0].lstrip("-") for word in args if word.startswith("--")}
    for group in _EXCLUSIVE:
        if group & typed:
            found = {key: value for key, value in found.items() if key not in group}
    options = _spellings(command)
    return {options[key].name or key: value for key, value in found.items()}


def user_file() -> Path:
    """Return the user's file: LOOKALIKE_CONFIG, or lookalike/lookalike.toml in the configuration folder."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111 - it never fails
    return Path(folder) / "lookalike" / NAME


def _suggestion(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""
