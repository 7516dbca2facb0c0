"""Reverse proxy on loopback that serves another server below a prefix, as nginx does for `location /prefix/`."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# Hop-by-hop headers, which the proxy does not forward.
_OWN = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


@contextmanager
def proxied(address: str, prefix: str) -> Iterator[str]:
    """Serve `address` below `prefix`, such as "/some/prefix/"; yield the new address.

    As with nginx, the server behind sees its own host instead of the browser's. Other paths are 404.
    """
    behind = urlsplit(address).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if not self.path.startswith(prefix):
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
            connection = http.client.HTTPConnection(behind, timeout=120)
            connection.request(self.command, self.path[len(prefix) - 1 :], body, headers)
            reply = connection.getresponse()
            data = reply.read()
            connection.close()
            self.send_response(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in _OWN:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            # A browser that opens another view does not wait for the images of this one.
            with contextlib.suppress(ConnectionError):
                self.end_headers()
                self.wfile.write(data)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{prefix}"
    finally:
        server.shutdown()
        server.server_close()
