"""Options of `lookalike serve`, each of which can also stand in the environment and in a file.

An option wins over the environment, that over the file, and that over the
default: click's own order, where the file is its `default_map`.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import click
from click.core import ParameterSource

# --max-k is LOOKALIKE_SERVE_MAX_K in the environment.
_ENVIRONMENT = "LOOKALIKE_SERVE_"


class Setting(click.Option):
    """An option with a variable of the environment, and a key of a configuration file.

    `section` is the table of the file that has the key; "" for none.
    """

    def __init__(self, *arguments: Any, section: str = "", **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.section = section
        self.envvar = f"{_ENVIRONMENT}{self.word.upper()}"

    @property
    def option(self) -> str:
        """The option as people write it: --max-k."""
        return next(name for name in self.opts if name.startswith("--"))

    @property
    def word(self) -> str:
        """The option's name as one word: max_k."""
        return self.option.removeprefix("--").replace("-", "_")

    @property
    def key(self) -> str:
        """The key of a configuration file: limits.max_k."""
        return f"{self.section}.{self.word}" if self.section else self.word

    @property
    def variable(self) -> str:
        """The variable of the environment."""
        return str(self.envvar)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Where a wrong value stands."""
        given = ctx is not None and self.name is not None and ctx.get_parameter_source(self.name)
        if self.variable in os.environ and given is not ParameterSource.COMMANDLINE:
            return f"the environment's {self.variable}"
        return super().get_error_hint(ctx)


class Positional(click.Argument):
    """An argument with a variable of the environment and a key, both by its name."""

    is_flag = False

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.key = str(self.name)
        self.variable = f"{_ENVIRONMENT}{self.key.upper()}"
        self.envvar = self.variable


setting = functools.partial(click.option, cls=Setting)

# What the environment and a file can set.
Settable = Setting | Positional


def settable(command: click.Command) -> dict[str, Settable]:
    """All of it that a command has, by key."""
    return {one.key: one for one in command.params if isinstance(one, Settable) and one.expose_value}


class Serve(click.Command):
    """A command whose help lists the options of each section apart."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                section = parameter.section if isinstance(parameter, Setting) else ""
                sections.setdefault(section, []).append(record)
        for section, records in sections.items():
            with formatter.section(section.capitalize() or "Options"):
                formatter.write_dl(records)
