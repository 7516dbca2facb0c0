"""Bearer tokens: who may call, and in which role.

A token is 256 random bits, so one plain SHA-256 of it keeps it as safe as a
slow password hash would: there is nothing to guess. The file holds digests
only, one line for each token:

    # name  role  sha256 of the token
    shop    read  5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lookalike_indexer.errors import UsageError
from lookalike_server.followed import Followed

# A role may do what those before it may.
Role = Literal["read", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

_PREFIX = "lookalike_"
_NAME = re.compile(r"[\w.@-]{1,64}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Caller:
    """Whom a token was given to, and what that one may do."""

    name: str
    role: Role


@dataclass(frozen=True)
class _Token:
    caller: Caller
    digest: str


class Tokens:
    """The tokens of a file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        """UsageError: the file cannot be read, or a line of it cannot be understood."""
        self._followed = Followed([path], lambda: _read(path))

    def caller(self, token: str) -> Caller | None:
        """Whose token it is, None when nobody's. Takes as long for every token: all digests are compared."""
        digest = _digest(token)
        found = None
        for known in self._followed.get():
            if hmac.compare_digest(known.digest, digest):
                found = known.caller
        return found


def new_token(name: str, role: Role) -> tuple[str, str]:
    """A new token, which nothing keeps, and the line for the file; UsageError: a name that cannot be."""
    token = _PREFIX + secrets.token_urlsafe(32)
    return token, f"{_checked(name)} {role} {_digest(token)}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"The name {name!r} must be 1 to 64 letters, digits and _ . @ -, without spaces.")
    return name


def _read(path: Path) -> list[_Token]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "it is not text").lower()
        raise UsageError(f"--tokens {path} cannot be read: {reason}.") from error
    tokens = list(_tokens(path, text.splitlines()))
    if not tokens:
        raise UsageError(f"--tokens {path} holds no token; make one with: lookalike token --name NAME")
    return tokens


def _tokens(path: Path, lines: Iterable[str]) -> Iterable[_Token]:
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        role = next((known for known in ROLES if len(words) == 3 and known == words[1]), None)
        if role is None or not _NAME.fullmatch(words[0]) or not _DIGEST.fullmatch(words[2]):
            # The line itself is not shown: somebody may have put the token there.
            raise UsageError(
                f"--tokens {path}: line {number} is not a name, a role ({' or '.join(ROLES)}) and a digest; "
                "make such lines with: lookalike token --name NAME"
            )
        yield _Token(Caller(words[0], role), words[2])
