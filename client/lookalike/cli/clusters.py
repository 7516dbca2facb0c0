"""`lookalike clusters`: show the cluster of an image and its members."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

import lookalike
from lookalike._metrics import NAMES, heading, measured
from lookalike.cli._fields import fields_option, names_of, plain_row, shown, where_option
from lookalike.cli._options import (
    json_option,
    key_option,
    montage_option,
    open_client,
    server_options,
    space_option,
    subject_argument,
)
from lookalike.cli._subject import Subject, explained, find_subject
from lookalike.cli._text import printable, served_lines, table, to_json

# Number of members in a montage without --members.
_DRAWN = 11


@click.command(short_help="Show which cluster an image is in, and who else is.")
@subject_argument
@server_options()
@space_option
@click.option("--members", type=click.IntRange(0), help="Show this many of the members nearest to the centroid.")
@where_option
@fields_option
@key_option
@json_option
@montage_option
def clusters(
    subject: str,
    server: str,
    tls: bool,
    ca: str | None,
    space: str,
    members: int | None,
    where: str | None,
    fields: str,
    as_key: bool,
    as_json: bool,
    montage: str | None,
) -> None:
    """Show the cluster of IMAGE_OR_KEY, an image file or a stored image's key, in each clustering.

    With --where, sizes and members count only images that match.
    """
    if montage is not None:
        from lookalike.cli._montage import check_output

        check_output(montage)
    if members is None:
        members = 0 if montage is None else _DRAWN
    with open_client(server, tls, ca) as client:
        asked = find_subject(client, subject, as_key)
        with explained(asked, as_key):
            home = client.clusters(space=space, members=members, where=where, fields=names_of(fields), **asked.query)
        if montage is not None:
            _draw(client, asked, home, montage)
    click.echo(to_json(_as_dict(asked, home)) if as_json else _as_text(home))
    if montage is not None:
        click.echo(f"Wrote {montage}", err=as_json)


def _as_dict(asked: Subject, home: lookalike.Memberships) -> dict[str, Any]:
    answers = [
        {
            "clustering": one.clustering,
            "cluster": one.cluster if one.cluster >= 0 else None,
            "metric": one.metric,
            "distance": one.distance,
            "margin": one.margin,
            "size": one.size,
            "nearest": [plain_row(member._asdict()) for member in one.nearest],
        }
        for one in home
    ]
    return {"query": asked.named, "clusters": answers, "served": dataclasses.asdict(home.served)}


def _as_text(home: lookalike.Memberships) -> str:
    rows = [
        (
            one.clustering,
            one.cluster if one.cluster >= 0 else None,
            NAMES.get(one.metric),
            one.distance,
            one.margin,
            one.size,
        )
        for one in home
    ]
    parts = [table(("clustering", "cluster", "metric", "distance", "margin", "size"), rows)]
    for one in home:
        if len(one.nearest):
            names = list(one.nearest.attributes)
            members = [
                (rank, each.distance, each.label, *(shown(each.attributes[name]) for name in names), each.key)
                for rank, each in enumerate(one.nearest, 1)
            ]
            parts.append(f"\n{_title(one)}, nearest to the centroid:")
            parts.append(table(("rank", heading("distance", one.metric), "label", *names, "key"), members))
    parts.append(("\n" if len(parts) > 1 else "") + served_lines(home.served))
    return "\n".join(parts)


def _title(one: lookalike.Membership) -> str:
    return f"{printable(one.clustering)} cluster {one.cluster}, {one.size} member{'' if one.size == 1 else 's'}"


def _draw(client: lookalike.Client, asked: Subject, home: lookalike.Memberships, path: str) -> None:
    from lookalike.cli._draw import Section, draw
    from lookalike.cli._montage import fetch, query_of, result_tiles, save, warn_missing

    ids = [int(image_id) for one in home for image_id in one.nearest.ids]
    pictures = fetch(client, ids) if ids else {}
    query = query_of(client, asked)
    sections = []
    for one in home:
        title = (
            f"{_title(one)}, by {measured(one.metric)} to the centroid"
            if one.cluster >= 0
            else f"{one.clustering}: in no cluster"
        )
        tiles = [query.tile(f"at {one.distance:z.3f}"), *result_tiles(one.nearest, pictures, query)]
        sections.append(Section(tiles, title))
    save(
        draw(sections or [Section([query.tile("in no clustering")])], f"{query.name}: its clusters{query.frames}"), path
    )
    warn_missing(pictures)
