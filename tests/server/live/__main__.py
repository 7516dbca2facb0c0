"""Many changes compared with a model, and a server that is killed repeatedly while it stores changes.

python -m tests.server.live --changes 10000 --kills 200
"""

from __future__ import annotations

import argparse
import asyncio
import random as chances
import sys
import tempfile
from pathlib import Path

from tests.server import conftest
from tests.server.live.kills import killed
from tests.server.live.model import run
from tests.server.live.test_model import model_of
from tests.server.live.test_update import delete, random


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make = conftest.make_toy.__wrapped__(Path(folder))  # type: ignore[attr-defined]
        serve = conftest.serve.__wrapped__()  # type: ignore[attr-defined]
        if given.changes:
            asyncio.run(_changes(make(random(120), index="IVF16,Flat", name="model"), serve, given))
            sys.stdout.write(f"{given.changes} changes: each was seen by the next call\n")
        if given.kills:
            toy = make(random(120), index="IVF16,Flat", name="kills")
            acknowledged = killed(toy, given.kills, chances.Random(given.seed))
            sys.stdout.write(f"{given.kills} kills: {acknowledged} acknowledged changes, none lost, none partial\n")


async def _changes(toy, serve, given) -> None:  # type: ignore[no-untyped-def]
    async with serve(toy, writable=True) as served:
        await served.update.Delete(delete(toy.key(int(toy.ids[-1]) + 2)))
        await run(served, model_of(toy, seed=given.seed), given.changes)


if __name__ == "__main__":
    main()
