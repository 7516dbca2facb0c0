"""The group of all commands: each is loaded when it is needed, and may be missing."""

from __future__ import annotations

import functools
from importlib import metadata
from typing import Any, Final

import click

COMMANDS: Final = "lookalike.commands"
# Commands that look into a collection; some need libraries that indexing does not.
_EXPERIMENTS: Final = (
    "show",
    "classes",
    "matrix",
    "oddballs",
    "split",
    "interpret",
    "choose-k",
    "dendrogram",
    "map",
    "compare",
    "mistakes",
    "duplicates",
    "leaks",
    "label-issues",
    "quality",
    "sample",
    "sort",
    "explain",
    "evolution",
    "report",
)
# The order of the help page: first what makes a collection, then what asks it.
_ORDER: Final = (
    "index",
    "embed",
    "cluster",
    "build",
    "import",
    "graph",
    "attach",
    "serve",
    "explore",
    "search",
    "images",
    "clusters",
    *_EXPERIMENTS,
    "results",
    "export",
    "info",
    "verify",
    "rejects",
    "relocate",
    "parts",
    "set",
    "remove",
    "compact",
    "gc",
    "token",
    "reload",
    "doctor",
    "completion",
)
# How to get what a command needs, by the module or the package of its entry point.
_INSTALL: Final = {
    "lookalike_indexer": "pip install 'lookalike[indexer]'",
    "lookalike_server": "pip install 'lookalike[server]'",
    "lookalike.cli.explore": "pip install 'lookalike[explorer]'",
    "lookalike": "pip install 'lookalike[cli]'",
    "lookalike_benchmarks": "pip install -e '.[dev]' in a checkout of Lookalike",
}


class Commands(click.Group):
    """A group whose commands are entry points.

    A command whose packages are not installed is listed all the same, and says
    what to install.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        names = _entries()
        return [name for name in _ORDER if name in names] + sorted(names.keys() - set(_ORDER))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _entries().get(cmd_name)
        if entry is None:
            return None
        try:
            command = entry.load()
        except (ImportError, AttributeError) as error:
            return _unavailable(entry, error)
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            # Commands import what is heavy only when they run.
            entry = _entries().get(ctx.invoked_subcommand or "")
            if entry is None:
                raise
            raise click.ClickException(_sentence(entry, error)) from error


@functools.cache
def _entries() -> dict[str, metadata.EntryPoint]:
    return {entry.name: entry for entry in metadata.entry_points(group=COMMANDS)}


def _unavailable(entry: metadata.EntryPoint, error: Exception) -> click.Command:
    """A command in the place of one that cannot be loaded, which says why."""

    def explain() -> None:
        raise click.ClickException(_sentence(entry, error)) from error

    return click.Command(
        entry.name,
        callback=explain,
        short_help=f"(not installed: {_install(entry)})",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


def _install(entry: metadata.EntryPoint) -> str:
    """What to do to have a command."""
    package = entry.module.partition(".")[0]
    if package == "lookalike_indexer" and entry.name in _EXPERIMENTS:
        return "pip install 'lookalike[experiments]'"
    for known in (entry.module, package):
        if known in _INSTALL:
            return _INSTALL[known]
    return f"pip install '{entry.dist.name if entry.dist is not None else package}'"


def _sentence(entry: metadata.EntryPoint, error: Exception) -> str:
    missing = error.name.partition(".")[0] if isinstance(error, ImportError) and error.name else entry.value
    return f"`lookalike {entry.name}` needs {missing}, which is not installed here: {_install(entry)}"


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage. LOOKALIKE_DEBUG=1 shows the traceback of a failure.",
)
@click.version_option(package_name="lookalike", message="lookalike %(version)s")
def commands() -> None:
    """Which images look like this one, which groups are there, and why."""
