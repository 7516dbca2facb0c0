"""`lookalike images`: what images are there, of a label or all?

A folder and a server give the same dict: a function of the entry point group
"lookalike.images" makes it of a folder.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

import click

from lookalike import Client
from lookalike.cli._folders import collection_option, folder_meant, read_folder
from lookalike.cli._options import DEFAULT_SERVER, json_option, open_client, server_options
from lookalike.cli._text import table, to_json

IMAGES: Final = "lookalike.images"


@click.command(short_help="List the stored images, of a label or all.")
@click.option("--label", default="", help="List the images of this label only.")
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="Images to list, at most.")
@collection_option
@server_options(default=None)
@json_option
@click.pass_context
def images(
    ctx: click.Context,
    label: str,
    limit: int,
    collection: str | None,
    server: str | None,
    tls: bool,
    ca: str | None,
    as_json: bool,
) -> None:
    """List the images of a collection by ascending id, or those of one label.

    The collection is that in DIR, or the one behind a server (127.0.0.1:50051
    by default).
    """
    folder = folder_meant(ctx, collection)
    if folder is not None:
        found = read_folder(IMAGES, folder, label, limit)
    else:
        with open_client(server or DEFAULT_SERVER, tls, ca) as client:
            found = _of_server(client, label, limit)
    click.echo(to_json(found) if as_json else _as_text(found))


def _of_server(client: Client, label: str, limit: int) -> dict[str, Any]:
    total = 0
    listed: list[dict[str, Any]] = []
    for page in client.images(label=label).pages():
        total = page.total
        listed += [image._asdict() for image in itertools.islice(page.items, limit - len(listed))]
        if len(listed) == limit:
            break
    return {"label": label or None, "total": total, "images": listed}


def _as_text(found: dict[str, Any]) -> str:
    rows = [(each["id"], each["label"], f"{each['width']} x {each['height']}", each["key"]) for each in found["images"]]
    parts = [table(("id", "label", "size", "key"), rows)] if rows else []
    left = found["total"] - len(rows)
    if left:
        parts.append(f"... and {left} more of {found['total']}; --limit lists them.")
    elif not rows:
        parts.append("The collection has no images.")
    return "\n".join(parts)
