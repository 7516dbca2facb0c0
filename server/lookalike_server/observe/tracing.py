"""OpenTelemetry spans: one for each call, with a child for each of its stages.

OpenTelemetry is imported only if tracing is enabled. Spans are created after a call has ended, from
its record, so tracing adds no time to the call.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc

from lookalike_indexer.errors import UsageError
from lookalike_server.common.call_record import TRACEPARENT, TRACESTATE, CallRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_FLUSH_TIMEOUT_MS = 2000


class Tracing:
    """Sink that creates spans. The caller's W3C trace context, if there is one, is their parent."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("lookalike")
        self._propagator = TraceContextTextMapPropagator()

    def ended(self, call: CallRecord) -> None:
        from opentelemetry import trace

        # Converts the performance counter to wall-clock time.
        offset = time.time() - time.perf_counter()
        parent = self._propagator.extract({TRACEPARENT: call.traceparent, TRACESTATE: call.tracestate})
        service, _, method = call.rpc.rpartition("/")
        attributes: dict[str, str | int] = {
            "rpc.system": "grpc", "rpc.service": service, "rpc.method": method,
            "rpc.grpc.status_code": _NUMBERS[call.code], "lookalike.request_id": call.request_id,
        }  # fmt: skip
        span = self._tracer.start_span(
            call.rpc, parent, trace.SpanKind.SERVER, attributes, start_time=_ns(call.started + offset)
        )
        if call.code in _FAILURES:
            span.set_status(trace.StatusCode.ERROR, call.cause or call.code)
        inside = trace.set_span_in_context(span)
        for step in call.stages:
            child = self._tracer.start_span(step.name, inside, start_time=_ns(step.started + offset))
            child.end(_ns(step.started + step.seconds + offset))
        span.end(_ns(call.started + call.seconds + offset))

    def close(self) -> None:
        """Send pending spans, with a short timeout."""
        self._provider.force_flush(_FLUSH_TIMEOUT_MS)
        self._provider.shutdown()


def open_tracing() -> Tracing:
    """Return tracing by OTLP to OTEL_EXPORTER_OTLP_ENDPOINT. Raises UsageError if the extra is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise UsageError('--tracing needs OpenTelemetry; install it with: pip install "lookalike[tracing]"') from error
    # Reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "lookalike"}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


_NUMBERS: dict[str, int] = {code.name: code.value[0] for code in grpc.StatusCode}
# Server errors by OpenTelemetry's semantic conventions. Other codes are the caller's fault.
_FAILURES = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
