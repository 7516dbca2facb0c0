"""Settings of the page's web server, from the command line."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lookalike import TLS, InvalidArgumentError
from lookalike._channel import Connection

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class Listen:
    """Address that the page listens on; port 0 is any free port. InvalidArgumentError if it would be unsafe.

    `names` are the host names by which a proxy publishes the page.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.names:
            if not _NAME.fullmatch(name):
                raise InvalidArgumentError(
                    f"--http-name {name!r} is not the name of a host; give it without scheme, port and path, "
                    "such as hub.example.org."
                )
        object.__setattr__(self, "names", tuple(name.lower() for name in self.names))
        if not 0 <= self.port <= 65535:
            raise InvalidArgumentError(f"--http {self.port} is not a port; use 1 to 65535, or 0 for any free one.")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidArgumentError("--http-cert and --http-key go together; give both or neither.")
        for file in (self.tls_cert, self.tls_key):
            if file is not None and not file.is_file():
                raise InvalidArgumentError(f"There is no file {file}; it should hold a PEM certificate or key.")
        if not (self.encrypted or self.insecure or self.loopback):
            raise InvalidArgumentError(
                f"--host {self.host} can be reached from other machines, and tokens would cross the network readable; "
                "give --http-cert and --http-key, or --http-insecure if the network is trusted."
            )

    @property
    def loopback(self) -> bool:
        """True if only this machine can reach the page directly."""
        return is_loopback(self.host)

    @property
    def is_reachable_remotely(self) -> bool:
        """True if other machines can reach the page, directly or through a proxy."""
        return not self.loopback or bool(self.names)

    @property
    def needs_tokens(self) -> bool:
        """True if everyone must log in with a token of the server."""
        return self.is_reachable_remotely and not self.insecure

    @property
    def encrypted(self) -> bool:
        return self.tls_cert is not None

    def url(self, port: int) -> str:
        """Return the URL to open in a browser, with brackets for an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.encrypted else 'http'}://{host}:{port}/"


@dataclass(frozen=True)
class Upstream:
    """The gRPC server; `tls` and `insecure` as for lookalike.Client.

    `token` is used for everyone who opens the page, so it is allowed on loopback only.
    InvalidArgumentError: a setting is invalid.
    """

    server: str = "127.0.0.1:50051"
    tls: bool | TLS = False
    token: str | None = field(default=None, repr=False)
    insecure: bool = False

    def __post_init__(self) -> None:
        # Validate before the page is served, since its clients open later.
        Connection.checked(self.server, self.tls, None, 0, False, self.token, self.insecure)


@dataclass(frozen=True)
class Bounds:
    """Limits and timeouts of the page.

    - `thumbnail_bytes`, `upload_bytes`, `color_bytes`: memory for thumbnails, uploaded images, and colors of maps.
    - `one_upload_bytes`: size of one uploaded image.
    - `sessions`: logins; `collections`: collections for which each caller has a connection.
    - `session_s`: seconds until an unused login expires.
    - `admitted_s`: seconds after which the server is asked again whether a caller may see cached data.
    - `call_s`, `experiment_s`: timeout of a call, and of an experiment.
    """

    thumbnail_bytes: int = 64 << 20
    upload_bytes: int = 64 << 20
    color_bytes: int = 32 << 20
    one_upload_bytes: int = 20 << 20
    sessions: int = 256
    collections: int = 64
    session_s: float = 12 * 3600.0
    admitted_s: float = 5.0
    call_s: float = 30.0
    experiment_s: float = 120.0


def is_loopback(host: str) -> bool:
    """Return True if an address to listen on is loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
