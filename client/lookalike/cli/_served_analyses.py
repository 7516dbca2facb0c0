"""Analyses that run on a server: `lookalike matrix --server HOST:PORT`.

Each command calls the client's method for the analysis, with the options of the command for a folder.
It needs neither the indexer nor the collection's files. Options that are not given take the server's
defaults, which equal those of the commands.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, Final

import click

import lookalike
from lookalike.cli._catalog import ANALYSES, SECTIONS
from lookalike.cli._class_map import class_map_option
from lookalike.cli._experiment_text import as_data, shown, table_as_csv
from lookalike.cli._fields import where_option
from lookalike.cli._options import json_option, open_client, server_options
from lookalike.cli._text import to_json

Ask = Callable[..., lookalike.Experiment]
Decorator = Callable[[Any], Any]

COMMANDS_BY_NAME: Final[dict[str, click.Command]] = {}
# Timeout in seconds. Analyses of a large collection take minutes, other calls milliseconds.
_TIMEOUT_S: Final = 600.0
_SUMMARIES: Final = {**ANALYSES, **{name: text for commands in SECTIONS.values() for name, text in commands.items()}}

_clustering = click.option(
    "--clustering", metavar="SPACE/NAME", help="The clustering.  [default: the current one of the default space]"
)
_space = click.option("--space", metavar="NAME", help="The embedding space.  [default: the default]")
_model = click.option("--model", metavar="NAME", help="The model.  [default: that of the default space]")
_seed = click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of all random choices.")
_sample = click.option(
    "--sample", type=click.IntRange(min=2), help="Work on at most this many images, sampled at random."
)
_label = click.option("--label", metavar="LABEL", help="Only images of this class.  [default: all]")
_limit = click.option("--limit", type=click.IntRange(min=1), help="Rows to list, at most.")
_flag = click.option("--flag", metavar="NAME", help="Only this flag, such as blurry.  [default: all]")
_neighbors = click.option("-k", "neighbors", type=click.IntRange(min=1), help="Neighbors of each image.")


def _as_distance(ctx: click.Context, option: click.Parameter, value: str) -> float | None:
    """Parse a distance; None for "auto", the valley of the distances."""
    if value == "auto":
        return None
    try:
        distance = float(value)
    except ValueError:
        distance = -1.0
    if not 0 <= distance < float("inf"):
        raise click.BadParameter(f"{value!r} is neither a distance of 0 or more nor auto.", ctx, option)
    return distance


def _names(ctx: click.Context, option: click.Parameter, value: str | None) -> list[str] | None:
    """Parse a list of names such as --models A,B."""
    return None if value is None else [name.strip() for name in value.split(",") if name.strip()]


def _as_k(ctx: click.Context, option: click.Parameter, value: str) -> int | None:
    """Parse a number of groups; None for "auto", with which the server chooses."""
    return None if value == "auto" else click.IntRange(min=2)(value, option, ctx)


_max_distance = click.option(
    "--max-distance",
    callback=_as_distance,
    default="auto",
    show_default=True,
    metavar="auto|D",
    help="Images up to this distance are near-duplicates; auto finds the valley of the distances.",
)


class _ServedCommand(click.Command):
    """A command that explains, for an option that only the folder's form has, how to use that form."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            told = f"{error.option_name} is no option of {self.name} with --server."
            raise click.UsageError(f"{told} {self._of_folder()}", ctx) from error
        except click.UsageError as error:
            if not error.message.startswith("Got unexpected extra argument"):
                raise
            raise click.UsageError(f"{error.message.rstrip('.')}. {self._of_folder()}", ctx) from error

    def _of_folder(self) -> str:
        needs = (
            "" if importlib.util.find_spec("lookalike_indexer") else " It needs pip install 'lookalike[experiments]'."
        )
        return f"To analyze a folder, use: lookalike {self.name} -c DIR.{needs}"


def _served(name: str, ask: Ask, tables: str, *options: Decorator) -> None:
    """Register a command for a client's method, which receives the values of `options` by name.

    `tables` lists the tables of the result, separated by spaces.
    """

    def run(
        server: str,
        tls: bool,
        ca: str | None,
        rows: int,
        as_json: bool,
        as_csv: str | None,
        **given: Any,
    ) -> None:
        if as_json and as_csv:
            raise click.UsageError("Use --json or --csv, not both.")
        with open_client(server, tls, ca) as client:
            wanted = {option: value for option, value in given.items() if value is not None}
            found = ask(client, **wanted)
        if as_csv:
            click.echo(table_as_csv(found, as_csv), nl=False)
        else:
            click.echo(to_json(as_data(found)) if as_json else shown(as_data(found), rows))

    command: Any = run
    shared: Sequence[Decorator] = (
        click.option("--rows", type=click.IntRange(min=0), default=20, show_default=True, help="Rows of a table."),
        click.option(
            "--csv", "as_csv", type=click.Choice(tables.split()), help="Print this table of the result as CSV."
        ),
        json_option,
    )
    for option in reversed((*options, server_options(timeout=_TIMEOUT_S), *shared)):
        command = option(command)
    summary = _SUMMARIES[name]
    COMMANDS_BY_NAME[name] = click.command(
        name,
        cls=_ServedCommand,
        short_help=summary,
        help=f"{summary} The server makes the analysis of the collection that it serves.\n\n"
        "Charts (--out) and stored results (--keep) come from the collection's folder: use -c DIR there.",
    )(command)


