"""Request ids, logs, and data that must not be in logs."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from lookalike.v1 import search_pb2, types_pb2
from lookalike_server.common import call_record as record
from lookalike_server.common.observe_settings import ObserveSettings
from lookalike_server.observe import logs

LOGGED = ObserveSettings(log_calls=True)
TRACE = "0af7651916cd43dd8448eb211c80319c"


def asked(ids: list[int], k: int = 3) -> search_pb2.SearchRequest:
    return search_pb2.SearchRequest(query=types_pb2.QueryBatch(ids=types_pb2.Ids(values=ids)), k=k)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Return the output of a server with --log-format json, from level DEBUG."""
    yield from _writing(logs.JsonFormatter())


@pytest.fixture
def text() -> Iterator[io.StringIO]:
    yield from _writing(logs.TextFormatter())


def _writing(formatter: logging.Formatter) -> Iterator[io.StringIO]:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield out
    root.removeHandler(handler)
    root.setLevel(level)


def calls(written: io.StringIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    return [line for line in lines if line["logger"] == logs.CALLS]


async def request_id(call: Any) -> str:
    return dict(await call.trailing_metadata())[record.REQUEST_ID]


async def test_replies_and_errors_return_the_request_id(make_toy, serve) -> None:
    async with serve(make_toy()) as served:
        given = (("x-request-id", "order-17"),)
        assert await request_id(served.search.Search(asked([5]), metadata=given)) == "order-17"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.search.Search(asked([5], k=0), metadata=given)
        trailing = dict(caught.value.trailing_metadata())
        assert trailing["x-request-id"] == "order-17"
        assert "grpc-status-details-bin" in trailing


@pytest.mark.parametrize("bad", ["", "a" * 129, "two words"])
async def test_other_calls_get_an_id_of_their_own(make_toy, serve, bad) -> None:
    async with serve(make_toy()) as served:
        metadata = (("x-request-id", bad),) if bad else ()
        first = await request_id(served.search.Search(asked([5]), metadata=metadata))
        second = await request_id(served.search.Search(asked([5])))
    assert len(first) == len(second) == 16
    assert first != second


async def test_each_call_is_a_line_of_json(make_toy, serve, written) -> None:
    async with serve(make_toy(), observe=LOGGED) as served:
        metadata = (("x-request-id", "order-17"), ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"))
        await served.search.Search(asked([5]), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError):
            await served.search.Search(asked([6]), metadata=metadata)
    good, bad = calls(written)
    assert (good["rpc"], good["code"], good["level"]) == ("lookalike.v1.SearchService/Search", "OK", "INFO")
    assert (good["request_id"], good["trace_id"]) == ("order-17", TRACE)
    assert 0 < good["search_ms"] <= good["ms"]
    assert {"read_ms", "queue_ms", "lookup_ms"} <= good.keys()
    assert (bad["code"], bad["cause"]) == ("NOT_FOUND", "NOT_FOUND")
    assert "search_ms" not in bad


async def test_failure_of_the_servers_own_is_logged_with_its_call(make_toy, serve, written, monkeypatch) -> None:
    async with serve(make_toy()) as served:

        def broken(*arguments: object) -> None:
            raise RuntimeError("out of order")

        monkeypatch.setattr(served.app.current.snapshot.spaces["tiny"], "vectors", broken)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.search.Search(asked([5]), metadata=(("x-request-id", "order-18"),))
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    failed = next(line for line in lines if line["level"] == "ERROR")
    assert failed["request_id"] == "order-18"
    assert "out of order" in failed["exception"]


async def test_no_vector_no_image_and_no_token_is_logged(make_toy, serve, by_vector, make_embedder, written) -> None:
    """Markers that were sent in requests are nowhere in the log, at any level, for successes and failures."""
    toy = make_toy()
    mark = 1.2345678
    vector = np.full((1, 16), mark, np.float32)
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(encoded, "PNG")
    pictures = [b"7", b"SECRETPIXELS" * 10, encoded.getvalue()]
    metadata = (("authorization", "Bearer SECRETTOKEN"), ("x-api-key", "SECRETKEY"))
    async with serve(toy, observe=LOGGED, open_embedder=lambda reader, space: make_embedder(toy)) as served:
        queries = [
            by_vector(vector),
            by_vector(vector[:, :3]),
            by_vector(vector * np.nan),
            by_vector(vector, fingerprint="SECRETFINGER"),
            *[types_pb2.QueryBatch(images=types_pb2.Images(data=[one])) for one in pictures],
        ]
        codes = []
        for query in queries:
            call = served.search.Search(search_pb2.SearchRequest(query=query, k=2), metadata=metadata)
            codes.append((await call.code()).name)
    assert codes.count("OK") == 2
    log = written.getvalue()
    assert len(calls(written)) == len(queries)
    for marked in ("SECRET", str(mark)[:6], repr(vector.tobytes()[:4])[2:-1], "\\x89PNG", "89504e47"):
        assert marked not in log, marked


def test_name_cannot_write_a_second_line_or_to_the_terminal(text) -> None:
    logging.getLogger("lookalike_server.test").warning("no thumbnail of %s", "a\nb\x1b[31m\u202e.jpg")
    line = text.getvalue()
    assert line.count("\n") == 1
    assert "a\\nb\\x1b[31m\\u202e.jpg" in line


def test_non_utf8_name_can_be_logged_as_json(written) -> None:
    # To the handler itself: pytest would send captured output to its other process as UTF-8.
    name = "no thumbnail of %s"
    args = ("\udcff.jpg",)
    (handler,) = [each for each in logging.getLogger().handlers if getattr(each, "stream", None) is written]
    handler.handle(logging.LogRecord("lookalike_server.test", logging.WARNING, __file__, 1, name, args, None))
    written.getvalue().encode()
    assert json.loads(written.getvalue())["message"] == "no thumbnail of \udcff.jpg"


@pytest.mark.parametrize(
    ("given", "found"),
    [(f"00-{TRACE}-b7ad6b7169203331-01", TRACE), ("", ""), ("00-xyz-1-01", ""), (f"00-{TRACE[:-1]}g-1-01", "")],
)
def test_trace_ids_are_read_or_left_out(given, found) -> None:
    assert logs.trace_id(given) == found
