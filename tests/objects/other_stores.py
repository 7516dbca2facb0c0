"""Stores besides SeaweedFS: moto, which emulates S3, and azurite, which emulates Azure, as processes on loopback.

They are started if `moto_server` (`pip install 'moto[server,s3]'`, best into an environment of its own) and
`azurite-blob` (`npm install azurite`) are in PATH.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import hmac
import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ACCOUNT, KEY = "tests", base64.b64encode(b"the-secret-of-the-tests").decode()
_START_S = 120


@contextmanager
def moto(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the URL of a bucket, and the environment variables for clients."""
    program = shutil.which("moto_server") or pytest.skip("needs moto_server: pip install 'moto[server,s3]'")
    port = _free_port()
    with _running([program, "-H", "127.0.0.1", "-p", str(port)], folder, {}):
        _until(port, lambda connection: connection.request("PUT", "/bucket"))
        yield (
            "s3://bucket",
            {
                "AWS_ACCESS_KEY_ID": ACCOUNT,
                "AWS_SECRET_ACCESS_KEY": KEY,
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_REGION": "us-east-1",
            },
        )


@contextmanager
def azurite(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the URL of a container, and the environment variables for clients."""
    program = shutil.which("azurite-blob") or pytest.skip("needs azurite-blob: npm install azurite")
    port = _free_port()
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--skipApiVersionCheck"]
    with _running([program, *options], folder, {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}):
        _until(port, lambda connection: _make_container(connection, "bucket"))
        yield (
            "az://bucket",
            {
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": KEY,
                "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{ACCOUNT}",
            },
        )


def _make_container(connection: http.client.HTTPConnection, name: str) -> None:
    """Create a container with a request signed by Azure's Shared Key."""
    headers = {
        "x-ms-date": datetime.datetime.now(datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "x-ms-version": "2021-12-02",
    }
    path = f"/{ACCOUNT}/{name}"
    # The account appears twice: in the address, and in the path of a store that is not Azure's own.
    canonical = [f"{key}:{value}" for key, value in sorted(headers.items())] + [
        f"/{ACCOUNT}{path}",
        "restype:container",
    ]
    text = "\n".join(["PUT", *[""] * 11, *canonical])
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    connection.request("PUT", f"{path}?restype=container", headers={**headers, "Content-Length": "0"})


@contextmanager
def _running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": "", **environment},
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _until(port: int, ask) -> None:
    """Retry until the server has done it."""
    end, said = time.monotonic() + _START_S, "it does not answer"
    while time.monotonic() < end:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection,
        ):
            ask(connection)
            answer = connection.getresponse()
            said = f"{answer.status} {answer.read()[:500]!r}"
            if answer.status in (http.HTTPStatus.OK, http.HTTPStatus.CREATED):
                return
        time.sleep(0.1)
    raise RuntimeError(f"the store did not start: {said}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
