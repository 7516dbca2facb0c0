"""Command groups that load each command on demand and handle commands that are not installed."""

from __future__ import annotations

import abc
import difflib
import functools
import importlib.util
import itertools
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, Final

import click

from lookalike.cli._catalog import ANALYSES, SECTIONS, SERVED
from lookalike.cli._settings_file import defaults_of

COMMANDS: Final = "lookalike.commands"
# Installation commands by the module or the package of an entry point.
_INSTALL: Final = {
    "lookalike_indexer": "pip install 'lookalike[indexer]'",
    "lookalike_server": "pip install 'lookalike[server]'",
    "lookalike.cli.explore": "pip install 'lookalike[explorer]'",
    "lookalike": "pip install 'lookalike[cli]'",
    "lookalike_benchmarks": "pip install -e '.[dev]' in a checkout of Lookalike",
}


# Modules that the commands of a package need. They are looked up, not imported, since some are large.
_NEEDS: Final = {
    "lookalike_indexer": ("pyarrow", "torch"),
    "lookalike_server": ("pyarrow", "grpc_health"),
    "lookalike.cli.explore": ("starlette",),
}
_BENCH: Final = metadata.EntryPoint("bench", "lookalike_benchmarks.cli:bench", COMMANDS)
# Options of other tools, with the options of this one.
_OTHER_OPTIONS: Final = {"--top-k": "-k", "--topk": "-k", "--limit": "-k", "-n": "-k", "--num": "-k"}

# Phrases of click's errors about numbers, with plainer ones.
_PLAIN_NUMBERS: Final = {
    "is not a valid integer range": "is not a whole number",
    "is not a valid integer": "is not a whole number",
    "is not a valid float range": "is not a number",
    "is not a valid float": "is not a number",
}


class Lazy(click.Group, abc.ABC):
    """A group whose commands are entry points, loaded on demand.

    A command whose packages are not installed is not listed. When it is run, it
    prints how to install them.
    """

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "analyze":
            return analyze
        entry = _entries().get(cmd_name)
        if entry is None:
            return None
        try:
            command = entry.load()
        except (ImportError, AttributeError) as error:
            return _served(cmd_name) or _unavailable(entry, error)
        if not isinstance(command, click.Command):
            return None
        if cmd_name in SERVED and command.epilog is None:
            command.epilog = (
                "With --server HOST:PORT, a server makes the analysis: "
                f"lookalike {cmd_name} --server HOST:PORT --help shows its options."
            )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            name, command, rest = super().resolve_command(ctx, args)
        except click.UsageError as error:
            known = {*_entries(), "analyze"}
            near = difflib.get_close_matches(args[0], known, n=1)
            if not near or "Did you mean" in error.message:
                raise
            raise click.UsageError(f"{error.message.rstrip('.')}. Did you mean {near[0]!r}?", ctx) from error
        if name is None or command is None or isinstance(command, click.Group):
            return name, command, rest
        found, asks_server = command, name in SERVED and _names_server(rest)
        if asks_server:
            command = _served(name) or command
        # The other form of an analysis is loaded only if a settings file has options of it.
        ctx.default_map = {
            name: defaults_of(command, name, _entries(), rest, lambda: found if asks_server else _served(name))
        }
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            meant = _OTHER_OPTIONS.get(error.option_name)
            context = error.ctx
            if meant is None or context is None or not any(meant in one.opts for one in context.command.params):
                raise
            raise click.UsageError(f"No such option: {error.option_name}. Use {meant}.", context) from error
        except click.MissingParameter as error:
            described = error.param.help if isinstance(error.param, click.Option) and not error.message else None
            if not described:
                raise
            # The help of an option may end with its default or other remarks, after two spaces.
            told = described.partition("  ")[0]
            raise click.MissingParameter(told, error.ctx, error.param, error.param_hint, error.param_type) from error
        except click.BadParameter as error:
            plain = error.message
            for unclear, clear in _PLAIN_NUMBERS.items():
                plain = plain.replace(unclear, clear)
            if plain == error.message:
                raise
            raise click.BadParameter(plain, error.ctx, error.param, error.param_hint) from error
        except ModuleNotFoundError as error:
            # Commands import large modules only when they run.
            entry = _entries().get(ctx.invoked_subcommand or "")
            if entry is None:
                raise
            raise click.ClickException(_sentence(entry, error)) from error

    @abc.abstractmethod
    def sections(self) -> dict[str, dict[str, str]]:
        """Return the commands that can run here, by section, with their summaries."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in self.sections().values() for name in section]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections = self.sections()
        widest = max((len(name) for section in sections.values() for name in section), default=0)
        for title, commands in sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), summary) for name, summary in commands.items()])


class Commands(Lazy):
    """All commands, including the analyses under their own names."""

    def sections(self) -> dict[str, dict[str, str]]:
        sections = {title: _runnable(commands) for title, commands in SECTIONS.items()}
        known = {name for commands in SECTIONS.values() for name in commands} | ANALYSES.keys()
        others = {name: entry.value for name, entry in sorted(_entries().items()) if name not in known}
        if others:
            sections["Other"] = {**sections["Other"], **others}
        if not _runnable(ANALYSES):
            del sections["Analyze"]
        return {title: commands for title, commands in sections.items() if commands}

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        missing = sorted({_install(entry) for entry in _entries().values() if not _can_run(entry)})
        if missing:
            formatter.write_paragraph()
            formatter.write_text(f"More commands come with: {', '.join(missing)}.")
        super().format_epilog(ctx, formatter)


class Analyses(Lazy):
    """The analyses of a collection."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) if cmd_name in ANALYSES else None

    def sections(self) -> dict[str, dict[str, str]]:
        return {"Analyses": _runnable(ANALYSES)}


