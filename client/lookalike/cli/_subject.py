"""What a command asks about: a picture file that is here, the key of a stored image, or a text."""

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
    """The argument IMAGE_OR_KEY, and which of both it is, or a text of --text.

    `piped` are the bytes of a pipe, which can be read only once, or of an address.
    """

    text: str
    is_file: bool
    piped: bytes | None = None
    is_text: bool = False

    @property
    def query(self) -> OneQuery:
        """The query as the client takes it."""
        if self.is_text:
            return {"text": self.text}
        if not self.is_file:
            return {"key": self.text}
        return {"image": self.text if self.piped is None else self.piped}

    @property
    def named(self) -> dict[str, str]:
        """The query as an answer in JSON names it."""
        return {"text" if self.is_text else "image" if self.is_file else "key": self.text}


def find_subject(client: lookalike.Client, text: str, as_key: bool) -> Subject:
    """A file if there is one, a key otherwise; says so on standard error where it could be either.

    "-" is standard input. An address of the web is fetched, unless it is a key of the collection.
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
    except (OSError, ValueError):  # longer than a path may be, and so on: then it is none
        is_file = is_folder = False
    if is_folder:
        raise click.UsageError(f"{text!r} is a folder; name a picture file, or the key of a stored image.")
    if is_file and _is_key(client, text):
        click.echo(
            f"{text} is a file here and a key of the collection: asking by the file; --key asks by key.", err=True
        )
    return Subject(text, is_file, _piped(path) if is_file else None)


def _piped(path: Path) -> bytes | None:
    """What a pipe holds, such as `<(COMMAND)` of a shell; None for an ordinary file."""
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
    ):  # also a file name that is no Unicode, which a key must be
        return False
    return True


@contextmanager
def explained(subject: Subject, as_key: bool) -> Iterator[None]:
    """Say of a key that is not found that there is no such file either, and which file is no picture."""
    try:
        yield
    except lookalike.InvalidArgumentError as error:
        # The server knows pictures by their position in the call, people by their names.
        if not subject.is_file or not str(error).startswith("Picture 0 "):
            raise
        raise click.ClickException(str(error).replace("Picture 0", subject.text, 1)) from error
    except lookalike.NotFoundError as error:
        # A filter may name a clustering that is not there, and --like another key.
        if subject.is_file or as_key or f"key {subject.text!r}" not in str(error):
            raise
        raise click.ClickException(f"There is no file {subject.text!r} here, and as a key: {error}") from error
