"""Everything that observes a server, by its settings: metrics and their port, recall audit, logs, traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lookalike_server.batching.batcher import Observe
from lookalike_server.common.call_record import Sink
from lookalike_server.common.observe_settings import ObserveSettings
from lookalike_server.observe.exposition import MetricsPort, Readers
from lookalike_server.observe.interceptor import Observed
from lookalike_server.observe.logs import CallLog
from lookalike_server.observe.metrics import Metrics, of_all_processes
from lookalike_server.observe.security import SecurityLog
from lookalike_server.observe.tracing import Tracing, open_tracing
from lookalike_server.transport.tokens import Tokens

# Imported on demand: a front has no generation to observe, and loads no index.
if TYPE_CHECKING:
    from lookalike_server.observe.audit import RecallAudit
    from lookalike_server.observe.gauges import MonitoredServer
    from lookalike_server.placement.devices import Device


class Observatory:
    """Created before the server, which gets its parts. Call `open` once there is a server to observe."""

    def __init__(self, settings: ObserveSettings, admin: frozenset[str] = frozenset(), several: bool = False) -> None:
        """`admin` are the methods that change what is served. `several`: there is more than one collection.

        Raises UsageError if tracing is requested and OpenTelemetry is not installed.
        """
        self._settings = settings
        self._security = SecurityLog(admin)
        self._metrics = None if settings.metrics_port is None else Metrics(several)
        self._tracing: Tracing | None = open_tracing() if settings.tracing else None
        self._watched: MonitoredServer | None = None
        self._port: MetricsPort | None = None
        self._audits: list[RecallAudit] = []

    @property
    def interceptor(self) -> Observed:
        """The outermost of the server's interceptors."""
        log = CallLog() if self._settings.log_calls else None
        sinks: list[Sink] = [sink for sink in (self._metrics, log, self._security, self._tracing) if sink is not None]
        return Observed(sinks)

    def lane(self, name: str, collection: str = "") -> Observe | None:
        """Return the observer of the batches of a collection's queue, or None."""
        return self._metrics.lane(name, collection) if self._metrics else None

    def audit(self, collection: str = "") -> RecallAudit | None:
        """Return a new recall audit of a collection, or None if it is disabled."""
        metrics = self._metrics
        if metrics is None or not self._settings.audit_share:
            return None

        from lookalike_server.observe.audit import RecallAudit

        def count(outcome: str, queries: int) -> None:
            metrics.audited(outcome, queries, collection)

        audit = RecallAudit(self._settings.audit_share, self._idle, count)
        self._audits.append(audit)
        return audit

    def open(self, watched: MonitoredServer, devices: Sequence[Device], tokens: Tokens | None = None) -> None:
        """Start to answer scrapes. With `tokens`, other machines must send one.

        Raises IndexerError if the port cannot be bound.
        """
        self._watched = watched
        if self._metrics and self._settings.metrics_port is not None:
            from lookalike_server.observe.gauges import Gauges

            registry = of_all_processes(self._metrics.registry)
            registry.register(Gauges(watched, devices))
            host, port = self._settings.metrics_host, self._settings.metrics_port
            readers = Readers(tokens, self._security) if tokens is not None and self._settings.is_open else None
            self._port = MetricsPort(host, port, registry, readers)

    @property
    def metrics_port(self) -> int | None:
        """Port of the metrics, or None if there is none."""
        return self._port.port if self._port else None

    def close(self) -> None:
        """End the threads and send the last spans. May block briefly, so do not call it on the event loop."""
        for audit in self._audits:
            audit.close()
        if self._port:
            self._port.close()
        if self._tracing:
            self._tracing.close()
        self._security.close()

    def _idle(self) -> bool:
        watched = self._watched
        return watched is not None and watched.calls_in_flight == 0
