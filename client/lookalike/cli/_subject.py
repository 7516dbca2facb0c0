"""The query of a command: a local image file, the key of a stored image, or a text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

import lookalike
from lookalike.cli._fetch import SCHEMES, from_stdin, from_stream, from_url

if TYPE_CHECKING:
    from lookalike._arguments import OneQuery


@dataclass(frozen=True)
class Subject:
    """The argument IMAGE_OR_KEY and its kind, or the text of --text.

    `piped` has the bytes of a pipe, which can be read only once, or of a URL.
    """

    text: str
    is_file: bool
    piped: bytes | None = None
    is_text: bool = False

    @property
    def query(self) -> OneQuery:
        """The query as arguments of the client."""
        if self.is_text:
            return {"text": self.text}
        if not self.is_file:
            return {"key": self.text}
        return {"image": self.text if self.piped is None else self.piped}

    @property
    def named(self) -> dict[str, str]:
        """The query as JSON output names it."""
        return {"text" if self.is_text else "image" if self.is_file else "key": self.text}


def find_subject(client: lookalike.Client, text: str, as_key: bool) -> Subject:
    """Take a file if it exists, a key otherwise; print a note if the text is both.

    "-" is standard input. An http:// or https:// URL is downloaded, unless it is a key of the collection.
    """
    if as_key:
        return Subject(text, is_file=False)
    if text == "-":
        return Subject(text, is_file=True, piped=from_stdin())
    if text.lower().startswith(SCHEMES) and not _is_key(client, text):
        return Subject(text, is_file=True, piped=from_url(text))
    path = Path(text)
    try:
        is_file, is_folder = path.is_file() or path.is_fifo(), path.is_dir()
    except (OSError, ValueError):  # for example, longer than a path may be: then it is no file
        is_file = is_folder = False
    if is_folder:
        raise click.UsageError(f"{text!r} is a folder; name an image file, or the key of a stored image.")
    if is_file and _is_key(client, text):
        click.echo(
            f"{text} is a file here and a key of the collection: asking by the file; --key asks by key.", err=True
        )
    return Subject(text, is_file, _piped(path) if is_file else None)


def _piped(path: Path) -> bytes | None:
    """Read a pipe, such as `<(COMMAND)` of a shell; None for an ordinary file."""
    if not path.is_fifo():
        return None
    try:
        with path.open("rb") as pipe:
            return from_stream(str(path), pipe)
    except OSError as error:
        raise click.UsageError(f"{str(path)!r} cannot be read: {error.strerror}.") from error


def _is_key(client: lookalike.Client, text: str) -> bool:
    try:
        client.lookup(key=text)
    except (
        lookalike.NotFoundError,
        lookalike.InvalidArgumentError,
    ):  # including a file name that is no valid Unicode, which no key can be
        return False
    return True


@contextmanager
def explained(subject: Subject, as_key: bool) -> Iterator[None]:
    """Replace an error for a missing key by one that says that there is no such file either; name the file that is no
    image.
    """
    try:
        yield
    except lookalike.InvalidArgumentError as error:
        # The server numbers images by their position in the call; users know them by name.
        if not subject.is_file or not str(error).startswith("Image 0 "):
            raise
        raise click.ClickException(str(error).replace("Image 0", subject.text, 1)) from error
    except lookalike.NotFoundError as error:
        # A filter may name an unknown clustering, and --like another key.
        if subject.is_file or as_key or f"key {subject.text!r}" not in str(error):
            raise
        message = (
            f"{subject.text!r} is neither a file here nor a key of the collection; lookalike images lists the keys."
        )
        raise click.ClickException(message) from error
