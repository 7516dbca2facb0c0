"""Cost of a call for the engine process of a server with fronts: calls forwarded whole, and as arrays.

    python -m lookalike_benchmarks.engine_cost COLLECTION

The engine process answers searches by vector that one front forwards in both
ways, in turn. Processor time is that of all its threads, and of its event
loop alone; the process does little else.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lookalike import wire
from lookalike.v1 import search_pb2, types_pb2
from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_server.fronts.array_messages import ArrayCall, ArraySearch
from lookalike_server.fronts.frames import Frames, Kind
from lookalike_server.fronts.messages import ForwardedCall
from lookalike_server.search.effort import Plan

Way = Literal["whole", "arrays"]
WAYS: tuple[Way, ...] = ("whole", "arrays")

_METHOD = "/lookalike.v1.SearchService/Search"
_K, _TOGETHER = 10, 32
_PEER = "ipv4:127.0.0.1:1"


class Cost(NamedTuple):
    """Processor microseconds of a call: of all threads, and of the event loop."""

    all_us: float
    loop_us: float
    calls: int


async def measured(root: str, seconds: float, rounds: int) -> list[tuple[Way, Cost]]:
    """Measure the cost of each way in each round."""
    # Imported here, so that the front's process does not load faiss.
    from lookalike_server.app import App
    from lookalike_server.common.settings import Listen, ServeSettings
    from lookalike_server.fronts.engine_entrance import EngineEntrance

    settings = ServeSettings(root, Listen(port=0), experiments=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "engine"

        def entrance(app: App) -> EngineEntrance:
            return EngineEntrance(path, settings.limits, app.hidden_folders, app.collections)

        app = App(settings, entrance=entrance, mapped=Path(folder) / "generations")
        await app.start()
        try:
            return [(way, await _cost(root, path, way, seconds)) for _ in range(rounds) for way in WAYS]
        finally:
            await app.stop(0)


async def _cost(root: str, path: Path, way: Way, seconds: float) -> Cost:
    began, loop_began = time.process_time(), time.thread_time()
    command = [sys.executable, "-m", "lookalike_benchmarks.engine_cost", root]
    front = await asyncio.create_subprocess_exec(
        *command, "--seconds", str(seconds), "--front", str(path), way, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await front.communicate()
    calls = int(told)
    each = 1e6 / max(1, calls)
    return Cost((time.process_time() - began) * each, (time.thread_time() - loop_began) * each, calls)


class _Front:
    """Forwards the same search repeatedly, 32 at a time; `answered` counts the replies."""

    def __init__(self, way: Way, query: Float32) -> None:
        self.answered = 0
        self._way = way
        self._query = query
        self._numbers = self._even()
        vectors = types_pb2.Vectors(values=wire.encode(query))
        fields = search_pb2.NeighborFields(keys=True, labels=True)
        request = search_pb2.SearchRequest(query=types_pb2.QueryBatch(vectors=vectors), k=_K, nprobe=1, fields=fields)
        self._message = request.SerializeToString()
        self._whole = ForwardedCall(_METHOD, None, False, "", _PEER, "", "", (), len(self._message))
        self._generation = 0

    @staticmethod
    def _even() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 2

    def received(self, link: Frames, kind: int, number: int, body: bytes) -> None:
        """Adopt the announced generation, and send another search after each reply."""
        if kind == Kind.SHARE:
            self._generation = number
            link.send(Kind.ADOPTED, number)
        elif kind == Kind.SERVE:
            link.send(Kind.SERVING, number)
            for _ in range(_TOGETHER):
                self._ask(link)
        elif kind in (Kind.FOUND, Kind.REPLY):
            self.answered += 1
            # The number of a search is that of its call plus one.
            link.send(Kind.END, number - number % 2)
            self._ask(link)
        elif kind in (Kind.FAILED, Kind.ELSEWHERE):
            raise RuntimeError("the engine process refused a search")

    def _ask(self, link: Frames) -> None:
        number = next(self._numbers)
        if self._way == "whole":
            link.send(Kind.CALL, number, self._whole.encoded(), self._message)
            return
        asked = ArrayCall(_METHOD, self._generation, len(self._message), False, "", _PEER, "")
        plan = Plan(scan=False, nprobe=1, exact=False, expected_recall=0)
        link.send(Kind.ASK, number, asked.encoded())
        link.send(Kind.FIND, number + 1, *ArraySearch(number, 0, self._query, _K, plan, None).encoded())


async def _ask(root: str, path: str, way: Way, seconds: float) -> int:
    """Act as a front for `seconds`; return the number of answered calls."""
    _, vectors = next(iter(CollectionReader.open(root).stream()))
    front = _Front(way, np.ascontiguousarray(vectors[:1]))
    loop = asyncio.get_running_loop()
    _, link = await loop.create_unix_connection(lambda: Frames(front.received, lambda link: None), path)
    link.send(Kind.HELLO, 0)
    await asyncio.sleep(seconds)
    link.close()
    return front.answered


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--front", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.front:
        path, way = given.front
        print(asyncio.run(_ask(given.collection, path, "whole" if way == "whole" else "arrays", given.seconds)))
        return
    for way, cost in asyncio.run(measured(given.collection, given.seconds, given.rounds)):
        print(f"{way}: {cost.all_us:.0f} us a call, {cost.loop_us:.0f} of them in the event loop; {cost.calls} calls")


if __name__ == "__main__":
    main()
