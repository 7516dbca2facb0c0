"""Errors, deadlines, retries, message sizes, TLS, closing."""

import asyncio
import io
import socket
import threading
import time
from concurrent import futures

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from PIL import Image

import lookalike

TOKEN = "lookalike_" + "abc"

KINDS = {
    grpc.StatusCode.CANCELLED: lookalike.CallCancelledError,
    grpc.StatusCode.UNKNOWN: lookalike.ServerError,
    grpc.StatusCode.INVALID_ARGUMENT: lookalike.InvalidArgumentError,
    grpc.StatusCode.DEADLINE_EXCEEDED: lookalike.DeadlineExceededError,
    grpc.StatusCode.NOT_FOUND: lookalike.NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: lookalike.ServerError,
    grpc.StatusCode.PERMISSION_DENIED: lookalike.AuthenticationError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: lookalike.OverloadedError,
    grpc.StatusCode.FAILED_PRECONDITION: lookalike.FailedPreconditionError,
    grpc.StatusCode.ABORTED: lookalike.ServerError,
    grpc.StatusCode.OUT_OF_RANGE: lookalike.InvalidArgumentError,
    grpc.StatusCode.UNIMPLEMENTED: lookalike.UnimplementedError,
    grpc.StatusCode.INTERNAL: lookalike.ServerError,
    grpc.StatusCode.UNAVAILABLE: lookalike.UnavailableError,
    grpc.StatusCode.DATA_LOSS: lookalike.DataLossError,
    grpc.StatusCode.UNAUTHENTICATED: lookalike.AuthenticationError,
}


def red_picture(size: int) -> bytes:
    """Return an image of about a number of bytes: decoders ignore bytes after the end of a PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (255, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue() + bytes(size)


def test_every_status_but_ok_has_a_kind():
    assert set(KINDS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


@pytest.mark.parametrize("code", KINDS, ids=lambda code: code.name)
def test_each_status_becomes_its_kind_with_the_servers_words(connect, toy, code):
    toy.fail(code, "The étude says so.")
    with pytest.raises(lookalike.LookalikeError, match=r"The étude says so\.") as caught:
        connect(toy.address, retries=0).info()
    assert type(caught.value) is KINDS[code]
    assert caught.value.code is code
    assert caught.value.retry_after is None


def test_error_without_words_still_makes_a_sentence(client, toy):
    toy.fail(grpc.StatusCode.INTERNAL)
    with pytest.raises(lookalike.ServerError, match=r"127\.0\.0\.1:\d+ failed with INTERNAL and gave no reason"):
        client.info()


def test_call_canceled_by_the_server_has_an_error_message(client, toy):
    toy.fail(grpc.StatusCode.CANCELLED, "CANCELLED")
    with pytest.raises(lookalike.CallCancelledError, match=r"cancelled the call.*retry"):
        client.info()


@pytest.mark.parametrize("words", ["", "Deadline Exceeded", "Stream removed (Deadline Exceeded)"])
def test_every_grpc_timeout_has_the_same_error_message(connect, toy, words):
    toy.fail(grpc.StatusCode.DEADLINE_EXCEEDED, words)
    with pytest.raises(
        lookalike.DeadlineExceededError, match=r"^127\.0\.0\.1:\d+ did not answer within 9 s; allow more"
    ):
        connect(toy.address, timeout=9).info()


def full(toy, seconds: float, times: int = 1 << 30) -> None:
    """Make the toy's queue full, with a retry delay in seconds."""
    status = status_pb2.Status(code=8, message="The queue is full.")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="QUEUE_FULL"))
    delay = duration_pb2.Duration(seconds=int(seconds), nanos=round(seconds % 1 * 1e9))
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    trailing = [("grpc-status-details-bin", status.SerializeToString())]
    toy.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "The queue is full.", times, trailing)


def test_retry_after_comes_from_the_status_details(connect, toy):
    full(toy, 1.25)
    with pytest.raises(lookalike.OverloadedError, match=r"^The queue is full\.$") as caught:
        connect(toy.address, retries=0).info()
    assert caught.value.retry_after == 1.25
    assert len(toy.calls) == 1


def test_overloaded_server_is_retried_after_its_delay(client, toy):
    full(toy, 0.4, times=2)
    begun = time.monotonic()
    assert client.info(timeout=60).images == 11
    assert time.monotonic() - begun >= 0.8
    assert toy.calls == ["GetCollection"] * 3


