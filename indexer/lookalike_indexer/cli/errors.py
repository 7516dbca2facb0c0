"""Turn the indexer's errors into what click shows: one sentence and an exit code."""

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
    """Decorate a command: UsageError exits with 2, every other IndexerError with 1."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except UsageError as error:
            raise click.UsageError(harmless(str(error))) from error
        except IndexerError as error:
            raise click.ClickException(harmless(str(error))) from error

    return run
