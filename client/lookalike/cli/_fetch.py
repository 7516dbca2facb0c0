"""Query images from standard input, a pipe, or a URL."""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import OpenerDirector

SCHEMES: Final = ("http://", "https://")
# The default limit of a server; a larger file is no image to search by.
_MOST_BYTES: Final = 64 << 20
# Timeouts in seconds of each network operation, and of the whole download.
_TIMEOUT_S: Final = 30.0
_LONGEST_S: Final = 120.0
_PIECE_BYTES: Final = 1 << 16


def from_stdin() -> bytes:
    """Read standard input."""
    data = from_stream("Standard input", sys.stdin.buffer)
    if not data:
        raise click.UsageError("Standard input is empty; pipe an image into it, or name a file.")
    return data


def from_stream(name: str, stream: IO[bytes]) -> bytes:
    """Read a stream; UsageError: it has more bytes than an image may have."""
    data = stream.read(_MOST_BYTES + 1)
    _check_size(name, len(data))
    return data


def from_url(url: str) -> bytes:
    """Download a URL and follow redirects; ClickException: the download failed or took too long."""
    from http.client import HTTPException  # here, since most searches do not need it

    try:
        with _opener().open(url, timeout=_TIMEOUT_S) as reply:
            return _body(url, reply)
    except (OSError, ValueError, HTTPException) as error:  # URLError is an OSError; ValueError: no valid URL
        reason = str(getattr(error, "reason", None) or error or type(error).__name__)
        if reason.startswith("unknown url type"):
            reason = "it leads elsewhere, and only http:// and https:// are followed"
        raise click.ClickException(f"{url} cannot be fetched: {reason}.") from error


def _opener() -> OpenerDirector:
    """Return an opener for SCHEMES only, redirects included: urllib's default opener also follows ftp:// URLs."""
    from urllib import request

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _body(url: str, reply: HTTPResponse) -> bytes:
    """Read the body of a reply. ValueError: it ends early, or takes too long."""
    end = time.monotonic() + _LONGEST_S
    wanted, data = reply.length, bytearray()
    while piece := reply.read1(_PIECE_BYTES):
        data += piece
        _check_size(url, len(data))
        if time.monotonic() > end:
            raise ValueError(f"it takes longer than {_LONGEST_S:.0f} s")
    # http.client does not report that the connection ended early.
    if wanted is not None and len(data) < wanted:
        raise ValueError(f"only {len(data):,} of {wanted:,} bytes came")
    return bytes(data)


def _check_size(name: str, size: int) -> None:
    if size > _MOST_BYTES:
        raise click.UsageError(f"{name} has more than {_MOST_BYTES >> 20} MiB, which is no image to search by.")
