"""Kill a server while it stores changes: afterwards acknowledged changes are there, and none in part."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import lookalike

# Number of vectors of one call: either all of them are stored, or none.
TOGETHER = 5
_CALLERS = 4


@dataclass
class Sent:
    """Calls that were sent and acknowledged: the number of each call."""

    sent: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    # A deletion that was sent but not acknowledged may have been stored.
    perhaps: set[str] = field(default_factory=set)


def vector_of(name: str, row: int, dim: int) -> Any:
    """Return a vector that depends only on its name."""
    seed = int.from_bytes(f"{name}/{row}".encode(), "little") % (1 << 32)
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


def killed(toy: Any, kills: int, chance: random.Random) -> int:
    """Kill a server repeatedly while callers change its collection; return the acknowledged calls."""
    told = Sent()
    for turn in range(kills + 1):
        process, address = _started(toy)
        try:
            _compare(address, toy, told)
            if turn == kills:
                break
            over = threading.Event()
            threads = [
                threading.Thread(target=_call, args=(address, toy, told, f"{turn}-{number}", over))
                for number in range(_CALLERS)
            ]
            for thread in threads:
                thread.start()
            over.wait(chance.uniform(0.05, 0.6))
            process.kill()
            over.set()
            for thread in threads:
                thread.join()
        finally:
            process.kill()
            process.communicate()
    return len(told.acknowledged) + len(told.deleted)


def _started(toy: Any) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "lookalike", "serve", str(toy.root), "--port", "0", "--writable"]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        line = process.stdout.readline() if process.stdout else ""
        found = re.search(r"127\.0\.0\.1:\d+", line)
        if found is None:
            process.kill()
            process.wait()
            errors.seek(0)
            raise AssertionError(f"serve said {line!r} and {errors.read()!r}")
    return process, found.group()


def _call(address: str, toy: Any, told: Sent, name: str, over: threading.Event) -> None:
    dim, turn = toy.vectors.shape[1], 0
    with lookalike.Client(address, retries=0, timeout=10) as client:
        while not over.is_set():
            call = f"{name}-{turn}"
            told.sent.add(call)
            try:
                client.upsert(vectors={f"{call}/{row}": vector_of(call, row, dim) for row in range(TOGETHER)})
                told.acknowledged.add(call)
                if turn % 5 == 4:
                    gone = f"{name}-{turn - 2}"
                    told.perhaps.add(gone)
                    client.delete(keys=[f"{gone}/{row}" for row in range(TOGETHER)])
                    told.deleted.add(gone)
                if turn % 40 == 39:
                    client.fold()
            except lookalike.LookalikeError:
                return
            turn += 1


def _compare(address: str, toy: Any, told: Sent) -> None:
    """Check that acknowledged changes are there, and of each other call all or nothing."""
    with lookalike.Client(address, timeout=60) as client:
        keys = [image.key for image in client.images(page_size=1000)]
        found: dict[str, int] = {}
        for key in keys:
            call, _, _ = key.rpartition("/")
            if call in told.sent:
                found[call] = found.get(call, 0) + 1
        assert set(found.values()) <= {TOGETHER}, "a call was stored in part"
        assert not set(found) & told.deleted, "a deleted image is back"
        assert told.acknowledged - told.perhaps <= set(found), "an acknowledged call is lost"
        assert {toy.key(int(number)) for number in toy.ids} <= set(keys), "an image of the collection is lost"
        some = sorted(found)[-20:]
        if some:
            names = [f"{call}/{row}" for call in some for row in range(TOGETHER)]
            wanted = np.stack([vector_of(call, row, toy.vectors.shape[1]) for call in some for row in range(TOGETHER)])
            assert np.array_equal(client.vectors(keys=names), wanted), "a vector is not the one that was sent"