_served(
    "classes",
    lookalike.Client.class_accuracies,
    "accuracies best unmapped",
    click.option("--models", callback=_names, metavar="A,B", help="The models.  [default: all that keep predictions]"),
    click.option("--metric", type=click.Choice(["top1", "top5"]), help="Correct predictions.  [default: top1]"),
    click.option("--best", type=click.IntRange(min=1), help="Best classes of each model to compare."),
    class_map_option,
)
_served("matrix", lookalike.Client.class_matrix, "counts labels clusters secondary", _clustering, where_option)
_served("oddballs", lookalike.Client.oddballs, "oddballs typical labels", _clustering, _label, _limit, where_option)
_served(
    "mistakes",
    lookalike.Client.mistakes,
    "confusion labels mistakes unmapped",
    _model,
    _label,
    _limit,
    class_map_option,
)
_served(
    "split",
    lookalike.Client.split_label,
    "subclusters members around neighbours ks",
    click.argument("label"),
    click.option("-k", "--k", callback=_as_k, default="auto", show_default=True, help="The number of groups."),
    _space,
    _seed,
)
_served(
    "explain",
    lookalike.Client.explain,
    "predictions nearest clusters odd",
    click.argument("key"),
    _space,
    _neighbors,
    class_map_option,
)
_served(
    "interpret",
    lookalike.Client.interpret_clusters,
    "clusters samples",
    _clustering,
    click.option("--samples", type=click.IntRange(1, 100), help="Images of each cluster."),
    _seed,
)
_served(
    "choose-k",
    lookalike.Client.choose_k,
    "k rules routes suggestions",
    _space,
    click.option("--from", "first", type=click.IntRange(min=2), help="Fewest clusters."),
    click.option("--to", "last", type=click.IntRange(min=2), help="Most clusters."),
    click.option("--seeds", type=click.IntRange(min=2), help="Runs per k, each with another seed."),
    _sample,
    _seed,
)
_served(
    "dendrogram",
    lookalike.Client.dendrogram,
    "classes merges misses",
    _model,
    click.option("--clusters", type=click.IntRange(min=2), help="The number of groups.  [default: chosen]"),
    click.option("--most", type=click.IntRange(min=3), help="The most frequent classes that the tree has."),
)
_served(
    "map",
    lookalike.Client.map,
    "map",
    _space,
    click.option("--method", type=click.Choice(["pca", "tsne", "umap"]), help="Projection.  [default: pca]"),
    _sample,
    _seed,
    where_option,
)
_served(
    "compare",
    lookalike.Client.compare,
    "scores costs",
    click.option("--spaces", callback=_names, metavar="A,B", help="The spaces.  [default: all]"),
    click.option("--strategies", callback=_names, metavar="A,B", help="The ways to cluster.  [default: all]"),
    click.option("--clusters", type=click.IntRange(min=2), help="The number of clusters."),
    _sample,
    _seed,
)
_served("evolution", lookalike.Client.evolution, "steps clusters labels images map", _model, _neighbors, _sample, _seed)
_served(
    "duplicates",
    lookalike.Client.duplicates,
    "groups images",
    _space,
    _max_distance,
    click.option("--exact-bytes", is_flag=True, help="Only files of the same bytes; needs no graph."),
    _limit,
)
_served(
    "leaks",
    lookalike.Client.leaks,
    "splits pairs_of_splits leaks",
    click.option("--split", required=True, metavar="COLUMN", help="The column that says the split: an attribute."),
    _space,
    _max_distance,
    _limit,
)
_served(
    "label-issues", lookalike.Client.label_issues, "issues labels pairs scores",
    _space,
    _limit,
    click.option("--no-predictions", "predictions", is_flag=True, flag_value=False, default=True,
                 help="Let the neighbors decide alone, also where there are predictions."),
    click.option("--scores", is_flag=True, help="Add a table with the score of every labeled image."),
)  # fmt: skip


_served(
    "sample",
    lookalike.Client.sample,
    "images",
    click.option("-n", "n", required=True, type=click.IntRange(min=1), metavar="N", help="Images to choose."),
    _space,
    click.option(
        "--among", type=click.IntRange(min=1), help="Choose among at most this many images, sampled at random."
    ),
    _seed,
)
_served("quality", lookalike.Client.quality, "flags images", _flag, _limit, where_option)
