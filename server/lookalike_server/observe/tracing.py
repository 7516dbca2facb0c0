"""OpenTelemetry spans: one for each call, and one below it for each of its stages.

Nothing of OpenTelemetry is loaded unless tracing was asked for. The spans are
made when a call has ended, from the times that its record holds, so that
tracing costs a call nothing on its way.
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
    """A Sink that makes spans. The callers' W3C trace context, where they send one, is their parent."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("lookalike")
        self._propagator = TraceContextTextMapPropagator()

    def ended(self, call: CallRecord) -> None:
        from opentelemetry import trace

        # From the clock of durations to that of the day.
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
        """Send what has not been sent; waits for that no longer than a moment."""
        self._provider.force_flush(_FLUSH_TIMEOUT_MS)
        self._provider.shutdown()


def open_tracing() -> Tracing:
    """Spans that are sent by OTLP, to where OTEL_EXPORTER_OTLP_ENDPOINT says; UsageError without the extra."""
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise UsageError('--tracing needs OpenTelemetry; install it with: pip install "lookalike[tracing]"') from error
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say.
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "lookalike"}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


_NUMBERS: dict[str, int] = {code.name: code.value[0] for code in grpc.StatusCode}
# By the semantic conventions of OpenTelemetry these are errors of a server; the others are a caller's affair.
_FAILURES = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
