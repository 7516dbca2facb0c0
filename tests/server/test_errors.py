from __future__ import annotations

import base64
import inspect
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from lookalike_indexer import errors as domain
from lookalike_server.common.errors import TABLE, ArgumentError, LargeReplyError, OverloadedError, refusal


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (domain.UsageError("x"), "INVALID_ARGUMENT", "USAGE"),
        (ArgumentError("k", "x"), "INVALID_ARGUMENT", "ARGUMENT"),
        (LargeReplyError("k", "x"), "INVALID_ARGUMENT", "LARGE_REPLY"),
        (domain.DecodeError("x"), "INVALID_ARGUMENT", "DECODE"),
        (domain.NotFoundError("x"), "NOT_FOUND", "NOT_FOUND"),
        (domain.NotBuiltError("x"), "FAILED_PRECONDITION", "NOT_BUILT"),
        (domain.MismatchError("x"), "FAILED_PRECONDITION", "MISMATCH"),
        (domain.WeightsError("x"), "FAILED_PRECONDITION", "WEIGHTS"),
        (OverloadedError("x", 0.25), "RESOURCE_EXHAUSTED", "OVERLOADED"),
        (domain.DeviceError("x"), "UNAVAILABLE", "DEVICE"),
        (domain.DataLossError("x"), "DATA_LOSS", "DATA_LOSS"),
    ],
)
def test_each_error_has_its_code_and_reason(error, code, reason) -> None:
    refused = refusal(error)
    assert refused.code == grpc.StatusCode[code]
    assert refused.message == "x"
    status = status_pb2.Status.FromString(refused.details)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason, "lookalike")


def test_unlisted_error_reveals_nothing() -> None:
    for error in (ZeroDivisionError("secret"), domain.IndexerError("secret"), OSError(2, "secret", "/etc/secret")):
        refused = refusal(error)
        assert refused.code == grpc.StatusCode.INTERNAL
        assert "secret" not in refused.message
        assert b"secret" not in refused.details


def test_argument_names_its_field_and_overload_a_delay() -> None:
    status = status_pb2.Status.FromString(refusal(ArgumentError("query.k", "too big")).details)
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    assert (bad.field_violations[0].field, bad.field_violations[0].description) == ("query.k", "too big")
    status = status_pb2.Status.FromString(refusal(OverloadedError("x", 1.5)).details)
    retry = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1500


@pytest.mark.parametrize("quoted", ["x", "é", "漢", "\U0001f600", "%", "\x01"])
def test_longest_message_fits_into_grpcs_headers(quoted) -> None:
    refused = refusal(ArgumentError("query.keys", f"There is no {quoted * 5000}."))
    # As gRPC sends them: the text percent-encoded, the details in base64.
    size = len(quote(refused.message)) + len(base64.b64encode(refused.details))
    assert 1000 < size < 8192 - 500


def test_no_class_stands_behind_a_base_of_its_own() -> None:
    kinds = [kind for kind, _ in TABLE]
    for position, kind in enumerate(kinds):
        assert not any(issubclass(kind, earlier) for earlier in kinds[:position])


def test_every_indexer_error_of_a_caller_has_a_grpc_code() -> None:
    listed = {kind for kind, _ in TABLE}
    there = {
        kind
        for _, kind in inspect.getmembers(domain, inspect.isclass)
        if issubclass(kind, domain.IndexerError) and kind is not domain.IndexerError
    }
    # Only writers take the lock.
    assert there - listed == {domain.CollectionLockedError}
