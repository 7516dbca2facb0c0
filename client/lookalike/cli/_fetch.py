"""An image to ask about that is no file: from standard input, or from an address of the web."""

from __future__ import annotations

import sys
from typing import Final

import click

SCHEMES: Final = ("http://", "https://")
# As large as a server takes by default; more is no photograph.
_MOST_BYTES: Final = 64 << 20
_TIMEOUT_S: Final = 30.0


def from_stdin() -> bytes:
    """All of standard input."""
    data = sys.stdin.buffer.read(_MOST_BYTES + 1)
    if not data:
        raise click.UsageError("Standard input is empty; pipe an image into it, or name a file.")
    return _bounded("Standard input", data)


def from_url(url: str) -> bytes:
    """What an address answers."""
    import urllib.request  # here, since most searches need none of it

    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as reply:  # noqa: S310  # nosec B310 - of SCHEMES alone
            return _bounded(url, reply.read(_MOST_BYTES + 1))
    except (OSError, ValueError) as error:  # URLError is an OSError; ValueError: no address at all
        reason = getattr(error, "reason", None) or error
        raise click.ClickException(f"{url} cannot be fetched: {reason}.") from error


def _bounded(name: str, data: bytes) -> bytes:
    if len(data) > _MOST_BYTES:
        raise click.UsageError(f"{name} has more than {_MOST_BYTES >> 20} MiB, which is no image to search by.")
    return data
