"""`lookalike search`: find the stored images that look like an image."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

import click

import lookalike
from lookalike._metrics import heading, measured
from lookalike.cli._fields import fields_option, names_of, plain_row, shown, to_csv, where_option
from lookalike.cli._options import (
    csv_option,
    json_option,
    key_option,
    montage_option,
    open_client,
    server_options,
    space_option,
)
from lookalike.cli._search_options import boxed, examples_of, search_options, write_vectors
from lookalike.cli._subject import Subject, explained, find_subject
from lookalike.cli._text import served_lines, table, to_json

_COLUMNS: Final = ("rank", "id", "key", "label", "distance")


@click.command(short_help="Show the stored images that look most like one.")
@click.argument("subject", metavar="[IMAGE_OR_KEY]", type=click.Path(), required=False)
@click.option(
    "--text",
    metavar="WORDS",
    help="Ask by a description instead, such as 'a red bus at night'; for spaces of a model that knows texts.",
)
@click.option(
    "-k",
    default=10,
    show_default=True,
    type=click.IntRange(1),
    help="Number of neighbors, at most the number of images.",
)
@server_options()
@space_option
@click.option(
    "--nprobe",
    type=click.IntRange(1),
    help="Visit this many inverted lists, or more where they hold fewer than k images.",
)
@click.option(
    "--recall", type=click.FloatRange(0, 1, min_open=True), help="Visit as many lists as this recall@k needs."
)
@click.option("--exact", is_flag=True, help="Compare with every stored image.")
@click.option("--include-self", is_flag=True, help="Do not leave out the image that a key names.")
@where_option
@fields_option
@search_options
@click.option("--explain", is_flag=True, help="Tell how the search was made, such as how many images match.")
@key_option
@json_option
@csv_option
@montage_option
def search(
    subject: str | None,
    text: str | None,
    k: int,
    server: str,
    tls: bool,
    ca: str | None,
    space: str,
    nprobe: int | None,
    recall: float | None,
    exact: bool,
    include_self: bool,
    where: str | None,
    fields: str,
    max_distance: float | None,
    like: tuple[str, ...],
    unlike: tuple[str, ...],
    group_by: str | None,
    per_group: int,
    box: tuple[int, int, int, int] | None,
    vectors: Path | None,
    explain: bool,
    as_key: bool,
    as_json: bool,
    as_csv: bool,
    montage: str | None,
) -> None:
    """Show the stored images that look most like IMAGE_OR_KEY: an image file, or a stored image's key.

    "-" reads an image from standard input; http:// and https:// URLs are downloaded.

    With --text, show the images that match a description. This needs a space
    whose model has a text encoder, such as open_clip's.

    --like and --unlike move the query towards examples and away from
    counter-examples (Rocchio): 1 x query + 0.75 x mean of --like - 0.15 x mean of
    --unlike.
    """
    if (subject is None) == (text is None):
        raise click.UsageError("Name an image or a key, or give --text; not both.")
    if text is not None and not text.strip():
        raise click.UsageError("--text needs at least one word.")
    if (nprobe is not None) + (recall is not None) + exact > 1:
        raise click.UsageError("Use at most one of --nprobe, --recall and --exact.")
    if as_json and as_csv:
        raise click.UsageError("Use --json or --csv, not both.")
    if montage is not None:
        from lookalike.cli._montage import check_output

        check_output(montage)
    with open_client(server, tls, ca) as client:
        asked = Subject(text, False, is_text=True) if text is not None else find_subject(client, subject or "", as_key)
        query = boxed(asked, box)
        with explained(asked, as_key):
            near = client.search(
                k=k,
                space=space,
                nprobe=nprobe,
                recall=recall,
                exact=exact,
                include_self=include_self,
                where=where,
                fields=names_of(fields),
                explain=explain,
                max_distance=max_distance,
                group_by=group_by,
                per_group=per_group,
                with_vectors=vectors is not None,
                **examples_of(like, unlike),
                **query,
            )
        if vectors is not None:
            write_vectors(vectors, client, near, query)
        if montage is not None:
            _draw(client, asked, near, montage)
    if as_csv:
        click.echo(to_csv([*_COLUMNS, *near.attributes], _rows(near)), nl=False)
    else:
        click.echo(to_json(_as_dict(asked, near)) if as_json else _as_text(near, k, explain))
    for written in (montage, vectors):
        if written is not None:
            click.echo(f"Wrote {written}", err=as_json or as_csv)


def _rows(near: lookalike.Neighbors) -> list[dict[str, Any]]:
    return [
        plain_row(
            {
                "rank": rank,
                "id": each.id,
                "key": each.key,
                "label": each.label,
                "distance": each.distance,
                "attributes": each.attributes,
            }
        )
        for rank, each in enumerate(near, 1)
    ]


def _as_dict(asked: Subject, near: lookalike.Neighbors) -> dict[str, Any]:
    groups = {} if near.group_sizes is None else {"group_sizes": list(near.group_sizes)}
    about = {"query": asked.named, "metric": near.metric}
    return {**about, "neighbors": _rows(near), **groups, "served": dataclasses.asdict(near.served)}


def _as_text(near: lookalike.Neighbors, k: int, explain: bool) -> str:
    names = list(near.attributes)
    rows = [
        (rank, each.distance, each.label, *(shown(each.attributes[name]) for name in names), each.key)
        for rank, each in enumerate(near, 1)
    ]
    headers = ("rank", heading("distance", near.metric), "label", *names, "key")
    if near.group_sizes is not None:
        # In a group of several neighbors, each row has the group's number.
        groups = [number for number, size in enumerate(near.group_sizes, 1) for _ in range(size)]
        rows = [(group, *row) for group, row in zip(groups, rows, strict=True)]
        headers = ("group", *headers)
    found = table(headers, rows) if rows else "No image is found: none matches, or is near enough."
    lines = [found, served_lines(near.served, k)]
    if explain and near.served.plan is not None:
        lines.append(f"plan: {near.served.plan}.")
    return "\n".join(lines)


def _draw(client: lookalike.Client, asked: Subject, near: lookalike.Neighbors, path: str) -> None:
    from lookalike.cli._draw import Section, draw
    from lookalike.cli._montage import fetch, query_of, result_tiles, save, warn_missing

    pictures = fetch(client, near.ids.tolist()) if len(near) else {}
    query = query_of(client, asked)
    where = f"{near.served.space}, by {measured(near.metric)}"
    title = f"{query.name}: the {len(near)} images most like it in {where}{query.frames}"
    save(draw([Section([query.tile("asked for"), *result_tiles(near, pictures, query)])], title), path)
    warn_missing(pictures)
