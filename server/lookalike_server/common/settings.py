"""Settings of a server, made at the command line and passed as a whole."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from lookalike_indexer.errors import UsageError
from lookalike_server.common.limits import Limits
from lookalike_server.common.observe_settings import ObserveSettings
from lookalike_server.common.peers import is_loopback
from lookalike_server.common.placement_mode import OnLoss, PlacementMode
from lookalike_server.common.shard_settings import ShardSettings
from lookalike_server.common.share import Share
from lookalike_server.common.tls_files import TLSFiles
from lookalike_server.common.visible import ShowPaths


@dataclass(frozen=True)
class Listen:
    """Address, TLS, and permitted callers. Port 0 means any free one.

    Raises UsageError if other machines could connect insecurely without `insecure`.

    With `tls_client_ca`, callers need a certificate of that authority. With `tokens`, they need a
    token whose digest is in that file. `show_paths` says who sees paths of images and other files;
    see visible.py.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    tls_client_ca: Path | None = None
    tokens: Path | None = None
    reflection: bool = True
    show_paths: ShowPaths = "local"

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port {self.port} is not a port; use 1 to 65535, or 0 for any free one.")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key need each other; give both or neither.")
        if self.tls_client_ca is not None and self.tls is None:
            raise UsageError("--tls-client-ca needs --tls-cert and --tls-key: clients send certificates only over TLS.")
        known = self.tokens is not None or self.tls_client_ca is not None
        if not (self.insecure or is_loopback(self.host) or (self.tls and known)):
            raise UsageError(
                f"--host {self.host} accepts remote clients, so configure TLS and authentication: "
                "give --tls-cert and --tls-key, and --tokens or --tls-client-ca; "
                "or --insecure if the network is trusted."
            )

    @property
    def tls(self) -> TLSFiles | None:
        if self.tls_cert is None or self.tls_key is None:
            return None
        return TLSFiles(self.tls_cert, self.tls_key, self.tls_client_ca)

    def address(self, port: int) -> str:
        """Return host:port, with brackets around an IPv6 address."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


@dataclass(frozen=True)
class Connections:
    """Lifetime of connections, in seconds.

    An idle connection is closed after `idle`. So is one that does not answer a ping within
    `answer`; a ping is sent after `ping` without traffic. Each connection is closed after `age`,
    when its calls have ended or `last` has passed, so that no slow reader holds it forever. Clients
    reconnect automatically.
    """

    idle: float = 900.0
    ping: float = 60.0
    answer: float = 20.0
    age: float = 3600.0
    last: float = 60.0


@dataclass(frozen=True)
class CollectionSettings:
    """One collection to serve: its folder `root`, and its own settings, as in ServeSettings.

    Callers know it as `name`, or by its folder's name if `name` is empty.
    """

    root: str
    name: str = ""
    weights: str | None = None
    indexes: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class ServeSettings:
    """Settings of a server.

    At shutdown, calls in flight have `grace` seconds to finish. Every `watch` seconds the server
    checks for a new generation. `weights` is a weights file that replaces the manifest's. `on_loss`
    is the policy for a lost device, as in placer.py. `indexes` names the indexes to search, as in
    index_choice.py. Without `experiments` only stored results are returned. A `writable` server
    accepts changes to its collections. With several `fronts`, that many processes take calls. With
    `share`, only that share of the images is searched, for routers. With `shards`, this server is a
    router, and those servers search.

    `root` is the folder of the only collection, or of the first. `collections` has all of them with
    their own settings. If there are several, `limits` are those of the whole server.
    """

    root: str = ""
    listen: Listen = field(default_factory=Listen)
    placement: PlacementMode = "cpu"
    gpus: str = ""
    weights: str | None = None
    indexes: tuple[str, ...] = ()
    grace: float = 10.0
    watch: float = 1.0
    on_loss: OnLoss = "retry"
    experiments: bool = True
    writable: bool = False
    limits: Limits = field(default_factory=Limits)
    connections: Connections = field(default_factory=Connections)
    observe: ObserveSettings = field(default_factory=ObserveSettings)
    collections: tuple[CollectionSettings, ...] = ()
    fronts: int = 1
    share: Share | None = None
    shards: ShardSettings | None = None

    def __post_init__(self) -> None:
        if not self.collections:
            only = CollectionSettings(self.root, "", self.weights, self.indexes, self.limits)
            object.__setattr__(self, "collections", (only,))
        if self.fronts < 1:
            raise UsageError(f"--fronts {self.fronts} is not a number of processes; it must be 1 or more, or auto.")
        if self.share is not None and self.writable:
            raise UsageError(
                "--shard and --writable exclude each other: a shard only follows the changes of another server."
            )
        if self.share is not None and self.placement != "cpu":
            raise UsageError(f"--shard {self.share} needs --placement cpu: a shard searches on the processor.")
        if self.share is not None:
            # Routers send masks of all rows in one message, and only routers call a shard.
            unary = max(self.limits.max_unary_bytes, self.limits.max_message_bytes)
            object.__setattr__(self, "limits", dataclasses.replace(self.limits, max_unary_bytes=unary))
        # Written so that NaN is rejected as well.
        if not self.grace >= 0:
            raise UsageError(f"--grace {self.grace:g} is negative; it must be 0 seconds or more.")
        if self.observe.is_open and self.listen.tokens is None and not self.listen.insecure:
            raise UsageError(
                f"--metrics-host {self.observe.metrics_host} accepts remote clients, so configure authentication: "
                "give --tokens, and give Prometheus a token of the role metrics; "
                "or --insecure if the network is trusted."
            )
