"""Secret that identifies commands of the user who runs the server, if no tokens are set."""

from __future__ import annotations

import hmac
import logging
import secrets
from pathlib import Path

from lookalike import local_secret

log = logging.getLogger(__name__)


class LocalUser:
    """A secret that only this user can read, while the server runs (see lookalike/local_secret.py)."""

    def __init__(self, secret: str | None = None) -> None:
        """Use the `secret` that another process of this server publishes, or create one."""
        self.secret = secret or secrets.token_urlsafe(32)
        self._file: Path | None = None

    def has(self, token: str) -> bool:
        """Return whether a token is the secret. Constant time."""
        return hmac.compare_digest(self.secret.encode(), token.encode(errors="surrogateescape"))

    def publish(self, port: int) -> None:
        """Write the secret to the file where this user's commands look for it."""
        try:
            self._file = local_secret.write(port, self.secret)
        except OSError as error:
            log.warning(
                "the server cannot write its private token file (%s), so it rejects `lookalike reload`; "
                "send SIGHUP instead",
                error,
            )

    def withdraw(self) -> None:
        """Remove the file."""
        if self._file is not None:
            local_secret.remove(self._file, self.secret)
