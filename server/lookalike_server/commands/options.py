"""Options of `lookalike serve` that can also be set in the environment and in a file.

The order of precedence is click's: the option, the environment, the file (as `default_map`), the
default.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import click
from click.core import ParameterSource

# The environment variable of --max-k is LOOKALIKE_SERVE_MAX_K.
_ENVIRONMENT = "LOOKALIKE_SERVE_"


class Setting(click.Option):
    """An option with an environment variable and a key of the configuration file.

    `section` is the table of the file that contains the key; "" for none.
    """

    def __init__(self, *arguments: Any, section: str = "", **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.section = section
        self.envvar = f"{_ENVIRONMENT}{self.word.upper()}"

    @property
    def option(self) -> str:
        """Option as typed: --max-k."""
        return next(name for name in self.opts if name.startswith("--"))

    @property
    def word(self) -> str:
        """Name of the option as one word: max_k."""
        return self.option.removeprefix("--").replace("-", "_")

    @property
    def key(self) -> str:
        """Key of the configuration file: limits.max_k."""
        return f"{self.section}.{self.word}" if self.section else self.word

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return str(self.envvar)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Return where a wrong value was given."""
        given = ctx is not None and self.name is not None and ctx.get_parameter_source(self.name)
        if self.variable in os.environ and given is not ParameterSource.COMMANDLINE:
            return f"the environment's {self.variable}"
        return super().get_error_hint(ctx)


class Positional(click.Argument):
    """An argument with an environment variable and a key, both named after it."""

    is_flag = False

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.key = str(self.name)
        self.variable = f"{_ENVIRONMENT}{self.key.upper()}"
        self.envvar = self.variable


setting = functools.partial(click.option, cls=Setting)

# Parameters that the environment and a file can set.
Settable = Setting | Positional


def settable(command: click.Command) -> dict[str, Settable]:
    """Return a command's settable parameters by key."""
    return {one.key: one for one in command.params if isinstance(one, Settable) and one.expose_value}


class Serve(click.Command):
    """A command whose help groups the options by section."""

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