def test_overloaded_server_is_retried_until_the_timeout(connect, toy):
    full(toy, 0.1, times=8)
    assert connect(toy.address, retries=1).info(timeout=60).images == 11
    assert len(toy.calls) == 9
    full(toy, 0.1)
    with pytest.raises(lookalike.OverloadedError):
        connect(toy.address).info(timeout=1)
    assert len(toy.calls) > 9 + 1


def test_retries_of_an_overloaded_server_stay_within_the_timeout(client, toy):
    full(toy, 3600)
    begun = time.monotonic()
    with pytest.raises(lookalike.OverloadedError) as caught:
        client.info(timeout=60)
    assert time.monotonic() - begun < 30
    assert caught.value.retry_after == 3600
    assert len(toy.calls) == 1


def test_status_details_that_cannot_be_read_do_not_hide_the_error(client, toy):
    toy.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", trailing=[("grpc-status-details-bin", b"\xff\xff\xff")])
    with pytest.raises(lookalike.OverloadedError, match="full") as caught:
        client.info()
    assert caught.value.retry_after is None


def test_call_is_tried_three_times(client, toy):
    toy.fail(grpc.StatusCode.UNAVAILABLE, "going down", times=2)
    assert client.info().images == 11
    assert toy.calls == ["GetCollection"] * 3


def test_call_larger_than_grpcs_own_retry_buffer_is_tried_again_too(client, toy):
    toy.fail(grpc.StatusCode.UNAVAILABLE, "going down", times=2)
    assert client.search(image=red_picture(1 << 20), k=1).ids.tolist() == [9]
    assert toy.calls == ["Search"] * 3


def test_retries_end(connect, toy):
    toy.fail(grpc.StatusCode.UNAVAILABLE, "The device is lost.")
    with pytest.raises(lookalike.UnavailableError, match=r"^The device is lost\.$"):
        connect(toy.address, retries=2).info()
    assert toy.calls == ["GetCollection"] * 3


def test_retries_can_be_turned_off(connect, toy):
    toy.fail(grpc.StatusCode.UNAVAILABLE, "going down", times=1)
    with pytest.raises(lookalike.UnavailableError):
        connect(toy.address, retries=0).info()
    assert toy.calls == ["GetCollection"]


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.ABORTED]
)
def test_only_unavailable_errors_are_retried(client, toy, code):
    toy.fail(code, "no")
    with pytest.raises(lookalike.LookalikeError):
        client.info()
    assert len(toy.calls) == 1


@pytest.mark.parametrize("where", ["call", "client"])
def test_slow_server_is_given_up_after_the_timeout(connect, toy, where):
    toy.delay = 60
    client = connect(toy.address, timeout=0.2 if where == "client" else 30)
    begun = time.monotonic()
    with pytest.raises(lookalike.DeadlineExceededError, match=r"did not answer within 0\.2 s; allow more") as caught:
        client.info(**({"timeout": 0.2} if where == "call" else {}))
    assert 0.15 < time.monotonic() - begun < 30
    assert isinstance(caught.value, TimeoutError)


def test_call_may_be_given_more_time_than_the_client_gives(connect, toy):
    toy.delay = 0.3
    client = connect(toy.address, timeout=0.1)
    assert client.info(timeout=60).images == 11
    assert client.info(timeout=float("inf")).images == 11
    assert connect(toy.address, timeout=None).info().images == 11


def test_missing_server_has_a_one_sentence_error(connect):
    with pytest.raises(
        lookalike.UnavailableError, match=r"^No server answers at 127\.0\.0\.1:1: is `lookalike serve` run"
    ):
        connect("127.0.0.1:1", retries=0).info()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_call_waits_for_a_starting_server(connect, start_toy):
    port = free_port()
    start = threading.Timer(3.0, start_toy, [port])
    start.start()
    # Longer than all pauses between retries together.
    assert connect(f"127.0.0.1:{port}", retries=1).info(timeout=60).images == 11
    start.join()


def test_call_outlives_the_restart_of_its_server(connect, start_toy):
    port = free_port()
    first = start_toy(port)
    client = connect(f"127.0.0.1:{port}")
    assert client.info(timeout=60).images == 11
    first.stop(None).wait()
    start = threading.Timer(3.0, start_toy, [port])
    start.start()
    assert client.info(timeout=60).images == 11
    start.join()


def test_unstarted_server_is_reported_after_the_timeout(connect):
    begun = time.monotonic()
    with pytest.raises(lookalike.UnavailableError, match=r"^No server answers at 127\.0\.0\.1:1: is `lookalike serve`"):
        connect("127.0.0.1:1").info(timeout=3)
    assert 2 < time.monotonic() - begun < 30


