"""Options of a search for thresholds, examples, groups, boxes and vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import lookalike
    from lookalike.cli._subject import Subject

Command = TypeVar("Command", bound=Callable[..., Any])


def search_options(command: Command) -> Command:
    """Add the options for thresholds, examples, groups, boxes and vectors."""
    for option in (
        click.option(
            "--max-distance",
            type=click.FloatRange(0),
            metavar="D",
            help="Leave out neighbors that are farther; -k bounds their number.",
        ),
        click.option(
            "--like", multiple=True, metavar="KEY", help="A further example of what is looked for.  Repeatable."
        ),
        click.option("--unlike", multiple=True, metavar="KEY", help="An example of what is not.  Repeatable."),
        click.option(
            "--group-by", metavar="COLUMN", help="Show k groups of images with equal values, not k images of one."
        ),
        click.option(
            "--per-group",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            metavar="N",
            help="Images of each group.",
        ),
        click.option(
            "--box",
            metavar="X,Y,W,H",
            callback=_box,
            help="Ask about this part of the image file, in pixels of the upright image.",
        ),
        click.option(
            "--vectors",
            metavar="OUT.npz",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Write the vectors of the query and of its neighbors to a file for numpy.",
        ),
    ):
        command = option(command)
    return command


def _box(ctx: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int, int, int] | None:
    if value is None:
        return None
    try:
        x, y, width, height = (int(number) for number in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not X,Y,W,H, such as 10,20,100,80.") from error
    return x, y, width, height


def examples_of(like: tuple[str, ...], unlike: tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments of a search by examples; empty without examples."""
    return {"keys": list(like), "not_keys": list(unlike)} if like or unlike else {}


def boxed(asked: Subject, box: tuple[int, int, int, int] | None) -> dict[str, Any]:
    """Return the query, with the box of an image if given; click.UsageError if the query is no image file."""
    query: dict[str, Any] = dict(asked.query)
    if box is not None:
        if not asked.is_file:
            what = "text" if asked.is_text else "key"
            raise click.UsageError(f"--box is a part of an image file, and {asked.text!r} is a {what}.")
        query["box"] = box
    return query


def write_vectors(path: Path, client: lookalike.Client, near: lookalike.Neighbors, query: dict[str, Any]) -> None:
    """Write the query's vector and those of the neighbors, with their ids, to an .npz file."""
    import numpy as np

    space = near.served.space
    own = client.vectors(space=space, key=query["key"]) if "key" in query else client.embed(space=space, **query)
    try:
        with path.open("wb") as file:
            np.savez(file, query=own, neighbors=np.asarray(near.vectors), ids=near.ids)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from error
