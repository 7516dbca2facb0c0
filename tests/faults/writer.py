"""`python -m tests.faults.writer`: a writable server is killed, or its log is damaged.

Killed: the acknowledged changes are there after the next start, and no call is stored
in part. Damaged: exactly the changes before the damage are served. Exits with 1 if a
promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.server import conftest
from tests.server.live.kills import killed
from tests.server.live.test_update import delete, upsert
from tests.server.live.test_update import random as vectors

from lookalike_indexer.collection import changelog
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_server.common.limits import Limits
from lookalike_server.common.thread_budget import ThreadBudget
from lookalike_server.generation.loader import Loader
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.live.collection import LiveCollection
from lookalike_server.placement.devices import Cpu

KILLED, DAMAGED = "killed writer", "damaged log"
KINDS = (KILLED, DAMAGED)
_CHANGES = 40


def damaged_logs(work: Path, count: int, seed: int) -> list[str]:
    """Tear, flip or cut a log `count` times; return the promises that were broken."""
    toy = conftest.toys_in(work)(vectors(40), name="damaged")
    states = asyncio.run(_changed(toy))
    base = Loader("cpu", [Cpu()], Limits(), ThreadBudget(1, 1, 1)).load(CollectionReader.open(str(toy.root)))
    path = toy.root / changelog.Name(1, 1).path
    whole = path.read_bytes()
    ends = [record.end for record in changelog.records(path, changelog.HEADER.size, 1)]
    chance, problems = random.Random(seed), []
    try:
        for turn in range(count):
            data, at, how = _damaged(whole, chance)
            path.write_bytes(data)
            wanted = states[sum(end <= at for end in ends)]
            found = _served(toy.root, base)
            if found != wanted:
                problems.append(
                    f"{turn}, {how} at {at}: {len(found)} images are served, not the {len(wanted)} before it"
                )
    finally:
        base.close()
    return problems


async def _changed(toy: Any) -> list[set[str]]:
    """Change a collection; return the keys before the first change and after each."""
    keys = {toy.key(int(one)) for one in toy.ids} | {toy.key(int(toy.ids[-1]) + 2)}
    states, chance = [set(keys)], random.Random(1)
    serve = conftest.serve.__wrapped__()  # type: ignore[attr-defined]
    async with serve(toy, writable=True) as served:
        for turn in range(_CHANGES):
            if turn % 3 == 2:
                gone = chance.sample(sorted(keys), 2)
                await served.update.Delete(delete(*gone))
                keys -= set(gone)
            else:
                new = [f"k{turn}", chance.choice(sorted(keys))]
                await served.update.Upsert(upsert(new, vectors(2, turn)))
                keys |= set(new)
            states.append(set(keys))
    return states


def _damaged(whole: bytes, chance: random.Random) -> tuple[bytes, int, str]:
    """Write a damaged copy of a log; return the position of its first wrong byte."""
    at = chance.randrange(changelog.HEADER.size, len(whole))
    how = chance.choice(("cut", "flipped", "torn"))
    if how == "cut":
        return whole[:at], at, how
    data = bytearray(whole)
    if how == "flipped":
        data[at] ^= 1 << chance.randrange(8)
        return bytes(data), at, how
    # Other bytes in place of a sector, as if it was never written.
    end = min(len(whole), at + chance.randrange(1, 513))
    data[at:end] = chance.randbytes(end - at)
    first = next((place for place in range(at, end) if data[place] != whole[place]), len(whole))
    return bytes(data), first, how


def _served(root: Path, base: Snapshot) -> set[str]:
    """Return the keys of the images that a server would serve."""
    view = LiveCollection(str(root), Limits(), writable=False).replayed(base).view()
    columns = view.columns
    rows = columns.listed if columns.listed is not None else range(len(columns.ids))
    return set(columns.keys(columns.rows_of_ids(columns.ids[list(rows)])))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="lookalike-faults-"))
    try:
        if given.kind == KILLED:
            toy = conftest.toys_in(work)(vectors(120), index="IVF16,Flat", name="kills")
            acknowledged = killed(toy, given.count, random.Random(given.seed))
            sys.stdout.write(f"{given.count} kills: {acknowledged} acknowledged changes, none lost, none partial\n")
            return 0
        problems = damaged_logs(work, given.count, given.seed)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sys.stdout.write(f"{given.count} damaged logs: {len(problems)} served otherwise than before the damage\n")
    for problem in problems:
        sys.stderr.write(f"BROKEN {problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