@pytest.mark.parametrize("settings", [{"retries": 0}, {"wait_for_server": False}])
def test_client_that_does_not_wait_fails_immediately(connect, settings):
    begun = time.monotonic()
    with pytest.raises(lookalike.UnavailableError, match=r"^No server answers"):
        connect("127.0.0.1:1", **settings).info(timeout=120)
    assert time.monotonic() - begun < 60


def test_health_check_does_not_wait_for_the_server(connect):
    begun = time.monotonic()
    assert connect("127.0.0.1:1").is_serving(timeout=120) is False
    assert time.monotonic() - begun < 60


def test_closing_a_client_ends_its_pauses(toy):
    full(toy, 3600)
    with lookalike.Client(toy.address, timeout=None) as client, futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.info)
        toy.until_asked()
        client.close()
        # "was closed" where the first attempt had not been answered yet.
        with pytest.raises(lookalike.ClosedError, match=r"(is|was) closed"):
            call.result(60)


async def test_closing_an_asyncio_client_ends_its_pauses(toy):
    full(toy, 3600)
    async with lookalike.aio.Client(toy.address, timeout=None) as client:
        task = asyncio.create_task(client.info())
        await asyncio.to_thread(toy.until_asked)
        await asyncio.sleep(0.2)
        await client.close()
        with pytest.raises(lookalike.ClosedError, match=r"(is|was) closed"):
            await asyncio.wait_for(task, 60)


def test_unresolvable_address_has_the_same_error(connect):
    with pytest.raises(lookalike.UnavailableError, match=r"^No server answers at nosuch\.invalid:50051"):
        connect("nosuch.invalid:50051", retries=0).info(timeout=60)


def test_messages_beyond_grpcs_four_megabytes_go_both_ways(client, toy):
    assert client.search(image=red_picture(5 << 20), k=1).ids.tolist() == [9]
    toy.uri_padding = 5 << 20
    assert len(client.lookup(id=3).uri) > 5 << 20


def test_message_over_the_server_limit_has_its_own_error(client):
    with pytest.raises(lookalike.MessageTooLargeError, match="use smaller batches") as caught:
        client.search(image=b"x" * (17 << 20))
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_server_without_the_services_is_unimplemented(connect):
    bare = grpc.server(futures.ThreadPoolExecutor(1))
    port = bare.add_insecure_port("127.0.0.1:0")
    bare.start()
    try:
        with pytest.raises(lookalike.UnimplementedError, match="older than this client, or no Lookalike server"):
            connect(f"127.0.0.1:{port}").info()
    finally:
        bare.stop(None).wait()


def test_server_that_does_not_offer_a_call_says_so_itself(client, toy):
    status = status_pb2.Status(code=12)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="UNKNOWN_METHOD"))
    trailing = [("grpc-status-details-bin", status.SerializeToString())]
    toy.fail(grpc.StatusCode.UNIMPLEMENTED, "This server runs no experiments.", trailing=trailing)
    with pytest.raises(lookalike.UnimplementedError, match=r"^This server runs no experiments\.$"):
        client.info()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda neighbors: neighbors.counts.append(3),
        lambda neighbors: neighbors.keys.pop(),
        lambda neighbors: neighbors.labels.append("dogs"),
        lambda neighbors: neighbors.ids.ClearField("data"),
        lambda neighbors: neighbors.ids.CopyFrom(neighbors.distances),
        lambda neighbors: neighbors.distances.ClearField("element_type"),
    ],
)
def test_inconsistent_reply_is_rejected(client, toy, spoil):
    toy.change = lambda method, reply: spoil(reply.neighbors)
    with pytest.raises(lookalike.ProtocolError, match="cannot be read by this version of the client"):
        client.search(key="dogs/01.jpg", k=2)


def test_too_few_thumbnails_or_images_are_not_passed_on(client, toy):
    toy.change = lambda method, reply: reply.jpegs.pop()
    with pytest.raises(lookalike.ProtocolError, match="2 images were asked for and 1 came"):
        client.thumbnails([1, 2])


def test_tls_with_a_private_authority_and_a_client_certificate(connect, tls_address, certificates):
    mutual = lookalike.TLS(ca=certificates.ca, cert=certificates.client_cert, key=certificates.client_key)
    assert connect(tls_address, tls=mutual).info().images == 11
    from_bytes = lookalike.TLS(
        ca=certificates.ca.read_bytes(),
        cert=certificates.client_cert.read_bytes(),
        key=certificates.client_key.read_bytes(),
        server_name="lookalike.test",
    )
    assert connect(tls_address, tls=from_bytes).info().images == 11


