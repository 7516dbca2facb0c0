from __future__ import annotations

import subprocess
import sys

import grpc
import pytest

from lookalike.v1 import search_pb2, types_pb2
from lookalike_server.common.observe_settings import ObserveSettings
from lookalike_server.observe import observatory
from lookalike_server.observe.tracing import Tracing

export = pytest.importorskip(
    "opentelemetry.sdk.trace.export.in_memory_span_exporter", reason="needs the extra [tracing]"
)
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def spans(monkeypatch):
    """The spans of a server with tracing, kept in memory instead of exported."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    kept = export.InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(observatory, "open_tracing", lambda: Tracing(provider))
    return kept


def asked(ids: list[int]) -> search_pb2.SearchRequest:
    return search_pb2.SearchRequest(query=types_pb2.QueryBatch(ids=types_pb2.Ids(values=ids)), k=3)


async def test_call_is_a_span_with_its_stages_below_it(make_toy, serve, spans) -> None:
    async with serve(make_toy(), observe=ObserveSettings(tracing=True)) as served:
        metadata = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("x-request-id", "order-17"))
        await served.search.Search(asked([5]), metadata=metadata)
    found = {span.name: span for span in spans.get_finished_spans()}
    call = found["lookalike.v1.SearchService/Search"]
    assert f"{call.context.trace_id:032x}" == TRACE
    assert f"{call.parent.span_id:016x}" == PARENT
    assert call.attributes["lookalike.request_id"] == "order-17"
    assert (call.attributes["rpc.method"], call.attributes["rpc.grpc.status_code"]) == ("Search", 0)
    for stage in ("read", "queue", "search", "lookup"):
        assert found[stage].parent.span_id == call.context.span_id
        assert call.start_time <= found[stage].start_time <= found[stage].end_time <= call.end_time


async def test_only_the_servers_own_failures_are_errors(make_toy, serve, spans, monkeypatch) -> None:
    async with serve(make_toy(), observe=ObserveSettings(tracing=True)) as served:
        for ids in ([5], [6]):
            if ids == [5]:
                monkeypatch.setattr(served.app.current.snapshot.spaces["tiny"], "vectors", lambda rows: 1 / 0)
            with pytest.raises(grpc.aio.AioRpcError):
                await served.search.Search(asked(ids))
    broken, unknown = [span for span in spans.get_finished_spans() if span.name.endswith("/Search")]
    assert (broken.status.status_code.name, broken.status.description) == ("ERROR", "INTERNAL")
    assert (unknown.status.status_code.name, unknown.attributes["rpc.grpc.status_code"]) == ("UNSET", 5)
    assert broken.context.trace_id != unknown.context.trace_id


def test_nothing_of_opentelemetry_is_loaded_without_tracing() -> None:
    code = (
        "import sys, lookalike_server.app\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
