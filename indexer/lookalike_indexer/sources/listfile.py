"""A list: a text file, or standard input, with one image path per line."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.errors import IndexerError, UsageError
from lookalike_indexer.sources.row import SourceRow

STANDARD_INPUT = "-"
_COMMENT = re.compile(r"#(\s|#|!|$)")
_WEB = re.compile(r"(https?|ftp|s3|gs|hf)://", re.IGNORECASE)
_BOM = b"\xef\xbb\xbf"


class ListSource:
    """The images that UTF-8 text lists, in its order; relative paths start from the list's folder.

    Empty lines and comments ("# ...") are skipped. A line may be in quotes, start with "~", or be a file:// address.
    The key is the path without these and without "./". Labels can only come from a labels file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.left_out: dict[str, int] = {}
        self.unreadable_folders: list[str] = []
        self._name = f"the list file {self.path}"
        self._copy: IO[bytes] | None = None

    @classmethod
    def of_standard_input(cls) -> ListSource:
        """Return the list on standard input, read at once; relative paths start from the current folder.

        The entry's URI is the file "-" in the current folder, which identifies the list in later runs.
        """
        source = cls(Path.cwd())
        source.path = source.path / STANDARD_INPUT
        source._name = "the list on standard input"
        # A list is read more than once and may be large.
        source._copy = tempfile.TemporaryFile()  # noqa: SIM115  # kept as long as the source
        weakref.finalize(source, source._copy.close)
        shutil.copyfileobj(sys.stdin.buffer, source._copy)
        return source

    @property
    def entry(self) -> SourceEntry:
        return SourceEntry("list", str(self.path))

    def keys(self) -> Iterator[str]:
        """Yield the keys, in order. Raise UsageError if a line is not UTF-8, or is a web address."""
        self.left_out = {}
        for number, line in enumerate(self._lines(), 1):
            try:
                text = line.decode().strip()
            except UnicodeDecodeError as error:
                raise UsageError(
                    f"Line {number} of {self._name} is not UTF-8 text; write the list as UTF-8, and rename files "
                    "whose names are not."
                ) from error
            if _COMMENT.match(text):
                self.left_out["comment line"] = self.left_out.get("comment line", 0) + 1
            elif text:
                yield self._path(text, number)

    def rows(self) -> Iterator[SourceRow]:
        folder = f"{self.path.parent}/"
        for key in self.keys():
            try:
                status = os.stat(key if key.startswith("/") else folder + key)
                yield SourceRow(key, None, key, status.st_size, status.st_mtime_ns)
            except (OSError, ValueError):
                # The file is missing or the path impossible: reading it will report the error.
                yield SourceRow(key, None, key, 0, 0)

    def _path(self, text: str, number: int) -> str:
        if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'":
            text = text[1:-1]
        if _WEB.match(text):
            raise UsageError(
                f"Line {number} of {self._name} is the web address {text}; download the images and name their files."
            )
        if text.lower().startswith("file://"):
            address = urlsplit(text)
            if address.netloc not in ("", "localhost"):
                raise UsageError(
                    f"Line {number} of {self._name} names a file of another machine: {text}; copy it here."
                )
            # Not `address.path`: a file's name may contain "?" and "#".
            text = unquote(text[len("file://") + len(address.netloc) :])
        elif text.startswith("~"):
            text = str(Path(text).expanduser())
        while text.startswith("./"):
            text = text[2:].lstrip("/")
        return text

    def _lines(self) -> Iterator[bytes]:
        try:
            file = self._copy or self.path.open("rb")
            try:
                file.seek(0)
                for number, line in enumerate(file):
                    yield line if number else line.removeprefix(_BOM)
            finally:
                if file is not self._copy:
                    file.close()
        except OSError as error:
            raise IndexerError(f"The list file {self.path} cannot be read: {error.strerror}.") from error
