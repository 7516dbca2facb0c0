"""`lookalike results`: list or show stored results, in a folder or on a server.

Both return the same dicts; a function of the entry point group "lookalike.results"
builds them for a folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

import lookalike
from lookalike.cli._collection_folder import collection_option, read_folder, requested_folder
from lookalike.cli._experiment_text import as_data, cell, shown
from lookalike.cli._fields import to_csv
from lookalike.cli._options import DEFAULT_SERVER, json_option, open_client, server_options
from lookalike.cli._text import printable, table, to_json

RESULTS: Final = "lookalike.results"


@click.command(short_help="List the stored results of experiments, or show one.")
@click.argument("folder", metavar="[DIR]", required=False)
@click.argument("name", metavar="[KIND/NAME]", default="")
@collection_option
@server_options(default=None)
@click.option("--rows", type=click.IntRange(min=0), default=20, show_default=True, help="Rows of each table to print.")
@json_option
@click.option("--csv", "as_csv", metavar="TABLE", help="Print this table of the result KIND/NAME as CSV.")
@click.pass_context
def results(
    ctx: click.Context,
    folder: str | None,
    name: str,
    collection: str | None,
    server: str | None,
    tls: bool,
    ca: str | None,
    rows: int,
    as_json: bool,
    as_csv: str | None,
) -> None:
    """List the stored results of a collection, or show the result KIND/NAME.

    The collection is in DIR, or on a server (127.0.0.1:50051 by default).
    Experiments store their result with --keep.
    """
    if folder and not name and "://" not in folder and not Path(folder).is_dir():
        # A single word that is no folder is the result's name.
        name, folder = folder, None
    if as_csv and (as_json or not name):
        raise click.UsageError("Use --json or --csv, not both." if as_json else "--csv needs the result: KIND/NAME.")
    folder = requested_folder(ctx, collection, folder)
    if folder is not None:
        found = read_folder(RESULTS, folder, name)
    else:
        with open_client(server or DEFAULT_SERVER, tls, ca) as client:
            found = _of_server(client, name)
    if as_csv:
        click.echo(_table_as_csv(found["tables"], as_csv), nl=False)
    elif as_json:
        click.echo(to_json(found))
    else:
        click.echo(_shown(found, rows) if name else _listed(found))


def _table_as_csv(tables: dict[str, list[dict[str, Any]]], name: str) -> str:
    if name not in tables:
        raise click.UsageError(f"The result has no table {name!r}; it has {', '.join(tables) or 'none'}.")
    return to_csv(list(tables[name][0]) if tables[name] else [], tables[name])


def _of_server(client: lookalike.Client, name: str) -> Any:
    if name:
        return _as_data(name, client.result(name))
    return [
        {
            "name": one.name,
            "kind": one.kind,
            "settings": dict(one.settings),
            "figures": dict(one.figures),
            "findings": list(one.findings),
            "tables": dict(one.tables),
            "out_of_date": one.out_of_date,
        }
        for one in client.results()
    ]


def _as_data(name: str, found: lookalike.Experiment) -> dict[str, Any]:
    return {"name": name, **as_data(found), "out_of_date": found.out_of_date}


def _listed(found: list[dict[str, Any]]) -> str:
    if not found:
        return "No result is stored; experiments store theirs with --keep NAME."
    rows = [
        (one["name"], ", ".join(f"{name} {length}" for name, length in one["tables"].items()), _state(one))
        for one in found
    ]
    return table(("result", "rows of its tables", "state"), rows)


def _shown(found: dict[str, Any], rows: int) -> str:
    settings = ", ".join(f"{name} {cell(value)}" for name, value in found["settings"].items())
    heading = f"{printable(found['name'])} ({settings or 'no settings'}): {_state(found)}"
    return "\n\n".join(part for part in (heading, shown(found, rows)) if part)


def _state(one: dict[str, Any]) -> str:
    return "out of date: the collection has changed since" if one["out_of_date"] else "up to date"
