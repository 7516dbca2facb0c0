"""Bearer tokens and their roles.

A token is 256 random bits, which nobody can guess, so plain SHA-256 protects it as well as a slow
password hash. The file holds only digests, one line for each token. A fourth word limits a token to
some of the server's collections:

    # name  role  sha256 of the token                                               collections
    shop    read  5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8
    garden  read  9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  flowers,trees
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lookalike_indexer.errors import UsageError
from lookalike_server.transport.reloading_file import ReloadingFile

log = logging.getLogger(__name__)

# Each role includes those before it: read metrics, query, change collections, change what is served.
Role = Literal["metrics", "read", "write", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

_PREFIX = "lookalike_"
_NAME = re.compile(r"[\w.@-]{1,64}", re.ASCII)
_COLLECTION = re.compile(r"[\w.@-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Caller:
    """Name and role of the holder of a token, limited to `collections` if there are any."""

    name: str
    role: Role
    collections: tuple[str, ...] = ()

    def may(self, role: Role) -> bool:
        """Return whether this caller has at least the given role."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class _Token:
    caller: Caller
    digest: str


class Tokens:
    """Tokens of a file, which is reloaded when it changes.

    Only what the file holds now gives access. A line that cannot be parsed is skipped with a
    warning. A file that is empty, missing, or unreadable admits nobody.
    """

    def __init__(self, path: Path) -> None:
        """Raises UsageError if the file cannot be read, or holds no token."""
        self._path = path
        self._bad_lines: list[int] = []
        self._tokens_file: ReloadingFile[list[_Token]] = ReloadingFile([path], self._read, unusable=[])
        if not self._tokens_file.get():
            raise UsageError(f"--tokens {path} contains no token; make one with: lookalike token --name NAME")

    def caller(self, token: str) -> Caller | None:
        """Return the holder of a token, or None. Compares all digests, so that the time is the same for every token."""
        digest = _digest(token)
        found = None
        for known in self._tokens_file.get():
            if hmac.compare_digest(known.digest, digest):
                found = known.caller
        return found

    def _read(self) -> list[_Token]:
        # Count lines as editors do; str.splitlines splits at more characters.
        lines = _text(self._path).split("\n")
        parsed = [(number, _parsed(line)) for number, line in enumerate(lines, 1) if _content(line)]
        bad_lines = [number for number, token in parsed if token is None]
        if bad_lines != self._bad_lines:
            self._bad_lines = bad_lines
            for number in bad_lines:
                # The line itself is not logged, because it may contain the token.
                log.warning(
                    "--tokens %s: line %d is skipped: it must have a name, a role (%s), a digest and optionally "
                    "collections; make such lines with: lookalike token --name NAME",
                    self._path, number, " or ".join(ROLES),
                )  # fmt: skip
        tokens = [token for _, token in parsed if token is not None]
        if not tokens:
            log.warning("--tokens %s contains no token: all callers are rejected", self._path)
        return tokens


def new_token(name: str, role: Role, collections: Sequence[str] = ()) -> tuple[str, str]:
    """Return a new token, which is stored nowhere, and its line for the file. Raises UsageError for an invalid name.

    With `collections`, the token is for these alone.
    """
    token = _PREFIX + secrets.token_urlsafe(32)
    for collection in collections:
        if not _COLLECTION.fullmatch(collection):
            raise UsageError(
                f"The collection {collection!r} cannot be named in a token; serve it under a name of 1 to 64 letters, "
                "digits and _ . @ -, as in: lookalike serve NAME=DIR"
            )
    limited = f" {','.join(collections)}" if collections else ""
    return token, f"{_checked(name)} {role} {_digest(token)}{limited}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"The name {name!r} must be 1 to 64 letters, digits and _ . @ -, without spaces.")
    return name


def _text(path: Path) -> str:
    try:
        # Invalid UTF-8 makes only its own line unusable.
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"--tokens {path} cannot be read: {(error.strerror or str(error)).lower()}.") from error


def _content(line: str) -> str:
    return line.partition("#")[0].strip()


def _parsed(line: str) -> _Token | None:
    words = _content(line).split()
    if len(words) not in (3, 4) or not _NAME.fullmatch(words[0]) or not _DIGEST.fullmatch(words[2]):
        return None
    collections = tuple(words[3].split(",")) if len(words) == 4 else ()
    # A token meant for some collections must not become one for all.
    if not all(_COLLECTION.fullmatch(collection) for collection in collections):
        return None
    role = next((known for known in ROLES if known == words[1]), None)
    return None if role is None else _Token(Caller(words[0], role, collections), words[2])
