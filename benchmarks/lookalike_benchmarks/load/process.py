"""Process of callers: `python -m lookalike_benchmarks.load.process` runs the job in its first line of input.

It prints "ready", waits for a second line so that several processes begin together, and
prints the outcome as one line of JSON.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from lookalike_benchmarks.load.closed import callers, one_caller
from lookalike_benchmarks.load.job import Job, read_requests
from lookalike_benchmarks.load.open import arrivals
from lookalike_benchmarks.load.tally import Tally


def main() -> None:
    job = Job.of(sys.stdin.readline())
    requests = read_requests(Path(job.requests))
    print("ready", flush=True)
    if not sys.stdin.readline():
        return  # the parent process has ended
    print(_done(job, requests).outcome().line(), flush=True)


def _done(job: Job, requests: list[bytes]) -> Tally:
    if job.rate:
        return asyncio.run(arrivals(job, requests))
    if job.callers == 1:
        return one_caller(job, requests)
    return asyncio.run(callers(job, requests))


if __name__ == "__main__":
    main()
