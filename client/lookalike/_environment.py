"""Client settings from environment variables, which the command line shares."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lookalike._errors import InvalidArgumentError

DEFAULT_SERVER: Final = "127.0.0.1:50051"


@dataclass(frozen=True)
class Environment:
    """Values of LOOKALIKE_SERVER, _CA, _TOKEN or _TOKEN_FILE, and _COLLECTION_NAME; None where unset."""

    server: str
    ca: str | None
    token: str | None
    collection: str | None

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ, token: str | None = None) -> Environment:
        """Read the variables; `token` overrides theirs.

        InvalidArgumentError: the token file cannot be read.
        """
        return cls(
            server=variables.get("LOOKALIKE_SERVER") or DEFAULT_SERVER,
            ca=variables.get("LOOKALIKE_CA") or None,
            token=_token(variables) if token is None else token,
            collection=variables.get("LOOKALIKE_COLLECTION_NAME") or None,
        )


def _token(variables: Mapping[str, str]) -> str | None:
    path = variables.get("LOOKALIKE_TOKEN_FILE")
    if not path:
        return variables.get("LOOKALIKE_TOKEN") or None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InvalidArgumentError(f"LOOKALIKE_TOKEN_FILE: {path!r} cannot be read: {reason}.") from error
