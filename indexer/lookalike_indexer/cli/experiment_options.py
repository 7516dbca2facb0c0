"""Shared parts of the experiment commands: options, the view, printed output, and storage of results."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lookalike_indexer.cli.collection_command import collection_option
from lookalike_indexer.collection.layout import checked_name
from lookalike_indexer.errors import UsageError
from lookalike_indexer.text import aligned, printable
from lookalike_indexer.threads import sleep_while_waiting

if TYPE_CHECKING:
    import pyarrow as pa

    from lookalike_indexer.experiments.result import Result
    from lookalike_indexer.experiments.view import View

F = TypeVar("F", bound=Callable[..., Any])


def _fit(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Return a valid name for a result. Runs before any work, so that an error appears at once."""
    from lookalike_indexer.collection.layout import checked_name
    from lookalike_indexer.errors import UsageError

    try:
        return None if value is None else checked_name(value, "result")
    except UsageError as error:
        raise click.UsageError(str(error)) from error


def checked_keep(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Return a valid name for a result. Runs before any work, so that an error appears at once."""
    try:
        return None if value is None else checked_name(value, "result")
    except UsageError as error:
        raise click.UsageError(str(error)) from error


clustering_option = click.option(
    "--clustering",
    default="",
    metavar="SPACE/NAME",
    help="The clustering.  [default: the current one of the default space]",
)
space_option = click.option("--space", default="", metavar="NAME", help="The embedding space.  [default: the default]")
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=1234, show_default=True, help="Seed of all random choices."
)
class_names_option = click.option(
    "--class-names",
    default="",
    metavar="FILE|imagenet",
    help="The names of the classes of one's own network: a line for each, or JSON; imagenet for ImageNet's 1,000. "
    "[default: those stored with the model]",
)
class_map_option = click.option(
    "--class-map",
    "class_map_file",
    type=click.Path(),
    metavar="FILE",
    help="CSV of label and class (a name or an index), if the labels are not named as the model's classes are.",
)
where_option = click.option(
    "--where",
    default="",
    metavar="FILTER",
    help="Only images that match, such as: \"split = 'test' and price < 20\".",
)
sample_option = click.option(
    "--sample",
    type=click.IntRange(min=2),
    default=4000,
    show_default=True,
    help="Work on at most this many images, sampled at random.",
)
out_option = click.option(
    "--out",
    type=click.Path(),
    metavar="DIR",
    help="Save charts in this folder; it is created if it does not exist, and files of the same names are replaced.",
)
keep_option = click.option(
    "--keep",
    metavar="NAME",
    callback=_fit,
    help="Store the result in the collection under this name, as a new generation.",
)
# The context key of the table that `for_programs` prints as CSV.
_CSV = "lookalike.csv"


def _store_csv(context: click.Context, option: click.Parameter, value: str | None) -> None:
    context.meta[_CSV] = value


def _json_or_csv(context: click.Context, option: click.Parameter, value: bool) -> bool:
    """Return whether the output is for a program: JSON, or a table as CSV."""
    if value and context.meta.get(_CSV):
        raise click.UsageError("Use --json or --csv, not both.")
    return value or context.meta.get(_CSV) is not None


json_option = click.option("--json", "as_json", is_flag=True, callback=_json_or_csv, help="Print the result as JSON.")


def csv_option(*tables: str) -> Callable[[F], F]:
    """Add --csv, whose choices are a result's tables. It also sets `as_json` of `json_option`."""
    return click.option(
        "--csv",
        type=click.Choice(tables),
        callback=_store_csv,
        is_eager=True,  # read before --json
        expose_value=False,
        help="Print this table of the result as CSV.",
    )


def experiment_options(command: F) -> F:
    """Add --collection, --out and --json, which every experiment that draws images has."""
    for option in (json_option, out_option, collection_option):
        command = option(command)
    return command


def named_list(text: str) -> list[str]:
    """Return the names in an option such as --models A,B. The list is empty for an empty text."""
    return [name.strip() for name in text.split(",") if name.strip()]


def open_view(collection: str, class_names: str = "") -> View:
    """Open a view of a collection's newest generation, with the class names of --class-names.

    Raise NotFoundError if the collection does not exist. Raise UsageError if the class names cannot be read, or if no
    model has this number of classes.
    """
    sleep_while_waiting()
    from lookalike_indexer.embedding.class_names_file import read_class_names

    names = read_class_names(class_names) if class_names else None
    from lookalike_indexer.collection.reader import CollectionReader
    from lookalike_indexer.experiments.view import View

    view = View(CollectionReader.open(collection))
    if names is not None:
        view.call_classes(names)
    return view


def keep_result(view: View, result: Result, name: str | None, as_json: bool = False) -> None:
    """Store a result if it has a name, and print where; see `stored_results.store_result`."""
    if name is None:
        return
    from lookalike_indexer.collection.spec import digest_of
    from lookalike_indexer.experiments import stored_results

    if view.given_class_names is not None:
        # Class names affect the result, so they are part of its settings.
        settings = {**result.settings, "class_names": digest_of(view.given_class_names)}
        result = dataclasses.replace(result, settings=settings)
    generation = stored_results.store_result(view.reader, name, result).generation
    click.echo(f"Kept as {result.kind}/{name} in generation {generation}.", err=as_json)


def as_data(result: Result) -> dict[str, Any]:
    """Return a result as a JSON-compatible dictionary: tables as lists of rows, numbers that are not finite as null."""
    return {
        "kind": result.kind,
        "settings": dict(result.settings),
        "figures": plain(dict(result.figures)),
        "findings": list(result.findings),
        "tables": {name: plain(table.to_pylist()) for name, table in result.tables.items()},
    }


def requested_csv() -> str | None:
    """Return the table that --csv names, None without --csv."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(_CSV)


def for_programs(result: Result) -> str:
    """Return `as_data` as strict JSON, or the --csv table as CSV. Raise UsageError if the table does not exist."""
    name = requested_csv()
    if name is None:
        return json.dumps(as_data(result), indent=1, allow_nan=False)
    if name not in result.tables:
        raise UsageError(f"The result has no table {name!r}; it has {', '.join(result.tables)}.")
    return as_csv(result.tables[name]).rstrip("\n")


def as_csv(table: pa.Table) -> str:
    """Return a table as CSV, with null as an empty cell and lists as JSON."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(table.column_names)
    for batch in table.to_batches(max_chunksize=10_000):
        columns = [plain(column.to_pylist()) for column in batch.columns]
        writer.writerows([_cell(value) for value in row] for row in zip(*columns, strict=True))
    return written.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else value


def plain(value: Any) -> Any:
    """Return a value in which None replaces every float that JSON cannot represent."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def findings(result: Result) -> str:
    """Return the findings, one sentence a line."""
    return "\n".join(printable(finding) for finding in result.findings)


def shown(table: pa.Table, columns: Sequence[str], most: int = 30, metric: object = "") -> str:
    """Return columns of a table's first rows as aligned text. A last line counts the rows that are not shown.

    The headings of distances and silhouettes include `metric`, which the result was measured with.
    """
    from lookalike_indexer.collection.metrics import heading

    rows = table.slice(0, most).select(list(columns)).to_pydict()
    headings = [heading(column, metric) for column in columns]
    text = aligned(headings, list(zip(*rows.values(), strict=True)))
    left = table.num_rows - most
    return text if left <= 0 else f"{text}\n... and {left} more; --json has all."


def print_all(*parts: str) -> None:
    """Print the parts that are not empty, separated by empty lines."""
    click.echo("\n\n".join(part for part in parts if part))
