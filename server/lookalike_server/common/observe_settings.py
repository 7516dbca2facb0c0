"""Settings for metrics, logs, and traces."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.errors import UsageError
from lookalike_server.common.peers import is_loopback


@dataclass(frozen=True)
class ObserveSettings:
    """Settings of observation. Everything is off by default.

    Metrics are served at `metrics_host:metrics_port` if there is a port (0: any free one).
    `audit_share` is the share of live queries, 0 to 1, whose recall is audited. `log_calls` logs a
    line for each call. `tracing` sends spans as the OTEL_* environment variables say.
    """

    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    audit_share: float = 0.0
    log_calls: bool = False
    tracing: bool = False

    @property
    def is_open(self) -> bool:
        """True if other machines can reach the metrics."""
        return self.metrics_port is not None and not is_loopback(self.metrics_host)

    def __post_init__(self) -> None:
        if self.metrics_port is not None and not 0 <= self.metrics_port <= 65535:
            raise UsageError(
                f"--metrics-port {self.metrics_port} is not a port; use 1 to 65535, or 0 for any free one."
            )
        if not 0 <= self.audit_share <= 1:
            raise UsageError(f"--audit-share {self.audit_share:g} is out of range; it must be 0 to 1.")
        if self.audit_share and self.metrics_port is None:
            raise UsageError("--audit-share needs --metrics-port, which publishes its results.")
