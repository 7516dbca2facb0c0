"""The output folder of a command."""

from __future__ import annotations

import contextlib
import io
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lookalike_indexer.collection.commands import unreadable_images
from lookalike_indexer.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure
    from PIL import Image

    from lookalike_indexer.charts.thumbnails import Thumbnails
    from lookalike_indexer.experiments.view import View

_LONGEST = 80


class OutFolder:
    """Writes images and tables under portable file names, and records the files.

    Creates the folder at once, so that an invalid path fails before any work. Raise UsageError if the path is a file,
    and NotFoundError if the folder cannot be made. A command that ends without output leaves no new folder.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.written: list[Path] = []
        self._shown: list[tuple[View, Thumbnails]] = []
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"--out {path} is a file; name a folder.")
        self._new = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._remove_empty()
            raise NotFoundError(f"--out {path} cannot be made: {error.strerror}.") from error
        context = click.get_current_context(silent=True)
        if context is not None:
            context.call_on_close(self._remove_empty)

    def thumbnails(self, view: View, size: int = 160) -> Thumbnails:
        """Return the thumbnails of a command's only view; `tell` reports those that cannot be read."""
        from lookalike_indexer.charts.thumbnails import Thumbnails

        thumbnails = Thumbnails(view, size)
        self._shown.append((view, thumbnails))
        return thumbnails

    def save(self, name: str, picture: Image.Image | Figure) -> Path:
        """Write an image as "NAME.png", with a portable name. No two files of one run have the same name."""
        return self._write(name, "png", _encoded(picture))

    def save_table(self, name: str, table: pa.Table) -> Path:
        """Write a table as "NAME.csv", named like the images."""
        from pyarrow import csv

        out = io.BytesIO()
        csv.write_csv(table, out)
        return self._write(name, "csv", out.getvalue())

    def _write(self, name: str, suffix: str, data: bytes) -> Path:
        stem, number = file_name(name), 1
        path = self.path / f"{stem}.{suffix}"
        while path in self.written:
            number += 1
            path = self.path / f"{stem}-{number}.{suffix}"
        try:
            path.write_bytes(data)
        except OSError as error:
            raise NotFoundError(f"{path} cannot be written: {error.strerror}.") from error
        self.written.append(path)
        return path

    def _remove_empty(self) -> None:
        """Remove the new folders that are empty."""
        with contextlib.suppress(OSError):
            for folder in self._new:
                folder.rmdir()

    def print_summary(self, as_json: bool = False) -> None:
        """Print the names of the written files, on standard error if the output is JSON.

        Warn on standard error about images that are absent from the charts.
        """
        if self.written:
            click.echo(f"Wrote {listed([path.name for path in self.written])} into {self.path}", err=as_json)
        missing = {row for _, thumbnails in self._shown for row in thumbnails.unreadable}
        if missing:
            reader = self._shown[0][0].reader
            wanted = {row for _, thumbnails in self._shown for row in thumbnails.wanted}
            source = reader.manifest.source.uri
            click.echo(unreadable_images(reader.storage.location, source, len(missing), len(wanted)), err=True)


def open_out(path: str | None) -> OutFolder | None:
    """Open the folder of --out. Return None without --out."""
    return None if path is None else OutFolder(path)


def listed(names: Sequence[str], most: int = 6) -> str:
    """Join names for a sentence, at most `most` of them."""
    names = list(names)
    return (
        ", ".join(names) if len(names) <= most else f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    )


def file_name(text: str) -> str:
    """Return a file name of letters, digits and . _ - for a text. It is never empty and never hidden."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_only).strip(".-_")
    return name[:_LONGEST] or "image"


def _encoded(picture: Image.Image | Figure) -> bytes:
    from PIL import Image

    if isinstance(picture, Image.Image):
        out = io.BytesIO()
        picture.save(out, "PNG")
        return out.getvalue()
    from lookalike_indexer.charts.figures import png

    return png(picture)