def _runnable(commands: Mapping[str, str]) -> dict[str, str]:
    entries = _entries()
    return {
        name: summary
        for name, summary in commands.items()
        if name == "analyze" or name in SERVED or (name in entries and _can_run(entries[name]))
    }


def _can_run(entry: metadata.EntryPoint) -> bool:
    package = entry.module.partition(".")[0]
    needs = _NEEDS.get(entry.module) or _NEEDS.get(package) or ()
    return all(_is_installed(name) for name in (package, *needs))


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


@functools.cache
def _entries() -> dict[str, metadata.EntryPoint]:
    entries = {entry.name: entry for entry in metadata.entry_points(group=COMMANDS)}
    # Benchmarks come with a checkout, not with the wheel.
    if _is_installed("lookalike_benchmarks"):
        entries.setdefault("bench", _BENCH)
    return entries


def _served(name: str) -> click.Command | None:
    """Return the command that asks a server for an analysis; None if there is none of this name."""
    if name not in SERVED:
        return None
    # This imports the client, which most commands do not need.
    from lookalike.cli._served_analyses import COMMANDS_BY_NAME

    return COMMANDS_BY_NAME[name]


def _names_server(args: Sequence[str]) -> bool:
    """Return True if --server is among the options of a command line."""
    options = itertools.takewhile(lambda word: word != "--", args)
    return any(word == "--server" or word.startswith("--server=") for word in options)


def _unavailable(entry: metadata.EntryPoint, error: Exception) -> click.Command:
    """Return a command that prints why it cannot be loaded."""

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
    """Return the command that installs the package of a command."""
    package = entry.module.partition(".")[0]
    if package == "lookalike_indexer" and entry.name in ANALYSES:
        return "pip install 'lookalike[experiments]'"
    for known in (entry.module, package):
        if known in _INSTALL:
            return _INSTALL[known]
    return f"pip install '{entry.dist.name if entry.dist is not None else package}'"


def _sentence(entry: metadata.EntryPoint, error: Exception) -> str:
    missing = error.name.partition(".")[0] if isinstance(error, ImportError) and error.name else entry.value
    return f"`lookalike {entry.name}` needs {missing}, which is not installed here: {_install(entry)}"


_NAMES: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.command(cls=Analyses, context_settings=_NAMES)
def analyze() -> None:
    """Analyze the collection: clusters against labels, oddballs, maps, explanations. `--out DIR` saves charts."""


@click.command(
    cls=Commands,
    context_settings=_NAMES,
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage. LOOKALIKE_DEBUG=1 shows the traceback of a failure.",
)
@click.version_option(package_name="lookalike", message="lookalike %(version)s")
def commands() -> None:
    """Find images that look alike, group them, and explain the groups."""
