"""Factory of sources: detects the kind of source by its path or URL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.sources.archive import ArchiveSource
from lookalike_indexer.sources.directory import DirectorySource, printable
from lookalike_indexer.sources.image_files import CONTAINERS, EXTENSIONS, suffix_of
from lookalike_indexer.sources.listfile import STANDARD_INPUT, ListSource
from lookalike_indexer.sources.parquet import ParquetSource
from lookalike_indexer.sources.row import Source
from lookalike_indexer.sources.shards import ShardSource

_COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")


def open_source(text: str, exclude: Sequence[str] = ()) -> Source:
    """Open the source that a path refers to; `exclude` are gitignore patterns of paths to leave out.

    A source is a directory of images; a directory of Parquet, tar and zip files without images; a Parquet, tar or zip
    file; "-" for a list on standard input; or s3://, gs:// or az://BUCKET/PREFIX for the images below it. Any other
    file is a list with one path per line.

    Raise NotFoundError if the path does not exist. Raise UsageError for a single image, a compressed tar file, a
    Parquet file without the columns, or an invalid pattern.
    """
    if text == STANDARD_INPUT:
        _check_no_patterns(exclude, "a list; leave lines out of it")
        return ListSource.of_standard_input()
    text = _without_scheme(text)
    if "://" in text:
        from lookalike_indexer.sources.objects import ObjectSource

        return ObjectSource(text, exclude)
    path = checked_path(text)
    if path.is_dir():
        return _open_folder(path, exclude)
    return _open_file(path, text, exclude)


def check_early(text: str) -> None:
    """Check the path of a source before the modules are loaded that read it, so that a mistake costs no time."""
    text = _without_scheme(text)
    if text != STANDARD_INPUT and "://" not in text:
        checked_path(text)


def _without_scheme(text: str) -> str:
    return unquote(urlsplit(text).path) if text.startswith("file://") else text


def checked_path(text: str) -> Path:
    """Return the path of a local source; the errors are those of `open_source`, for which no file is read."""
    path = Path(text).expanduser()
    if printable(str(path.resolve())) != str(path.resolve()):
        raise UsageError(f"The path {printable(text)} is not valid UTF-8; rename it.")
    if path.is_dir():
        return path
    if not path.is_file():
        if path.name == STANDARD_INPUT:
            raise NotFoundError(
                f"The list of {text} came from standard input; give it again, from the folder {path.parent}, with: -"
            )
        raise NotFoundError(
            f"There is no folder, list file, Parquet file or archive {text}; give the folder of your images."
        )
    if path.name.lower().endswith(_COMPRESSED_TARS):
        raise UsageError(
            f"{text} is a compressed tar file, which cannot be read without unpacking; decompress it to a .tar first."
        )
    if suffix_of(path.name) in EXTENSIONS:
        raise UsageError(f"{text} is a single image; give its folder, or a list file.")
    if not path.stat().st_size:
        raise UsageError(f"{text} is empty; give a folder of images, or a list with one path a line.")
    return path


def _open_folder(path: Path, exclude: Sequence[str]) -> Source:
    source = DirectorySource(path, exclude)
    if source.has_picture():
        return source
    shards = ShardSource(path, exclude)
    return shards if shards.has_shard() else source


def _open_file(path: Path, text: str, exclude: Sequence[str]) -> Source:
    suffix = suffix_of(path.name)
    if suffix in {".parquet", ".pq"}:
        _check_no_patterns(exclude, "a Parquet file; leave rows out of it")
        return ParquetSource(path)
    if suffix in CONTAINERS:
        return ArchiveSource(path, exclude)
    _check_no_patterns(exclude, "a list; leave lines out of it")
    return ListSource(path)


def _check_no_patterns(exclude: Sequence[str], mend: str) -> None:
    if exclude:
        raise UsageError(f"--exclude {exclude[0]!r} is for folders and archives, and this source is {mend}.")