@pytest.mark.parametrize("trust", ["public", "no client certificate", "wrong name"])
def test_tls_without_trust_is_rejected(connect, tls_address, certificates, trust):
    pair = {"cert": certificates.client_cert, "key": certificates.client_key}
    tls = {
        "public": True,
        "no client certificate": lookalike.TLS(ca=certificates.ca),
        "wrong name": lookalike.TLS(ca=certificates.ca, server_name="elsewhere.test", **pair),
    }[trust]
    with pytest.raises(lookalike.UnavailableError):
        connect(tls_address, tls=tls, retries=0).info(timeout=60)


def test_plain_text_to_a_tls_server_fails(connect, tls_address):
    with pytest.raises(lookalike.UnavailableError):
        connect(tls_address, retries=0).info(timeout=60)


def test_closed_client_is_reported(connect, toy):
    client = connect(toy.address)
    client.info()
    client.close()
    client.close()
    with pytest.raises(lookalike.ClosedError, match="is closed; open a new one"):
        client.info()


def test_closing_a_client_ends_its_calls_as_closed(toy):
    toy.delay = 60
    with lookalike.Client(toy.address) as client, futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.info)
        toy.until_asked()
        client.close()
        with pytest.raises(lookalike.ClosedError, match="was closed during the call"):
            call.result()


async def test_closing_an_asyncio_client_ends_its_calls_as_closed(toy):
    toy.delay = 60
    async with lookalike.aio.Client(toy.address) as client:
        task = asyncio.create_task(client.info())
        await asyncio.to_thread(toy.until_asked)
        await client.close()
        with pytest.raises(lookalike.ClosedError, match="was closed during the call"):
            await task


def test_unused_client_closes(toy):
    with lookalike.Client(toy.address) as client:
        assert repr(client) == f"<lookalike.Client of {toy.address}>"
    assert repr(client) == f"<lookalike.Client of {toy.address}, closed>"


def test_loopback_bypasses_the_proxy(toy, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with lookalike.Client(toy.address, retries=0) as client:
        assert client.info(timeout=60).images == 11


def test_one_client_serves_many_threads(toy):
    with lookalike.Client(toy.address) as client, futures.ThreadPoolExecutor(8) as pool:
        firsts = list(pool.map(lambda i: client.search(id=i % 10, k=1, include_self=True).ids[0], range(64)))
    assert firsts == [i % 10 for i in range(64)]


async def test_many_asyncio_calls_share_one_client(toy):
    async with lookalike.aio.Client(toy.address) as client:
        found = await asyncio.gather(*(client.search(id=i % 10, k=1, include_self=True) for i in range(64)))
    assert [int(near.ids[0]) for near in found] == [i % 10 for i in range(64)]


async def test_cancelling_a_task_cancels_the_call(toy):
    toy.delay = 60
    async with lookalike.aio.Client(toy.address) as client:
        task = asyncio.create_task(client.info())
        await asyncio.to_thread(toy.until_asked)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class TestTokens:
    """A token is sent with each call, but never in plain text to another machine by accident."""

    def test_goes_with_each_call(self, connect, toy):
        connect(toy.address, token=TOKEN).info()
        assert toy.metadata[-1]["authorization"] == f"Bearer {TOKEN}"
        connect(toy.address).info()
        assert "authorization" not in toy.metadata[-1]

    async def test_goes_with_each_asyncio_call(self, toy):
        async with lookalike.aio.Client(toy.address, token=TOKEN) as client:
            await client.info()
        assert toy.metadata[-1]["authorization"] == f"Bearer {TOKEN}"

    @pytest.mark.parametrize("target", ["example.org:50051", "192.168.1.5:50051", "127.evil.example:50051"])
    def test_does_not_cross_a_network_in_plain_text(self, connect, target):
        with pytest.raises(lookalike.InvalidArgumentError, match="readable by others; use tls, or insecure=True"):
            connect(target, token=TOKEN)
        connect(target, token=TOKEN, tls=True)
        connect(target, token=TOKEN, insecure=True)

    @pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "é", 7])
    def test_invalid_token_is_rejected_without_showing_it(self, connect, token):
        with pytest.raises(lookalike.InvalidArgumentError) as caught:
            connect("127.0.0.1:1", token=token)
        assert "lookalike token" in str(caught.value)
        assert str(token) not in str(caught.value) or not token

    def test_is_not_shown(self, connect):
        client = connect("127.0.0.1:1", token=TOKEN)
        assert TOKEN not in repr(client)
        assert TOKEN not in repr(client._connection)
