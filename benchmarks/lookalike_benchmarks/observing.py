"""Cost of metrics: processor time of a search with and without them, as a ratio from one run.

    python -m lookalike_benchmarks.observing COLLECTION [--calls 4000] [--rounds 5]

Two servers of one collection are called in turn, block by block, so that other load of
the machine affects both. The ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import psutil

import lookalike
from lookalike_indexer.arrays import Float32

_WATCHED = ("--metrics-port", "0")


@contextmanager
def _served(collection: str, *options: str) -> Iterator[tuple[psutil.Process, lookalike.Client]]:
    command = [sys.executable, "-m", "lookalike", "serve", collection, "--port", "0", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = server.stdout.readline() if server.stdout else ""
        found = re.search(r"\S+:\d+(?=: generation)", line)
        if found is None:
            raise SystemExit(f"lookalike serve did not begin: {line!r}")
        with lookalike.Client(found[0]) as client:
            yield psutil.Process(server.pid), client
    finally:
        server.terminate()
        server.wait()


def _spent(server: psutil.Process, client: lookalike.Client, calls: int, query: Float32) -> float:
    """Return the seconds of processor time of each call in the server's own process, without its network's process."""
    before = server.cpu_times()
    for _ in range(calls):
        client.search(vector=query, k=10)
    after = server.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return float(spent) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection")
    parser.add_argument("--calls", type=int, default=4000, help="of each block")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with ExitStack() as stack:
        plain = stack.enter_context(_served(given.collection))
        watched = stack.enter_context(_served(given.collection, *_WATCHED))
        query = _query(plain[1])
        for server, client in (plain, watched):
            _spent(server, client, given.calls // 4 or 1, query)
        ratios, costs = [], []
        for _ in range(given.rounds):
            without, having = (_spent(*one, given.calls, query) for one in (plain, watched))
            ratios.append(having / without)
            costs.append((without, having))
    print(f"without: {statistics.median(one for one, _ in costs) * 1e6:.0f} us of processor time for each search")
    print(f"with metrics: {statistics.median(one for _, one in costs) * 1e6:.0f} us")
    print(f"ratio: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f} in {given.rounds} rounds)")


def _query(client: lookalike.Client) -> Float32:
    info = client.info()
    dim = next(space.dim for space in info.spaces if space.name == info.default_space)
    return np.random.default_rng(1).standard_normal(dim).astype(np.float32)


if __name__ == "__main__":
    main()
