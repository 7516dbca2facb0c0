"""The page behind a real nginx that serves it below a prefix, with the configuration of docs/explorer.md."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from lookalike.explorer.app import create_app
from lookalike.explorer.settings import Listen, Upstream

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx (Debian: apt install nginx-light)")

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "explorer.md"
HUB, PREFIX = "hub.example.org", "/lookalike/"
PATIENCE_S = 30
CONFIGURATION = """
daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{ listen 127.0.0.1:{port}; {location} }}
}}
"""


def documented_location(page: int) -> str:
    """Return the nginx configuration line of docs/explorer.md, with the port of a page."""
    found = re.search(rf"location {PREFIX} {{[^}}]*}}", DOCUMENT.read_text())
    assert found
    return found.group().replace(":8080", f":{page}")


@contextmanager
def behind_nginx(server: str, folder: Path, *names: str) -> Iterator[httpx.Client]:
    """Yield a browser's requests to the page of a server through nginx; `names` are those of --http-name."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = create_app(Upstream(server), Listen(names=names, insecure=True))
    page = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_level="warning", access_log=False))
    thread = threading.Thread(target=page.run, kwargs={"sockets": [listening]})
    thread.start()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    location = documented_location(listening.getsockname()[1])
    (folder / "nginx.conf").write_text(CONFIGURATION.format(port=port, location=location))
    command = [str(NGINX), "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    browser = httpx.Client(base_url=f"http://127.0.0.1:{port}{PREFIX}", headers={"Host": HUB}, timeout=PATIENCE_S)
    with (folder / "errors").open("wb") as errors, browser:
        nginx = subprocess.Popen(command, stderr=errors)
        try:
            end = time.monotonic() + PATIENCE_S
            while not answers(browser):
                assert nginx.poll() is None, (folder / "errors").read_text()
                assert time.monotonic() < end
                time.sleep(0.02)
            yield browser
        finally:
            nginx.terminate()
            nginx.wait(PATIENCE_S)
            page.should_exit = True
            thread.join(PATIENCE_S)


def answers(browser: httpx.Client) -> bool:
    try:
        return browser.get("api/health").is_success
    except httpx.TransportError:
        return False


def test_page_accepts_uploads_from_its_own_host(toy, tmp_path, red_png):
    with behind_nginx(toy.address, tmp_path, HUB) as browser:
        assert browser.get("search").status_code == 200
        assert browser.get("static/js/main.js").status_code == 200
        assert browser.get("api/collection").json()["collection"]["name"] == "circle"
        # Browsers omit Sec-Fetch-Site on unencrypted connections to another machine.
        sent = browser.post("api/uploads", content=red_png, headers={"Origin": f"http://{HUB}"})
        assert sent.status_code == 200
        assert browser.get(f"api/search?upload={sent.json()['upload']}").json()["neighbors"]
        refused = browser.post("api/uploads", content=red_png, headers={"Origin": "http://evil.example"})
        assert refused.status_code == 403


def test_unknown_host_behind_nginx_names_the_option(toy, tmp_path, red_png):
    with behind_nginx(toy.address, tmp_path) as browser:
        refused = browser.post("api/uploads", content=red_png, headers={"Origin": f"http://{HUB}"})
        assert refused.status_code == 403
        assert f"--http-name {HUB}" in refused.json()["error"]
        encrypted = {"Origin": f"https://{HUB}", "Sec-Fetch-Site": "same-origin"}
        assert browser.post("api/uploads", content=red_png, headers=encrypted).status_code == 200
