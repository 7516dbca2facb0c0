"""`python -m tests.faults.swaps`: resident memory of a real server after each of many generations, under load."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from lookalike import Client
from lookalike_benchmarks.synthetic import write_collection
from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent


def publish(storage: Storage, seed: int) -> int:
    """Publish the collection with a newly trained index; return the generation."""
    settings = BuildSettings(index="ivf-flat", seed=seed)
    draft, _ = run_build(storage, generations.require_latest(storage), settings, Silent())
    return generations.publish(storage, draft).generation


def measure(folder: Path, swaps: int, rows: int, dim: int) -> list[float]:
    """Return MiB after the first generation, then after each swap."""
    storage = Storage(folder)
    write_collection(str(folder), Clustered(rows=rows, dim=dim, seed=1))
    publish(storage, 0)
    command = [sys.executable, "-m", "lookalike", "serve", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    ended = threading.Event()
    try:
        assert server.stdout is not None
        address = re.search(r"127\.0\.0\.1:\d+", server.stdout.readline())
        assert address is not None
        with Client(address.group()) as client:

            def ask() -> None:
                while not ended.is_set():
                    client.search(id=0, k=10)  # a failed call ends the thread, which is reported below
                    time.sleep(0.002)

            caller = threading.Thread(target=ask)
            caller.start()
            sizes = [_mib(server)]
            for seed in range(1, swaps + 1):
                wanted = publish(storage, seed)
                while client.reload() != wanted:
                    time.sleep(0.1)
                time.sleep(0.7)  # the memory of the old generation is freed with a delay
                sizes.append(_mib(server))
                sys.stderr.write(f"{seed:3d} swaps {sizes[-1]:8.1f} MiB\n")
            assert caller.is_alive(), "a call failed"
            ended.set()
            caller.join()
        return sizes
    finally:
        ended.set()
        server.terminate()
        server.communicate()
        assert server.returncode == 0, f"the server ended with {server.returncode}"


def _mib(server: subprocess.Popen[str]) -> float:
    return round(psutil.Process(server.pid).memory_info().rss / (1 << 20), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=30)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=512)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = measure(Path(folder) / "collection", wanted.swaps, wanted.rows, wanted.dim)
    figures = {"index_mib": wanted.rows * wanted.dim * 4 / (1 << 20), "resident_mib": sizes}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
