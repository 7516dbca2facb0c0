"""S3 server for tests: SeaweedFS, a process on loopback with one set of credentials."""

from __future__ import annotations

import contextlib
import http
import http.client
import json
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "tests", "the-secret-of-the-tests"
_START_S = 120
_ALL = ["Admin", "Read", "Write", "List", "Tagging"]


@dataclass(frozen=True)
class Seaweed:
    """The ports of the S3 interface and of the interface that creates buckets."""

    s3: int
    filer: int

    def environment(self, port: int | None = None) -> dict[str, str]:
        """Return the environment variables for clients of the server, or of a proxy for it on another port."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.s3}",
            "AWS_REGION": "us-east-1",
        }

    def make_bucket(self, name: str) -> None:
        status = _call("POST", self.filer, f"/buckets/{name}/")
        if status not in (http.HTTPStatus.CREATED, http.HTTPStatus.OK, http.HTTPStatus.CONFLICT):
            raise OSError(f"the bucket {name} could not be made: {status}")


def weed() -> str | None:
    """Return the program if it is installed: beside this Python, whose folder need not be in PATH, or in PATH."""
    return shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")


@contextmanager
def running(program: str, folder: Path) -> Iterator[Seaweed]:
    """Start the server with its files in a folder; stop it at the end of the block."""
    (folder / "data").mkdir()
    identity = {"name": "t", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}], "actions": _ALL}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ("master", "volume", "filer", "s3")
    ports = dict(zip([*names, *(f"{name}.grpc" for name in names)], _free_ports(8), strict=True))
    options = [f"-{name}.port.grpc={ports[f'{name}.grpc']}" for name in names]
    options += [f"-{name}.port={ports[name]}" for name in names]
    command = [program, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=20"]
    # Volumes of a gigabyte at most, since tests write little. Telemetry is off, and so are the table catalogs, which
    # have fixed ports.
    command += ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-s3", f"-s3.config={folder / 's3.json'}", "-master.volumeSizeLimitMB=1024", *options]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        server = Seaweed(ports["s3"], ports["filer"])
        _wait(server, process, folder / "log")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: Seaweed, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        # Bucket creation and the S3 interface work once all four parts are connected.
        with contextlib.suppress(OSError, http.client.HTTPException):
            server.make_bucket("ready")
            _call("GET", server.s3, "/")
            return
        time.sleep(0.2)
    raise RuntimeError(f"SeaweedFS did not start: {log.read_text()[-2000:]}")


def _call(method: str, port: int, path: str) -> int:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
