"""HTTP port for Prometheus."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from lookalike_indexer.errors import IndexerError
from lookalike_server.observe.security import SecurityLog
from lookalike_server.transport.tokens import Tokens

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_REQUEST_TIMEOUT_S = 10.0
_SCHEME = "bearer "


class MetricsPort:
    """HTTP server of a registry at /metrics, in its own threads.

    With `readers`, only they may read it.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, readers: Readers | None = None) -> None:
        """Raises IndexerError if the address cannot be bound."""
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            # A class for each port, because WSGIServer takes the address family from its class.
            kind = type("_Server", (_Server,), {"address_family": family})
            self._server: WSGIServer = kind(address[:2], _Handler)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise IndexerError(
                f"The metrics cannot be served on {host}:{port} ({reason}); choose another --metrics-port."
            ) from error
        metrics: WSGIApplication = make_wsgi_app(registry)
        self._server.set_app(metrics if readers is None else readers.only(metrics))
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Readers:
    """Readers with a token of any role, as "Authorization: Bearer TOKEN". Others are noted in the security log.

    A token that is limited to collections is rejected, because the metrics cover all collections.
    """

    def __init__(self, tokens: Tokens, security: SecurityLog) -> None:
        self._tokens = tokens
        self._security = security

    def only(self, metrics: WSGIApplication) -> WSGIApplication:
        """Return an application that rejects all others."""

        def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if self._know(str(environ.get("HTTP_AUTHORIZATION", ""))):
                return metrics(environ, start_response)
            self._security.refused("authentication_failed", "metrics", "", str(environ.get("REMOTE_ADDR", "")))
            start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Type", "text/plain")])
            return [
                b"This port asks for a token of the server that is not limited to collections, as: "
                b"Authorization: Bearer TOKEN\n"
            ]

        return answer

    def _know(self, authorization: str) -> bool:
        if not authorization.lower().startswith(_SCHEME):
            return False
        caller = self._tokens.caller(authorization[len(_SCHEME) :].strip())
        return caller is not None and not caller.collections


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # So that a slow reader cannot delay the server's shutdown.
    block_on_close = False

    def server_bind(self) -> None:
        # WSGIServer would look up the host's name, which may take seconds.
        socket_server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


def socket_server_bind(server: WSGIServer) -> None:
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.socket.bind(server.server_address)
    server.server_address = server.socket.getsockname()


class _Handler(WSGIRequestHandler):
    # Bounds the time that a silent connection holds a thread.
    timeout = _REQUEST_TIMEOUT_S

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base's name for it
        """Do nothing: scrapes are frequent and not worth a log line."""
