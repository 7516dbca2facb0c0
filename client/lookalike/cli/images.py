"""`lookalike images`: list images, all or those that match a filter.

A folder and a server return the same dict; a function of the entry point group
"lookalike.images" builds it for a folder.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import Any, Final

import click

import lookalike
from lookalike.cli._collection_folder import collection_option, read_folder, requested_folder
from lookalike.cli._fields import names_of, plain_row, shown, to_csv, where_option
from lookalike.cli._options import DEFAULT_SERVER, json_option, open_client, server_options
from lookalike.cli._text import table, to_json

IMAGES: Final = "lookalike.images"
_COLUMNS: Final = ("id", "key", "label", "uri", "width", "height")
# Columns that people cannot read: the perceptual hash of `lookalike quality`.
_HIDDEN: Final = ("phash",)


@click.command(short_help="List the stored images, all or those that match a filter.")
@click.argument("folder", metavar="[DIR]", required=False)
@click.option("--label", default="", help="List the images of this label only.")
@where_option
@click.option(
    "--fields",
    default="all",
    show_default=True,
    metavar="A,B,...|all|none",
    help="Show these columns of each image, or all attributes. The table has phash, a number of 64 bits, only by name.",
)
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="Images to list, at most.")
@collection_option
@server_options(default=None)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, which `lookalike attach` reads.")
@click.pass_context
def images(
    ctx: click.Context,
    folder: str | None,
    label: str,
    where: str | None,
    fields: str,
    limit: int,
    collection: str | None,
    server: str | None,
    tls: bool,
    ca: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List the images of a collection by ascending id, all or those that match a filter.

    The collection is in DIR, or on a server (127.0.0.1:50051 by default).
    """
    if as_json and as_csv:
        raise click.UsageError("Use --json or --csv, not both.")
    folder, names = requested_folder(ctx, collection, folder), [] if fields == "none" else names_of(fields)
    if folder is not None:
        found = read_folder(IMAGES, folder, label, where, names, limit)
    else:
        with open_client(server or DEFAULT_SERVER, tls, ca) as client:
            found = _of_server(client, label, where, names, limit)
    if as_csv:
        click.echo(to_csv([*_COLUMNS, *_attributes(found)], found["images"]), nl=False)
    else:
        click.echo(to_json(found) if as_json else _as_text(found, _HIDDEN if fields == "all" else ()))


def _of_server(
    client: lookalike.Client, label: str, where: str | None, fields: list[str], limit: int
) -> dict[str, Any]:
    total = 0
    listed: list[dict[str, Any]] = []
    for page in client.images(label=label, where=where, fields=fields).pages():
        total = page.total
        listed += [plain_row(image._asdict()) for image in itertools.islice(page.items, limit - len(listed))]
        if len(listed) == limit:
            break
    return {"label": label or None, "where": where, "total": total, "images": listed}


def _attributes(found: dict[str, Any]) -> list[str]:
    """Return the names of the columns besides the standard ones."""
    return [name for name in (found["images"][0] if found["images"] else ()) if name not in _COLUMNS]


def _as_text(found: dict[str, Any], hidden: Collection[str]) -> str:
    names = [name for name in _attributes(found) if name not in hidden]
    rows = [
        (
            each["id"],
            each["label"],
            f"{each['width']} x {each['height']}",
            each["key"],
            *(shown(each[name]) for name in names),
        )
        for each in found["images"]
    ]
    parts = [table(("id", "label", "size", "key", *names), rows)] if rows else []
    left = found["total"] - len(rows)
    if left:
        parts.append(f"... and {left} more of {found['total']}; --limit lists them.")
    elif not rows:
        none = found["where"] is None and found["label"] is None
        parts.append("The collection has no images." if none else "No image matches.")
    return "\n".join(parts)
