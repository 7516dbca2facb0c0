"""Montage of a reply: the query, then the images found, each with its caption.

Thumbnails come from the server, so a montage can be drawn on any machine.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import click
from PIL import Image, ImageOps

import lookalike
from lookalike.cli._draw import GOOD, ODD, QUERY, TILE, Tile
from lookalike.cli._subject import Subject

Pictures = Mapping[int, Image.Image | None]


class ResultImage(Protocol):
    """A neighbor of a query, or a member of its cluster."""

    @property
    def id(self) -> int: ...
    @property
    def key(self) -> str: ...
    @property
    def label(self) -> str | None: ...
    @property
    def distance(self) -> float: ...


@dataclass(frozen=True)
class Query:
    """The query: its image, its name for captions, and its label, "" if unknown."""

    picture: Image.Image | None
    name: str
    label: str

    @property
    def frames(self) -> str:
        """The legend of the frame colors, for a title."""
        return f"; green frames: {self.label}, red: another label" if self.label else ""

    def tile(self, told: str) -> Tile:
        """Return its tile with the additional line `told`."""
        return Tile(self.picture, [self.label or "query", self.name, told], QUERY)


def check_output(path: str) -> None:
    """Check before any work that the file can be written; raise click.UsageError."""
    Image.init()
    suffix = Path(path).suffix.lower()
    if Image.registered_extensions().get(suffix) not in Image.SAVE:
        raise click.UsageError(
            f"--montage {path}: images cannot be written as {suffix or 'a file without suffix'!r}; use .png."
        )
    if not Path(path).resolve().parent.is_dir():
        raise click.UsageError(f"--montage {path}: the folder {str(Path(path).parent)!r} does not exist.")


def fetch(client: lookalike.Client, ids: Sequence[int]) -> dict[int, Image.Image | None]:
    """Fetch the thumbnails of images; None for an image whose file the server cannot read."""
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return {}
    return {
        image_id: None if jpeg is None else Image.open(io.BytesIO(jpeg)).convert("RGB")
        for image_id, jpeg in zip(wanted, client.thumbnails(wanted, size=TILE), strict=True)
    }


def warn_missing(pictures: Pictures) -> None:
    """Warn on standard error about images that are absent from a montage."""
    missing = sum(picture is None for picture in pictures.values())
    if missing:
        click.echo(
            f"The server cannot read {missing:,} of {len(pictures):,} images. If the images are elsewhere now, say "
            "where, on its machine: lookalike relocate DIR FOLDER",
            err=True,
        )


def query_of(client: lookalike.Client, subject: Subject) -> Query:
    """Load the query image; a file has no label."""
    if subject.is_file:
        file = subject.text if subject.piped is None else io.BytesIO(subject.piped)
        return Query(_read_local(file), Path(subject.text).name, "")
    if subject.is_text:
        return Query(None, subject.text, "")
    image = client.lookup(key=subject.text)
    return Query(fetch(client, [image.id])[image.id], _file(image.key), image.label or "")


def result_tiles(found: Iterable[ResultImage], pictures: Pictures, query: Query) -> list[Tile]:
    """Return the tiles of the images found: a green frame for the query's label, a red one for another label."""
    tiles = []
    for rank, each in enumerate(found, 1):
        label = each.label or ""
        frame = "" if not (label and query.label) else GOOD if label == query.label else ODD
        lines = [label or "no label", _file(each.key), f"{rank}.  {each.distance:z.3f}"]
        tiles.append(Tile(pictures[each.id], lines, frame))
    return tiles


def _file(key: str) -> str:
    return key.rsplit("/", 1)[-1]


def _read_local(file: str | io.BytesIO) -> Image.Image | None:
    """Return a small upright copy of a file; None if Pillow cannot read it, though the server perhaps can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about large or damaged files; irrelevant for a thumbnail
        try:
            with Image.open(file) as image:
                image.draft("RGB", (2 * TILE, 2 * TILE))
                small = ImageOps.exif_transpose(image).convert("RGB")
                small.thumbnail((TILE, TILE))
                return small
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None


def save(montage: Image.Image, path: str) -> None:
    """Save the montage; raise click.ClickException on failure."""
    try:
        montage.save(path)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"--montage {path}: it cannot be written: {error}.") from error
