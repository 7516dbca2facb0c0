"""Options of `lookalike serve` for metrics, logs, and traces."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lookalike_server.commands.options import setting

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    setting("--metrics-port", type=int, metavar="N", help="Port that serves Prometheus metrics; 0 for any free one."),
    setting(
        "--metrics-host",
        default="127.0.0.1",
        show_default=True,
        help="Address of the metrics port; an address other than loopback needs --tokens or --insecure.",
    ),
    setting(
        "--audit-share",
        type=float,
        default=0.0,
        show_default=True,
        metavar="0..1",
        help="Share of live queries that the server repeats with exact search, in idle time, to measure their recall.",
    ),
    setting("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Log format."),
    setting("--log-calls", is_flag=True, help="Log a line for each call."),
    setting(
        "--security-log",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Also append rejected callers and admin calls to FILE, as JSON lines.",
    ),
    setting("--tracing", is_flag=True, help="Send OpenTelemetry spans to OTEL_EXPORTER_OTLP_ENDPOINT."),
)


def observe_options(command: F) -> F:
    """Add the options. The command gets them as `observe` (ObserveSettings), `log_format`, and `security_log`."""

    @functools.wraps(command)
    def run(
        *arguments: Any,
        metrics_port: int | None,
        metrics_host: str,
        audit_share: float,
        log_calls: bool,
        tracing: bool,
        **others: Any,
    ) -> Any:
        # Imported here, so that `lookalike --help` stays fast.
        from lookalike_server.common.observe_settings import ObserveSettings

        observe = ObserveSettings(metrics_port, metrics_host, audit_share, log_calls, tracing)
        return command(*arguments, observe=observe, **others)

    wrapped: Any = run
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    result: F = wrapped
    return result
