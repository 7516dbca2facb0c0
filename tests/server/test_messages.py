"""Count of a message's bytes besides vectors and images: without parsing it, and never too low."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies

from lookalike import wire
from lookalike.v1 import cluster_pb2, experiment_pb2, search_pb2, types_pb2
from lookalike_server.common.errors import ArgumentError
from lookalike_server.transport.messages import Messages, text_bytes

SEARCH = search_pb2.SearchRequest.DESCRIPTOR


def counted(message) -> int:
    return text_bytes(message.SerializeToString(), message.DESCRIPTOR)


def test_vector_and_image_bytes_do_not_count_toward_the_text_size() -> None:
    tensor = wire.encode(np.zeros((100, 512), np.float32))
    vectors = types_pb2.QueryBatch(vectors=types_pb2.Vectors(values=tensor, space_fingerprint="f" * 64))
    request = search_pb2.SearchRequest(query=vectors, k=10, space="tiny")
    assert counted(request) == request.ByteSize() - len(tensor.data)
    pictures = types_pb2.QueryBatch(images=types_pb2.Images(data=[b"p" * 1000] * 256))
    member = cluster_pb2.GetMembershipRequest(query=pictures)
    assert counted(member) == member.ByteSize() - 256_000


@pytest.mark.parametrize(
    "message",
    [
        search_pb2.SearchRequest(query=types_pb2.QueryBatch(keys=types_pb2.Keys(values=["k" * 100] * 50))),
        search_pb2.SearchRequest(query=types_pb2.QueryBatch(ids=types_pb2.Ids(values=range(1000)))),
        experiment_pb2.ExplainImageRequest(
            class_map=[experiment_pb2.LabelClasses(label="a", classes=["b", "c"])] * 5000
        ),
    ],
)
def test_other_fields_count_toward_the_text_size(message) -> None:
    assert counted(message) == message.ByteSize()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 100,
        b"\x0b" * 100,  # groups without an end
        b"\x12\xff\xff\xff\xff\x0f",  # a length beyond the message
        b"\x38\x01" * 5000,  # more fields than are counted
    ],
)
def test_all_bytes_of_an_invalid_message_are_counted(data: bytes) -> None:
    assert text_bytes(data, SEARCH) >= len(data)


@given(strategies.binary(max_size=300))
def test_any_bytes_can_be_counted(data: bytes) -> None:
    assert text_bytes(data, SEARCH) >= 0


async def test_too_many_are_rejected_before_reading() -> None:
    messages = Messages(100_000)
    read: list[bytes] = []
    request = search_pb2.SearchRequest(
        query=types_pb2.QueryBatch(keys=types_pb2.Keys(values=["k"] * 40_000))
    ).SerializeToString()
    with pytest.raises(
        ArgumentError, match="besides its vectors and images, and the limit is 100000, which is max_text"
    ):
        await messages.read("/lookalike.v1.SearchService/Search", read.append, request)
    assert read == []
    await messages.read("/lookalike.v1.SearchService/Search", read.append, request[:70_000])
    assert read == [request[:70_000]]
    messages.close()
