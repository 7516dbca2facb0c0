"""HTTP proxy between a client and an object store that breaks chosen replies."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

# "lost": the store acts, and the connection breaks without a reply. "short": half of the body arrives. "busy": 503
# without calling the store. "forgetful": a rejection of creating something twice is reported as a success.
Fault = Literal["", "lost", "short", "busy", "forgetful"]
Choose = Callable[[str, str], Fault]


@dataclass
class Proxy:
    """`choose(method, path)` names the fault of a call; `asked` has all calls that arrived."""

    port: int = 0
    choose: Choose = lambda method, path: ""
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def proxy(upstream: int) -> Iterator[Proxy]:
    """Forward calls to a port of this machine while the block runs."""
    settings = Proxy()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def _forward(self) -> None:
            settings.asked.append((self.command, self.path))
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            fault = settings.choose(self.command, self.path)
            if fault == "busy":
                self._answer(503, {}, b"")
                return
            connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            status, headers, data = answer.status, dict(answer.getheaders()), answer.read()
            connection.close()
            if fault == "lost":
                self.close_connection = True
                self.connection.close()
                return
            if fault == "forgetful" and status in (409, 412):
                status, headers, data = 200, {"ETag": '"0"'}, b""
            self._answer(status, headers, data, len(data) // 2 if fault == "short" else len(data))

        def _answer(self, status: int, headers: dict[str, str], data: bytes, sent: int = 0) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[:sent])
            if sent < len(data):
                self.close_connection = True

        def __getattr__(self, name: str) -> Any:
            # The base class calls do_GET, do_PUT and so on.
            if name.startswith("do_"):
                return self._forward
            raise AttributeError(name)

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Print nothing: disconnected clients and deliberately broken connections are expected."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    settings.port = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield settings
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
