"""The folder that a command draws into."""

from __future__ import annotations

import contextlib
import io
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lookalike_indexer.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure
    from PIL import Image

_LONGEST = 80


class OutFolder:
    """Writes pictures under names that any file system takes, and remembers them.

    The folder is made at once, so that a wrong one is said before any work:
    UsageError when there is a file of that name, NotFoundError when it cannot
    be made. A command that ends without a picture leaves no new folder.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.written: list[Path] = []
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

    def save(self, name: str, picture: Image.Image | Figure) -> Path:
        """Write a picture as "NAME.png", the name made fit for a file; no two of one run share a file."""
        return self._write(name, "png", _encoded(picture))

    def save_table(self, name: str, table: pa.Table) -> Path:
        """Write a table as "NAME.csv", likewise."""
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
        """Remove the folders that were made, as far as nothing lies in them."""
        with contextlib.suppress(OSError):
            for folder in self._new:
                folder.rmdir()

    def tell(self, as_json: bool = False) -> None:
        """Say what was written; on standard error beside JSON."""
        if self.written:
            click.echo(f"Wrote {listed([path.name for path in self.written])} into {self.path}", err=as_json)


def open_out(path: str | None) -> OutFolder | None:
    """The folder of --out, None when it is not given."""
    return None if path is None else OutFolder(path)


def listed(names: Sequence[str], most: int = 6) -> str:
    """Some names for a sentence."""
    names = list(names)
    return (
        ", ".join(names) if len(names) <= most else f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    )


def file_name(text: str) -> str:
    """A name of letters, digits and . _ - for a text, never empty and never hidden."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_only).strip(".-_")
    return name[:_LONGEST] or "picture"


def _encoded(picture: Image.Image | Figure) -> bytes:
    from PIL import Image

    if isinstance(picture, Image.Image):
        out = io.BytesIO()
        picture.save(out, "PNG")
        return out.getvalue()
    from lookalike_indexer.pictures.figures import png

    return png(picture)
