"""The port that Prometheus reads."""

from __future__ import annotations

import socket
import threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from lookalike_indexer.errors import IndexerError

_PATIENCE_S = 10.0


class MetricsPort:
    """Serves a registry over HTTP at /metrics, in threads of its own, until closed."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        """IndexerError when the address cannot be listened on."""
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            # Of its own for each port: WSGIServer takes the family from its class.
            kind = type("_Server", (_Server,), {"address_family": family})
            self._server: WSGIServer = kind(address[:2], _Handler)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise IndexerError(
                f"The metrics cannot be served on {host}:{port} ({reason}); choose another --metrics-port."
            ) from error
        self._server.set_app(make_wsgi_app(registry))
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # A reader that is slow must not hold up the server's end.
    block_on_close = False

    def server_bind(self) -> None:
        # WSGIServer would look the host's name up, which may take seconds.
        socket_server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


def socket_server_bind(server: WSGIServer) -> None:
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.socket.bind(server.server_address)
    server.server_address = server.socket.getsockname()


class _Handler(WSGIRequestHandler):
    # A connection that says nothing holds a thread for no longer.
    timeout = _PATIENCE_S

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base's name for it
        """Nothing: scrapes are many, and no news."""
