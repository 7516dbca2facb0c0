"""The page started by a server: access control, and that it stops with the server."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.xdist_group("e2e")

PATIENCE_S = 60


@contextmanager
def serving(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a command that serves a page until the block ends; yield the process and the page's URL."""
    command = [sys.executable, "-m", "lookalike", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout
        told = next((line for line in process.stdout if line.startswith("EXPLORER")), "")
        found = re.search(r"http://\S+", told)
        assert found, f"it ended with {process.wait()} before it told of a page"
        yield process, found.group().rstrip("/")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A file of tokens, and the token in it."""
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    command = [sys.executable, "-m", "lookalike", "token", "--name", "ann", "--file", str(file)]
    made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return file, made.stdout.split()[0]


def test_server_with_tokens_shows_nothing_before_login(collection, tokens):
    file, token = tokens
    with (
        serving("serve", collection, "--port", 0, "--http", 0, "--tokens", file) as (_, url),
        httpx.Client(base_url=url, timeout=PATIENCE_S) as browser,
    ):
        assert browser.get("/").status_code == 200
        assert browser.get("/api/health").json() == {"serving": True}
        for path in ("/api/collection", "/api/search?id=0", "/thumbnails/any/0/160.jpg", "/api/images"):
            refused = browser.get(path)
            assert (refused.status_code, refused.json()["kind"]) == (401, "login"), path
        wrong = browser.post("/login", content="wrong")
        assert wrong.status_code == 401
        assert not browser.cookies
        assert browser.post("/login", content="two words").status_code == 400
        right = browser.post("/login", content=token)
        cookie = right.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert token not in cookie
        tag = browser.get("/api/collection").json()["tag"]
        assert browser.get("/api/search?id=0&k=3").json()["neighbors"]
        assert browser.get(f"/thumbnails/{tag}/0/160.jpg").status_code == 200
        # Cached data is for logged-in callers only, too.
        assert httpx.get(f"{url}/thumbnails/{tag}/0/160.jpg", timeout=PATIENCE_S).status_code == 401
        browser.post("/logout")
        assert browser.get("/api/collection").status_code == 401


def test_revoked_token_cannot_read_cached_data(collection, tmp_path, lookalike):
    file = tmp_path / "tokens"
    token = lookalike("token", "--name", "ann", "--file", file).stdout.split()[0]
    with (
        serving("serve", collection, "--port", 0, "--http", 0, "--tokens", file) as (_, url),
        httpx.Client(base_url=url, timeout=PATIENCE_S) as browser,
    ):
        browser.post("/login", content=token)
        path = f"/thumbnails/{browser.get('/api/collection').json()['tag']}/0/160.jpg"
        assert browser.get(path).status_code == 200
        file.write_text("")
        end = time.monotonic() + PATIENCE_S
        # Cached data is returned without asking the server for some seconds.
        while browser.get(path).status_code == 200:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert browser.get(path).status_code == 401


def test_page_started_by_a_server_does_not_use_the_token_of_its_user(collection, tokens, monkeypatch):
    file, token = tokens
    monkeypatch.setenv("LOOKALIKE_TOKEN", token)
    with serving("serve", collection, "--port", 0, "--http", 0, "--tokens", file) as (_, beside):
        # The page started by a server does not use the token of the user who started it.
        assert httpx.get(f"{beside}/api/collection", timeout=PATIENCE_S).status_code == 401
        told = httpx.get(f"{beside}/api/health", timeout=PATIENCE_S)
        assert told.json() == {"serving": True}


def test_page_exits_when_its_server_is_killed(collection):
    with serving("serve", collection, "--port", 0, "--http", 0) as (server, url):
        assert httpx.get(f"{url}/api/collection", timeout=PATIENCE_S).json()["collection"]["name"] == collection.name
        server.send_signal(signal.SIGKILL)
        # The page holds the write end of the server's output, so EOF comes when both have exited.
        server.communicate(timeout=PATIENCE_S)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/api/health", timeout=PATIENCE_S)


def test_remote_page_needs_a_server_with_tokens(address, lookalike, tmp_path):
    refused = lookalike("explore", "--server", address, "--http", 0, "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "--http-cert" in refused.stderr
    cert = Path(__file__)  # any file: the server is checked first
    options = ["--http-cert", cert, "--http-key", cert]
    refused = lookalike("explore", "--server", address, "--http", 0, "--host", "0.0.0.0", *options)
    assert refused.returncode == 2
    assert "asks nobody for a token" in refused.stderr
    mine = tmp_path / "token"
    mine.write_text("some")
    refused = lookalike("explore", "--server", address, "--host", "0.0.0.0", *options, "--token-file", mine)
    assert refused.returncode == 2
    assert "everybody logs in with their own" in refused.stderr


@pytest.mark.parametrize("over_ssh", [False, True])
def test_explore_opens_a_browser_or_prints_the_ssh_command(address, over_ssh, tmp_path, monkeypatch):
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "OPENED $1"\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    if over_ssh:
        monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22")
    with serving("explore", "--server", address, "--http", 0) as (process, url):
        assert process.stdout
        port = url.rpartition(":")[2]
        forwarded = f"From your own machine: ssh -L {port}:127.0.0.1:{port} HOST, then open {url}/"
        assert process.stdout.readline().strip() == (forwarded if over_ssh else f"OPENED {url}/")


def test_invalid_arguments_are_reported_in_one_sentence(collection, address, lookalike):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for command in (["explore", "--server", address], ["serve", collection, "--port", 0]):
            refused = lookalike(*command, "--http", port)
            assert refused.returncode == 2
            assert f"port {port}" in refused.stderr
            assert "Traceback" not in refused.stderr
    assert "not a port" in lookalike("explore", "--http", 99999).stderr
    assert "not a port" in lookalike("serve", collection, "--http", -1).stderr
