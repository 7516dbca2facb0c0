"""Request ids: set by the caller's block, and reported by errors."""

import asyncio
import threading

import grpc
import pytest

import lookalike


def sent(toy):
    return [metadata.get("x-request-id") for metadata in toy.metadata]


def test_calls_within_the_block_carry_its_id(toy):
    with lookalike.Client(toy.address) as client:
        client.info()
        with lookalike.request_id("order-17"):
            client.info()
            with lookalike.request_id("order-17/2"):
                client.search(key="dogs/01.jpg", k=1)
            client.info()
        client.info()
    assert sent(toy) == [None, "order-17", "order-17/2", "order-17", None]


async def test_tasks_have_ids_of_their_own(toy):
    async with lookalike.aio.Client(toy.address) as client:

        async def work(name: str) -> None:
            with lookalike.request_id(name):
                await asyncio.sleep(0)
                await client.info()
                await client.info()

        await asyncio.gather(*[work(f"task-{number}") for number in range(8)])
    assert sorted(sent(toy)) == sorted([f"task-{number}" for number in range(8)] * 2)


def test_threads_have_ids_of_their_own(toy):
    with lookalike.Client(toy.address) as client, lookalike.request_id("mine"):
        other = threading.Thread(target=client.info)
        other.start()
        other.join()
    assert sent(toy) == [None]


@pytest.mark.parametrize("name", ["", "two words", "a" * 129, "é", "a\nb", None])
def test_other_names_are_rejected_before_any_call(client, toy, name):
    with (
        pytest.raises(lookalike.InvalidArgumentError, match="visible ASCII characters"),
        lookalike.request_id(name),
    ):
        client.info()
    assert toy.metadata == []


def test_error_has_the_request_id(connect, toy):
    toy.fail(grpc.StatusCode.INTERNAL, "No.", trailing=[("x-request-id", "1f2e3d")])
    with pytest.raises(lookalike.ServerError) as caught:
        connect(toy.address, retries=0).info()
    assert caught.value.request_id == "1f2e3d"


def test_error_without_a_server_has_no_request_id(connect):
    with pytest.raises(lookalike.UnavailableError) as caught:
        connect("127.0.0.1:1", retries=0).info()
    assert caught.value.request_id is None


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_calls_within_the_block_belong_to_its_trace(toy):
    with lookalike.Client(toy.address) as client:
        client.info()
        with lookalike.traceparent(PARENT, "vendor=1"):
            client.info()
        client.info()
    async with lookalike.aio.Client(toy.address) as client:
        with lookalike.traceparent(PARENT):
            await client.info()
    traces = [(metadata.get("traceparent"), metadata.get("tracestate")) for metadata in toy.metadata]
    assert traces == [(None, None), (PARENT, "vendor=1"), (None, None), (PARENT, None)]


@pytest.mark.parametrize("given", [("00-1-2-3",), ("",), (PARENT.upper(),), (PARENT, "é"), (PARENT, "")])
def test_malformed_trace_is_rejected_before_any_call(client, toy, given):
    with pytest.raises(lookalike.InvalidArgumentError, match="trace"), lookalike.traceparent(*given):
        client.info()
    assert toy.metadata == []


def test_calls_belong_to_the_current_span_of_opentelemetry(toy):
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    tracer = trace.TracerProvider().get_tracer("test")
    with lookalike.Client(toy.address) as client, tracer.start_as_current_span("work") as span:
        client.info()
    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert toy.metadata[-1]["traceparent"].split("-")[1] == trace_id
