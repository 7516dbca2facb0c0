"""Process of one engine: `python -m lookalike_benchmarks.engines.process NAME [ARGUMENTS]`.

Each line of its input is a task in JSON, each line of its output the reply;
vectors and ids are in .npy files. It exits at EOF.

    {"task": "build", "vectors": FILE, "folder": FOLDER}
                                             -> {"seconds": S, "cpu_s": S, "efforts": [...], "about": {...}}
    {"task": "find", "queries": FILE, "k": K, "effort": E, "out": FILE}       -> {"seconds": S, "cpu_s": S}
    {"task": "time", "queries": FILE, "k": K, "effort": E, "batch": B, "callers": C, "seconds": S}
                                                             -> {"latencies_s": [...], "seconds": S, "cpu_s": S}
    {"task": "filtered", "queries": FILE, "where": [...], "k": K, "effort": E, "passes": N, "out": FILE}
                                                             -> {"cpu_s": [...], "seconds": S}

A "build" with "columns", an .npz file, makes an engine that accepts filters. A "filtered" task sends each query alone;
`cpu_s` is the processor time of the process, all threads together; of a "filtered" task, that of each pass. The first
line of output has the time that the engine's module and its `make` took, which for some engines includes compiling.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lookalike_benchmarks.engines.shape import Engine, Where
from lookalike_benchmarks.timing import timed
from lookalike_indexer.arrays import Float32
from lookalike_indexer.threads import sleep_while_waiting


def main() -> None:
    # Output of libraries goes to standard error, so that standard output has only replies.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine, taken = timed(_make)
    print(json.dumps(asdict(taken)), file=answers, flush=True)
    try:
        for line in sys.stdin:
            print(json.dumps(_done(engine, json.loads(line))), file=answers, flush=True)
    finally:
        engine.close()


def _make() -> Engine:
    if sys.argv[1].startswith("lookalike"):
        # As the commands of Lookalike do. Peers keep their defaults.
        sleep_while_waiting()
    engine: Engine = importlib.import_module(f"lookalike_benchmarks.engines.{sys.argv[1]}").make(*sys.argv[2:])
    return engine


def _done(engine: Engine, task: dict[str, Any]) -> dict[str, Any]:
    if task["task"] == "build":
        return _build(engine, task)
    queries = np.load(task["queries"])
    if task["task"] == "filtered":
        return _filtered(engine, task, queries)
    if task["task"] == "find":
        found, taken = timed(lambda: engine.search(queries, task["k"], task["effort"]))
        np.save(task["out"], found)
        return asdict(taken)
    return _time(engine, task, queries)


def _build(engine: Engine, task: dict[str, Any]) -> dict[str, Any]:
    vectors, folder = np.load(task["vectors"]), Path(task["folder"])

    def build() -> None:
        if "columns" in task:
            # Only an engine that accepts filters gets this task.
            filtering: Any = engine
            with np.load(task["columns"]) as columns:
                filtering.build_with(vectors, dict(columns), folder)
        else:
            engine.build(vectors, folder)

    _, taken = timed(build)
    return {**asdict(taken), "efforts": list(engine.efforts), "about": engine.about()}


def _filtered(engine: Any, task: dict[str, Any], queries: Float32) -> dict[str, Any]:
    where = [Where(one["column"], one["below"], tuple(one["among"])) for one in task["where"]]

    def ask() -> list[Any]:
        asked = range(len(queries))
        return [engine.search_where(queries[i : i + 1], task["k"], task["effort"], where[i : i + 1]) for i in asked]

    # The first pass is not timed, since engines cache what they learn about a filter.
    np.save(task["out"], np.concatenate(ask()))
    cpu, began = [], time.perf_counter()
    for _ in range(task["passes"]):
        before = time.process_time()
        ask()
        cpu.append(time.process_time() - before)
    return {"cpu_s": cpu, "seconds": time.perf_counter() - began}


def _time(engine: Engine, task: dict[str, Any], queries: Float32) -> dict[str, Any]:
    batch, k, effort, callers = task["batch"], task["k"], task["effort"], task["callers"]
    batches = [queries[start : start + batch] for start in range(0, len(queries) - batch + 1, batch)]
    engine.search(batches[0], k, effort)
    began, cpu = time.perf_counter(), time.process_time()
    latencies: list[list[float]] = [[] for _ in range(callers)]
    failures: list[Exception] = []

    def call(caller: int) -> None:
        number = caller
        try:
            while (start := time.perf_counter()) < began + task["seconds"]:
                engine.search(batches[number % len(batches)], k, effort)
                latencies[caller].append(time.perf_counter() - start)
                number += callers
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return {
        "latencies_s": [one for caller in latencies for one in caller],
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu,
    }


if __name__ == "__main__":
    main()
