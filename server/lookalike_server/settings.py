"""How a server was asked to serve; made at the command line and passed whole."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from lookalike_indexer.errors import UsageError
from lookalike_server.limits import Limits
from lookalike_server.observe.settings import ObserveSettings
from lookalike_server.placement.place import Placement


@dataclass(frozen=True)
class Listen:
    """Where callers come in. Port 0 means any free one. UsageError when that would be unsafe by oversight."""

    host: str = "127.0.0.1"
    port: int = 50051
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port {self.port} is not a port; use 1 to 65535, or 0 for any free one.")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key go together; give both or neither.")
        if not (self.tls or self.insecure or _is_loopback(self.host)):
            raise UsageError(
                f"--host {self.host} can be reached from other machines and would be served without encryption; "
                "give --tls-cert and --tls-key, or --insecure if the network is trusted."
            )

    @property
    def tls(self) -> bool:
        return self.tls_cert is not None

    def address(self, port: int) -> str:
        """host:port, with the brackets that an IPv6 address needs."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


@dataclass(frozen=True)
class ServeSettings:
    """`grace` is how long calls in flight may take to finish at the end, `watch` how often to look for a new
    generation, both in seconds; `weights` is a weights file that takes the place of the manifest's.
    """

    root: str
    listen: Listen = field(default_factory=Listen)
    placement: Placement = "cpu"
    gpus: str = ""
    weights: str | None = None
    grace: float = 10.0
    watch: float = 1.0
    limits: Limits = field(default_factory=Limits)
    observe: ObserveSettings = field(default_factory=ObserveSettings)

    def __post_init__(self) -> None:
        if self.limits.max_queue < 1:
            raise UsageError(f"--max-queue {self.limits.max_queue} would refuse every call; it must be at least 1.")
        if self.grace < 0:
            raise UsageError(f"--grace {self.grace:g} is not a length of time; it must be 0 seconds or more.")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
