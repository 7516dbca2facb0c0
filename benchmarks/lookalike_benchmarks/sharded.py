"""Routers with shards against one server: the added latency of a call, and calls/s."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lookalike_benchmarks.fronts import Found, Trial, ask_server, wait_for_network
from lookalike_benchmarks.results import Row
from lookalike_benchmarks.serving import Running, routing, serving


def compared(trial: Trial, counts: Sequence[int], params: dict[str, Any]) -> Iterator[Row]:
    """Yield a row for one server, and one for a router with each number of shards; they are called in turn.

    The router's added latency is the median of the rounds' differences.
    """
    found = {0: Found(), **{count: Found() for count in counts}}
    with ExitStack() as stack:
        servers = {0: stack.enter_context(serving(trial.root, *trial.options))}
        for count in counts:
            servers[count] = stack.enter_context(_spread(trial, count))
        for server in servers.values():
            wait_for_network(server)
        for _ in range(trial.rounds):
            for count, server in servers.items():
                ask_server(trial, server, found[count])
    alone = found[0]
    for count, of in found.items():
        measured = {
            "calls_per_s": statistics.median(of.calls_per_s),
            "cpu_us_per_call_of_the_router": statistics.median(of.cpu_us),
            "p50_ms_of_one_caller": statistics.median(of.one_caller_ms),
        }
        if count:
            pairs = zip(of.one_caller_ms, alone.one_caller_ms, strict=True)
            measured["added_p50_ms"] = statistics.median(value - other for value, other in pairs)
            both = zip(of.calls_per_s, alone.calls_per_s, strict=True)
            measured["calls_over_one_server"] = statistics.median(value / other for value, other in both)
        else:
            measured["cpu_us_per_call_of_the_server"] = measured.pop("cpu_us_per_call_of_the_router")
        told = {"k": trial.k, "shards": count, "callers": trial.callers, "seconds": trial.seconds}
        case = f"router, {count} shard{'' if count == 1 else 's'}" if count else "one server"
        yield Row("serve", case, {**params, **told}, measured)


@contextmanager
def _spread(trial: Trial, count: int) -> Iterator[Running]:
    """Run a router for shards of one replica each."""
    with ExitStack() as stack:
        options = (*trial.options, "--no-experiments")
        shards = [
            stack.enter_context(serving(trial.root, "--shard", f"{number}/{count}", *options))
            for number in range(1, count + 1)
        ]
        file = Path(trial.scratch) / f"shards-{count}.toml"
        file.write_text("".join(f'[[shard]]\nreplicas = ["{shard.address}"]\n' for shard in shards))
        yield stack.enter_context(routing(trial.root, file))
