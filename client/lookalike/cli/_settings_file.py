"""Defaults of options in a file, lookalike.toml: the user's, and that of the current folder.

    collection = "pictures"

    [search]
    k = 20

A key is the name of an option without its dashes. `collection` and the options
that name a server stand above the tables and hold for all commands; a table
holds for the command of its name. The command line goes before the environment,
that before the folder's file, and that before the user's.

A folder may come from somebody else, so its file sets only what changes an
answer: no server, where a token of the environment would go, no cluster that
runs code, no address, nothing that deletes or writes.
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
# Options that the current folder's file may set.
_OF_FOLDERS: Final = (
    *("collection", "collection-name", "space", "model", "clustering", "metric", "k", "recall", "nprobe", "exact"),
    *("where", "fields", "label", "limit", "rows", "members", "samples", "sample", "seed", "seeds", "clusters"),
    *("max-distance", "json", "explain", "include-self", "timeout"),
)
# Of these, an option on the command line goes before all others of its group in a file.
_EXCLUSIVE: Final = (
    frozenset(["nprobe", "recall", "exact", "list"]),
    frozenset(["json", "csv", "list"]),
)
# Who may reach a server is decided by its own file, which is named on the command line.
_OWN_FILE: Final = ("serve", "route")


@dataclass(frozen=True)
class SettingsFile:
    """The settings of one file: those for all commands, and those of each command's table."""

    path: Path
    shared: Mapping[str, Any]
    commands: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path, known: Collection[str], may_name_servers: bool) -> SettingsFile:
        """Read and check a file; `known` are the names of commands. click.UsageError says what is wrong, and where."""
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
                raise click.UsageError(f"{path}: {name} is no setting of all commands.{_meant(name, _SHARED)}{table}")
        for name in commands:
            if name in _OWN_FILE:
                raise click.UsageError(f"{path}: [{name}] has a file of its own: lookalike {name} --config FILE.")
            if name not in known:
                raise click.UsageError(f"{path}: there is no command {name}.{_meant(name, known)}")
        if not may_name_servers:
            _check_harmless(path, [shared, *commands.values()])
        return cls(path, shared, commands)

    def defaults(self, command: click.Command, name: str, other: Callable[[], click.Command | None]) -> dict[str, Any]:
        """The values for a command, by the spelling of its options.

        `other` gives the form of the command that is not used, whose options are left out. click.UsageError: a key is
        an option of neither.
        """
        options = _spellings(command)
        own = {**self.shared, **self.commands.get(name, {})}
        strange = [key for key in self.commands.get(name, {}) if key not in options]
        if strange:
            unused = other()
            known = {*options, *(_spellings(unused) if unused is not None else ())}
            for key in strange:
                if key not in known:
                    raise click.UsageError(f"{self.path}: {key} is no option of {name}.{_meant(key, known)}")
        return {key: value for key, value in own.items() if key in options}


def _check_harmless(path: Path, tables: Sequence[Mapping[str, Any]]) -> None:
    """click.UsageError: the file of a folder sets what only the user's own file may."""
    for name, value in ((name, value) for table in tables for name, value in table.items()):
        if name not in _OF_FOLDERS:
            own = f"{name} may stand in your own file alone, {user_file()}."
            raise click.UsageError(f"{path}: {own} A folder can come from others.")
        if name == "collection" and "://" in str(value):
            raise click.UsageError(f"{path}: collection may be a folder here; an address stands in {user_file()}.")


def _spellings(command: click.Command) -> dict[str, click.Option]:
    """The options of a command by their names without dashes."""
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
    """The defaults of a command's options that the files set, by parameter, the folder's before the user's.

    `args` are the words of the command line: what they exclude is left out. `other` is as in `SettingsFile.defaults`.
    """
    found: dict[str, Any] = {}
    for path, is_own in ((user_file(), True), (Path(NAME), False)):
        # The file that the variable names must be there; the others may be.
        if (is_own and os.environ.get(VARIABLE)) or path.is_file():
            found |= SettingsFile.read(path, known, may_name_servers=is_own).defaults(command, name, other)
    typed = {word.partition("=")[0].lstrip("-") for word in args if word.startswith("--")}
    for group in _EXCLUSIVE:
        if group & typed:
            found = {key: value for key, value in found.items() if key not in group}
    options = _spellings(command)
    return {options[key].name or key: value for key, value in found.items()}


def user_file() -> Path:
    """The user's file: LOOKALIKE_CONFIG, or lookalike/lookalike.toml in the folder of settings."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111 - it never fails
    return Path(folder) / "lookalike" / NAME


def _meant(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""
