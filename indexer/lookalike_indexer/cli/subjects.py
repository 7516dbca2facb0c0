"""The images that `explain` and `show` get as arguments: stored images, or image files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from lookalike_indexer.cli.collection_command import ENVIRONMENT, HOW
from lookalike_indexer.cli.experiment_options import open_view
from lookalike_indexer.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from lookalike_indexer.experiments.view import View

# The collection can also be the first argument.
collection_option = click.option(
    "-c",
    "--collection",
    type=click.Path(file_okay=False),
    metavar="DIR",
    envvar=ENVIRONMENT,
    show_envvar=True,
    help="The collection's folder or URL; the first argument can name it, too.",
)
random_option = click.option(
    "--random", "drawn", type=click.IntRange(min=1), metavar="N", help="N images of the collection, sampled at random."
)


@dataclass(frozen=True)
class NamedImage:
    """An image named in a command: a stored image with its row, or an image file, with row -1."""

    text: str
    row: int = -1


def open_subjects(
    subjects: Sequence[str], collection: str | None, drawn: int | None, seed: int, class_names: str = ""
) -> tuple[View, str, list[NamedImage]]:
    """Return the view, the collection's folder, and the named or sampled images without duplicates.

    The first argument is the collection's folder unless --collection is given. A text that is not a key is a file path.
    The file of a stored image stands for that image.

    Raise UsageError without a collection or an image, or if the class names do not match. Raise NotFoundError for a
    text that is neither a key nor a file.
    """
    subjects = list(subjects)
    source = click.get_current_context().get_parameter_source("collection")
    if source is not ParameterSource.COMMANDLINE and subjects and Path(subjects[0]).is_dir():
        collection = subjects.pop(0)
    if not collection:
        raise UsageError(f"Give the collection {HOW}.")
    if not subjects and drawn is None:
        raise UsageError("Name at least one image by its KEY, an image file, or give --random N.")
    view = open_view(collection, class_names)
    found = [_named(view, text) for text in subjects]
    if drawn is not None:
        found += _drawn(view, drawn, seed)
    unique = {named.row if named.row >= 0 else named.text: named for named in found}
    return view, collection, list(unique.values())


def _named(view: View, text: str) -> NamedImage:
    try:
        return NamedImage(text, view.row_of_key(text))
    except NotFoundError as error:
        path = Path(text)
        if path.is_dir():
            raise UsageError(f"{text!r} is a folder; name an image file, or the key of a stored image.") from error
        if not path.is_file():
            raise NotFoundError(f"{str(error).removesuffix('.')}. There is no file of that name, either.") from error
        row = view.row_of_uri(str(path.absolute()))
        row = view.row_of_uri(str(path.resolve())) if row is None else row
        return NamedImage(text) if row is None else NamedImage(_key(view, row), row)


def _drawn(view: View, count: int, seed: int) -> list[NamedImage]:
    import numpy as np

    rows = np.sort(np.random.default_rng(seed).choice(len(view), min(count, len(view)), replace=False))
    return [NamedImage(_key(view, row), row) for row in rows.tolist()]


def _key(view: View, row: int) -> str:
    import numpy as np

    return view.keys(np.array([row]))[0]
