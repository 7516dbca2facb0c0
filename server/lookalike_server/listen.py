"""Opening the port."""

from __future__ import annotations

import socket
from pathlib import Path

import grpc

from lookalike_indexer.errors import IndexerError, UsageError
from lookalike_server.limits import Limits
from lookalike_server.settings import Listen


def new_server(limits: Limits, interceptors: list[grpc.aio.ServerInterceptor]) -> grpc.aio.Server:
    """A server that calls go through `interceptors` of, the first one outermost."""
    return grpc.aio.server(
        interceptors=interceptors,
        options=[
            ("grpc.max_receive_message_length", limits.max_message_bytes),
            ("grpc.max_send_message_length", limits.max_message_bytes),
            # Otherwise a second server on the same port would take half of the calls without a word.
            ("grpc.so_reuseport", 0),
        ],
    )


def open_port(server: grpc.aio.Server, listen: Listen) -> int:
    """Bind a server; returns the port. IndexerError when the address cannot be had."""
    credentials = _credentials(listen)
    _check_free(listen)
    address = listen.address(listen.port)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise IndexerError(f"{address} cannot be listened on; check --host, --port and the TLS files.") from error


def _check_free(listen: Listen) -> None:
    """Ask the operating system first: gRPC tells its reasons to standard error only."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # Two sockets with SO_REUSEADDR may both bind; only one may listen.
            probe.listen(1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise IndexerError(
            f"{listen.address(listen.port)} cannot be listened on ({reason}); choose another --port or --host."
        ) from error


def _credentials(listen: Listen) -> grpc.ServerCredentials | None:
    if listen.tls_cert is None or listen.tls_key is None:
        return None
    return grpc.ssl_server_credentials([(_read(listen.tls_key, "--tls-key"), _read(listen.tls_cert, "--tls-cert"))])


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
