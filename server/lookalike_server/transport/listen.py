"""Server options, and binding of the port."""

from __future__ import annotations

import socket
from typing import Any

import grpc

from lookalike_indexer.errors import IndexerError
from lookalike_server.common.limits import Limits
from lookalike_server.common.settings import Connections, Listen
from lookalike_server.transport.interceptor_chain import CachedInterceptorChain, Carriable
from lookalike_server.transport.tls import credentials

# Bytes of an unread message that are buffered; HTTP/2's default.
_WINDOW_BYTES = 65_535
# Calls of one connection that gRPC accepts. It ends further ones with a code that says nothing, so admission.py, which
# tells callers when to retry, must reject them first.
_STREAMS = 1024


def new_server(
    limits: Limits,
    connections: Connections,
    interceptors: list[grpc.aio.ServerInterceptor],
    carriable: Carriable,
    *,
    shares_port: bool = False,
) -> grpc.aio.Server:
    """Create a server whose calls pass through `interceptors`, outermost first; see interceptor_chain.py.

    `carriable` returns the handlers of methods whose calls may be in pieces. With `shares_port`,
    other processes may listen on the same port.
    """
    return grpc.aio.server(
        interceptors=[CachedInterceptorChain(interceptors, carriable)],
        options=[
            ("grpc.max_receive_message_length", limits.whole_bytes),
            ("grpc.max_send_message_length", limits.whole_bytes),
            # Bounds what arrives before it is read: streams times window. BDP probing would widen the windows.
            ("grpc.max_concurrent_streams", max(_STREAMS, limits.max_peer_calls)),
            ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
            ("grpc.http2.bdp_probe", 0),
            # Otherwise a second server on the same port would silently take half of the calls.
            ("grpc.so_reuseport", int(shares_port)),
            ("grpc.max_connection_idle_ms", _ms(connections.idle)),
            ("grpc.max_connection_age_ms", _ms(connections.age)),
            ("grpc.max_connection_age_grace_ms", _ms(connections.last)),
            ("grpc.keepalive_time_ms", _ms(connections.ping)),
            ("grpc.keepalive_timeout_ms", _ms(connections.answer)),
            # Newer gRPC releases wait this long for the answer to a ping; the default is a minute.
            ("grpc.http2.ping_timeout_ms", _ms(connections.answer)),
            # Ping idle connections too, because half-open ones would go unnoticed.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        ],
    )


def open_port(server: grpc.aio.Server, listen: Listen, *, shares_port: bool = False) -> int:
    """Bind a server and return the port. Raises IndexerError if the address cannot be bound.

    With `shares_port`, the parent process has already reserved the port.
    """
    secure = None if listen.tls is None else credentials(listen.tls)
    if not shares_port:
        check_free(listen)
    address = listen.address(listen.port)
    try:
        if secure is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, secure)
    except RuntimeError as error:
        raise IndexerError(f"Cannot bind {address}; check --host and --port.") from error


def check_free(listen: Listen) -> None:
    """Raise IndexerError if the port cannot be bound. gRPC prints its reasons only to standard error."""
    try:
        family, kind, protocol, _, address = _resolved(listen)
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # Two sockets with SO_REUSEADDR may both bind, but only one may listen.
            probe.listen(1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise IndexerError(
            f"Cannot bind {listen.address(listen.port)}: {reason}; choose another --port or --host."
        ) from error


def reserve(listen: Listen) -> tuple[socket.socket, int]:
    """Bind a port that processes of this server share. No other user gets it while the socket is open.

    The socket does not listen, so it receives no connection. Raises IndexerError if the address
    cannot be bound.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise IndexerError("Several processes cannot share a port on this system; use --fronts 1.")
    check_free(listen)
    family, kind, protocol, _, address = _resolved(listen)
    held = socket.socket(family, kind, protocol)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(address)
    return held, int(held.getsockname()[1])


def _resolved(listen: Listen) -> Any:
    return socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
