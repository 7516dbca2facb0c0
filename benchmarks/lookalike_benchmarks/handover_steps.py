"""Steps of a search that a front hands over to the engine process, and a bare ping over the same sockets.

    python -m lookalike_benchmarks.handover_steps COLLECTION

A front process sends searches by vector, one or several at a time, to an engine process that serves COLLECTION. Then it
sends the same frames to a process that echoes them, which is the lowest latency of the transport. Medians of each step,
and the processor time of both processes for each call:

    there     the front sends, until the engine process's event loop has the bytes
    admit     decoding and admission in the event loop
    queue     queueing, until the search thread runs
    run       the search
    reply     the search thread is done, until the reply is given to the socket
    back      until the front's event loop has the bytes

The hand-over is the sum without queue and run, which a server of one process has as well. `chrt -r 1` before the
command keeps other processes of the machine out of the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_server.fronts.array_messages import ArrayCall, ArraySearch, decode_answer
from lookalike_server.fronts.frames import Frames, Kind
from lookalike_server.search.effort import Plan
from lookalike_server.search.search_engine import Queued

_METHOD = "/lookalike.v1.SearchService/Search"
_K = 10
# The server opens its network after it has started.
_SETTLE_S = 6.0
_PEER = "ipv4:127.0.0.1:1"
_PLAN = Plan(scan=False, nprobe=1, exact=False, expected_recall=0)
STEPS = ("there", "admit", "queue", "run", "reply", "back")

# Front's times of a call: sent, received, and the microseconds in the queue and of the run.
_FrontTimes = tuple[float, float, int, int]


class _Front:
    """Sends the same search repeatedly, `together` at a time."""

    def __init__(self, query: Float32, together: int) -> None:
        self.times: dict[int, _FrontTimes] = {}
        self._query, self._together = query, together
        self._sent: dict[int, float] = {}
        self._number = self._generation = 0
        self._arrived = 0.0

    def link(self) -> Frames:
        front = self

        class Timed(Frames):
            def data_received(self, data: bytes) -> None:
                front._arrived = time.perf_counter()
                super().data_received(data)

        return Timed(self._received, lambda link: None)

    def _received(self, link: Frames, kind: int, number: int, body: bytes) -> None:
        if kind == Kind.SHARE:
            self._generation = number
            link.send(Kind.ADOPTED, number)
        elif kind == Kind.SERVE:
            link.send(Kind.SERVING, number)
            for _ in range(self._together):
                self._ask(link)
        elif kind == Kind.FOUND:
            answer = decode_answer(body)
            self.times[number] = self._sent.pop(number), self._arrived, answer.queue_us, answer.run_us
            link.send(Kind.END, number - 1)
            self._ask(link)
        elif kind in (Kind.FAILED, Kind.ELSEWHERE):
            raise RuntimeError("the engine process refused a search")

    def _ask(self, link: Frames) -> None:
        call, ticket = self._number, self._number + 1
        self._number += 2
        asked = ArrayCall(_METHOD, self._generation, self._query.nbytes, False, "", _PEER, "")
        self._sent[ticket] = time.perf_counter()
        link.send(Kind.ASK, call, asked.encoded())
        link.send(Kind.FIND, ticket, *ArraySearch(call, 0, self._query, _K, _PLAN, None).encoded())


class _EngineTimes:
    """Times of the engine process by ticket: arrival of the bytes, put into the queue, reply given to the socket."""

    def __init__(self) -> None:
        self.arrived: dict[int, float] = {}
        self.queued: dict[int, float] = {}
        self.replied: dict[int, float] = {}

    def watch(self) -> None:
        """Measure from now on, in this process."""
        from lookalike_server.search.engine import Engine

        last = [0.0]
        data_received, put, send = Frames.data_received, Engine.put, Frames.send_now

        def timed_received(link: Frames, data: bytes) -> None:
            last[0] = time.perf_counter()
            data_received(link, data)

        def timed_put(
            engine: Engine, queries: Float32, k: int, plan: Plan, mask: None, ticket: int, *more: Any
        ) -> Queued:
            self.arrived[ticket] = last[0]
            self.queued[ticket] = time.perf_counter()
            return put(engine, queries, k, plan, mask, ticket, *more)

        def timed_send(link: Frames, kind: Kind, bodies: Sequence[tuple[int, Sequence[bytes]]]) -> None:
            now = time.perf_counter()
            self.replied.update((number, now) for number, _ in bodies)
            send(link, kind, bodies)

        for owner, name, timed in (
            (Frames, "data_received", timed_received),
            (Engine, "put", timed_put),
            (Frames, "send_now", timed_send),
        ):
            setattr(owner, name, timed)


async def _front(root: str, path: str, together: int, seconds: float) -> dict[str, Any]:
    _, vectors = next(iter(CollectionReader.open(root).stream()))
    front = _Front(np.ascontiguousarray(vectors[:1]), together)
    _, link = await asyncio.get_running_loop().create_unix_connection(front.link, path)
    link.send(Kind.HELLO, 0)
    await asyncio.sleep(0.5)
    began = time.process_time()
    calls = len(front.times)
    await asyncio.sleep(seconds)
    spent, calls = time.process_time() - began, len(front.times) - calls
    link.close()
    return {"times": front.times, "cpu_us": spent / max(1, calls) * 1e6, "calls": calls}


async def _ping(root: str, path: str, together: int, seconds: float) -> dict[str, Any]:
    """Send the frames of searches to an echo, and return the microseconds of each."""
    _, vectors = next(iter(CollectionReader.open(root).stream()))
    query = np.ascontiguousarray(vectors[:1]).tobytes()
    sent: dict[int, float] = {}
    took: list[float] = []
    number = 0

    def ask(link: Frames) -> None:
        nonlocal number
        number += 1
        sent[number] = time.perf_counter()
        link.send(Kind.FIND, number, query)

    def received(link: Frames, kind: int, answered: int, body: bytes) -> None:
        took.append(time.perf_counter() - sent.pop(answered))
        ask(link)

    loop = asyncio.get_running_loop()
    _, link = await loop.create_unix_connection(lambda: Frames(received, lambda link: None), path)
    for _ in range(together):
        ask(link)
    await asyncio.sleep(0.5)
    began, calls = time.process_time(), len(took)
    await asyncio.sleep(seconds)
    spent, calls = time.process_time() - began, len(took) - calls
    link.close()
    return {"us": statistics.median(took) * 1e6, "cpu_us": spent / max(1, calls) * 1e6, "calls": calls}


async def _run(root: str, path: str, way: str, together: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "lookalike_benchmarks.handover_steps", root, "--seconds", str(seconds)]
    front = await asyncio.create_subprocess_exec(
        *command, "--front", path, way, str(together), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await front.communicate()
    found: dict[str, Any] = json.loads(told)
    return found


async def measured(
    root: str, together: Sequence[int], seconds: float, rounds: int, tell: Callable[[str], None]
) -> None:
    """Measure in turn, and tell a line for each way, number of calls at a time, and round."""
    from lookalike_server.app import App
    from lookalike_server.common.settings import Listen, ServeSettings
    from lookalike_server.fronts.engine_entrance import EngineEntrance

    settings = ServeSettings(root, Listen(port=0), experiments=False)
    times = _EngineTimes()
    times.watch()
    with tempfile.TemporaryDirectory() as folder:
        path, echo = Path(folder) / "engine", Path(folder) / "echo"

        def entrance(app: App) -> EngineEntrance:
            return EngineEntrance(path, settings.limits, app.hidden_folders, app.collections)

        def back(link: Frames, kind: int, number: int, body: bytes) -> None:
            link.send(Kind.REPLY, number, body[:200])

        app = App(settings, entrance=entrance, mapped=Path(folder) / "generations")
        await app.start()
        server = await asyncio.get_running_loop().create_unix_server(lambda: Frames(back, lambda link: None), echo)
        await asyncio.sleep(_SETTLE_S)
        try:
            for _ in range(rounds):
                for count in together:
                    began = time.process_time()
                    found = await _run(root, str(path), "search", count, seconds)
                    cpu = (time.process_time() - began) / max(1, len(found["times"])) * 1e6
                    tell(_line(count, found, times, cpu))
                    began = time.process_time()
                    ping = await _run(root, str(echo), "ping", count, seconds)
                    cpu = (time.process_time() - began) / max(1, ping["calls"]) * 1e6
                    tell(f"{count:>3} ping    {ping['us']:6.0f} us; CPU echo {cpu:.0f} front {ping['cpu_us']:.0f}")
        finally:
            server.close()
            await app.stop(0)


def _line(count: int, found: dict[str, Any], times: _EngineTimes, cpu: float) -> str:
    steps: dict[str, list[float]] = {step: [] for step in STEPS}
    hands: list[float] = []
    whole: list[float] = []
    for name, (sent, received, queue_us, run_us) in found["times"].items():
        ticket = int(name)
        arrived, queued, replied = times.arrived[ticket], times.queued[ticket], times.replied[ticket]
        steps["there"].append((arrived - sent) * 1e6)
        steps["admit"].append((queued - arrived) * 1e6)
        steps["queue"].append(queue_us)
        steps["run"].append(run_us)
        steps["reply"].append((replied - queued) * 1e6 - queue_us - run_us)
        steps["back"].append((received - replied) * 1e6)
        whole.append((received - sent) * 1e6)
        hands.append((received - sent) * 1e6 - queue_us - run_us)
    medians = "  ".join(f"{step} {statistics.median(values):.0f}" for step, values in steps.items())
    return (
        f"{count:>3} search  {statistics.median(whole):6.0f} us, hand-over {statistics.median(hands):.0f} median "
        f"{statistics.fmean(hands):.0f} mean; {medians}; CPU engine {cpu:.0f} front {found['cpu_us']:.0f}; "
        f"{len(hands)} calls"
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--together", default="1,16")
    parser.add_argument("--front", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.front:
        path, way, together = given.front
        ask = _front if way == "search" else _ping
        print(json.dumps(asyncio.run(ask(given.collection, path, int(together), given.seconds))))
        return
    together = [int(count) for count in given.together.split(",")]
    asyncio.run(measured(given.collection, together, given.seconds, given.rounds, print))


if __name__ == "__main__":
    main()
