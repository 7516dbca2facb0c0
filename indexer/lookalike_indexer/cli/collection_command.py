"""The collection of a command: -c/--collection, the first argument, or the environment variable."""

from __future__ import annotations

from collections.abc import Sequence

import click

ENVIRONMENT = "LOOKALIKE_COLLECTION"
HOW = f"as the first argument, by -c/--collection DIR, or by {ENVIRONMENT}"


def _given(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if not value and not context.resilient_parsing:
        raise click.UsageError(f"Give the collection {HOW}.")
    return value


collection_option = click.option(
    "-c",
    "--collection",
    type=click.Path(file_okay=False),
    metavar="DIR",
    envvar=ENVIRONMENT,
    show_envvar=True,
    callback=_given,
    help="The collection's folder or URL; the first argument can name it, too.",
)


class CollectionCommand(click.Command):
    """A command with the option --collection that also accepts the collection as its first argument.

    The first argument is the collection if the option is missing and there is one argument more than the command
    declares.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._with_option(args))

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        return [*pieces[:1], "[DIR]", *pieces[1:]]

    def _with_option(self, args: list[str]) -> list[str]:
        declared = [parameter for parameter in self.params if isinstance(parameter, click.Argument)]
        if any(argument.nargs != 1 for argument in declared):
            return args
        options = {
            name: parameter
            for parameter in self.params
            if isinstance(parameter, click.Option)
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        places, named = _scanned(args, options)
        if "-c" in named or "--collection" in named or len(places) <= len(declared):
            return args
        first = places[0]
        rest = args[:first] + args[first + 1 :]
        # After "--" click reads no options, so put this option first.
        return ["--collection", args[first], *rest]


def _scanned(args: Sequence[str], options: dict[str, click.Option]) -> tuple[list[int], set[str]]:
    """Return the positions of the arguments in a command line, and the options that it contains."""
    places: list[int] = []
    named: set[str] = set()
    number = 0
    while number < len(args):
        word = args[number]
        if word == "--":
            places += range(number + 1, len(args))
            break
        if word.startswith("-") and len(word) > 1:
            is_long = word.startswith("--")
            name = word.partition("=")[0] if is_long else word[:2]
            named.add(name)
            option = options.get(name)
            takes_next = "=" not in word if is_long else len(word) == 2
            if option is not None and not option.is_flag and not option.count and takes_next:
                number += option.nargs
        else:
            places.append(number)
        number += 1
    return places, named
