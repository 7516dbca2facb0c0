"""Convert the indexer's errors to click's: one sentence and an exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

from lookalike_indexer.errors import IndexerError, UsageError
from lookalike_indexer.text import harmless

P = ParamSpec("P")
R = TypeVar("R")


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command to exit with 2 on UsageError, and with 1 on any other IndexerError."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except UsageError as error:
            raise click.UsageError(harmless(str(error))) from error
        except IndexerError as error:
            raise click.ClickException(harmless(str(error))) from error

    return run
