"""Disturb a command once, check what it left, run it again, and compare with an undisturbed run."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults import changes, kinds
from tests.faults.children import Outcome, run_in_child
from tests.faults.kinds import Injected, Usual
from tests.faults.operations import Operations
from tests.faults.scenarios import Scenario, list_pictures, paint, scenarios

Contents = dict[str, bytes]
_LOCKS = (".lock", ".lock-owner.json")
_PAGE = 4096


@dataclass(frozen=True)
class Trial:
    """A fault and its effect; `problems` is empty if every promise was kept."""

    scenario: str
    kind: str
    where: str
    code: int
    said: str
    published: bool
    problems: list[str]


@dataclass(frozen=True)
class _Stage:
    scenario: Scenario
    before: Path
    after: Contents
    usual: Usual


class Harness:
    """A collection that is disturbed repeatedly, in a folder of its own."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._photos, self._root = work / "photos.txt", work / "collection"
        self._temporary = work / "temporary"
        paint(work / "pictures")
        self.can_mount = kinds.may_mount(work / "scratch")
        self._stages = [self._undisturbed(scenario) for scenario in scenarios(self._photos, self._root)]

    @property
    def names(self) -> list[str]:
        return [stage.scenario.name for stage in self._stages]

    def trial(self, scenario: str, kind: str, seed: int) -> Trial | None:
        """Run one fault; return None if its kind cannot happen in the scenario."""
        if kind == changes.KIND:
            return self._source_changes(seed)
        stage = next(stage for stage in self._stages if stage.scenario.name == scenario)
        injected = kinds.draw(kind, stage.usual, random.Random(seed))
        if injected is None:
            return None
        with contextlib.ExitStack() as disks:
            before = self._put_back(stage, injected, disks)
            outcome = self._run(stage.scenario, injected, seed)
            problems = [*_judged(outcome, injected), *_left(before, contents(self._root), stage.after, scenario)]
            published = contents(self._root).keys() >= stage.after.keys() - before.keys()
            if injected.disk is not None:
                kinds.enlarge(self._root)
            again = self._run(stage.scenario, None, seed)
            if again.code != 0:
                problems.append(f"run again, it ended with {again.code}: {again.said}")
            problems += _compared(contents(self._root), stage.after)
        return Trial(scenario, kind, injected.where, outcome.code, outcome.said.strip(), published, problems)

    def _source_changes(self, seed: int) -> Trial:
        """Run a trial with a collection and a source of its own, independent of the scenario."""
        done = changes.source_changes(self._work / "changes", seed)
        return Trial(done.source, changes.KIND, done.told, done.code, done.said, not done.problems, done.problems)

    def _undisturbed(self, scenario: Scenario) -> _Stage:
        before = self._work / f"before-{scenario.name.replace(' ', '-')}"
        shutil.copytree(self._root, before) if self._root.exists() else before.mkdir()
        seen = self._work / "operations.json"
        old = contents(self._root)
        outcome = self._run(scenario, None, 0, seen)
        if outcome.code != 0:
            raise RuntimeError(f"{scenario.name} ended with {outcome.code} undisturbed: {outcome.said}")
        after = contents(self._root)
        sizes = [len(data) for path, data in after.items() if path not in old]
        return _Stage(scenario, before, after, Usual(json.loads(seen.read_text()), outcome.seconds, sizes))

    def _put_back(self, stage: _Stage, injected: Injected, disks: contextlib.ExitStack) -> Contents:
        shutil.rmtree(self._root, ignore_errors=True)
        if injected.disk is not None:
            there = sum(_pages(path) for path in stage.before.rglob("*"))
            disks.enter_context(kinds.small_disk(self._root, max(_PAGE, there + injected.disk)))
        if injected.full_temporary:
            disks.enter_context(kinds.small_disk(self._temporary, _PAGE))
            (self._temporary / "ballast").write_bytes(b"x" * _PAGE)
        shutil.copytree(stage.before, self._root, dirs_exist_ok=True)
        return contents(self._root)

    def _run(self, scenario: Scenario, injected: Injected | None, seed: int, seen: Path | None = None) -> Outcome:
        list_pictures(self._photos, scenario.pictures)

        def work() -> None:
            operations: Operations | None = None
            if injected is not None or seen is not None:
                wanted = injected or Injected("none", "")
                operations = kinds.bring_about(wanted, self._root, self._temporary, seed)
            try:
                scenario.command(scenario.arguments)
            finally:
                if seen is not None and operations is not None:
                    seen.write_text(json.dumps(operations.seen))

        return run_in_child(work, injected.kill_after if injected else None)


def contents(root: Path) -> Contents:
    """Return the bytes of every file of a collection, except its lock and temporary files."""
    paths = [path for path in root.rglob("*") if path.is_file() and path.name not in _LOCKS]
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(paths) if not path.name.startswith(".tmp-")
    }


_STAGE = re.compile(r"Stage \d of \d: |Verifying ")


def _judged(outcome: Outcome, injected: Injected) -> list[str]:
    """Check that a killed run was killed, and that any other one succeeded or printed one sentence."""
    killed = injected.kill_after is not None or (injected.fault is not None and injected.fault.errno is None)
    if killed and outcome.code in (-9, 0):
        return []
    if outcome.code == 0:
        return []
    # Progress is no part of the error.
    lines = [line for line in outcome.said.strip().splitlines() if not _STAGE.match(line)]
    if outcome.code == 1 and len(lines) == 1 and lines[0].startswith("Error: ") and lines[0].endswith("."):
        return []
    return [f"it ended with {outcome.code} and said: {outcome.said}"]


def _left(before: Contents, left: Contents, after: Contents, scenario: str) -> list[str]:
    """Check that the collection opens after a fault, with the last published generation unchanged."""
    from lookalike_indexer.collection import encoding

    problems = []
    numbers = sorted(path for path in left if path.startswith("generations/"))
    expected = {
        sorted(path for path in state if path.startswith("generations/"))[-1:][0] for state in (before, after) if state
    }
    if before and not numbers:
        return ["no generation is left"]
    if numbers and numbers[-1] not in expected:
        problems.append(f"the newest generation is {numbers[-1]}, not one of {sorted(expected)}")
    removes = scenario == "gc"
    for path in numbers:
        for name in encoding.decode(left[path], path, left.__getitem__).files:
            wanted = before.get(name, after.get(name))
            if (path in after or not removes) and left.get(name) != wanted:
                problems.append(f"{name} of {path} is not what was published")
    if not removes:
        problems += [f"{path} was changed" for path, data in before.items() if left.get(path) != data]
    return problems


def _compared(found: Contents, expected: Contents) -> list[str]:
    different = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
    return [f"run again, it left other bytes than an undisturbed run: {', '.join(different)}"] if different else []


def _pages(path: Path) -> int:
    """Return the size of a file on a small disk."""
    return -(-path.stat().st_size // _PAGE) * _PAGE if path.is_file() else 0


def trials(
    harness: Harness, count: int, seed: int, tell: Callable[[int, Trial], None], names: list[str], wanted: list[str]
) -> list[Trial]:
    """Yield trials, spread evenly over scenarios and kinds, all decided by the seed."""
    draw = random.Random(seed)
    skipped = () if harness.can_mount else kinds.NEEDS_ROOT
    pairs = _pairs([kind for kind in wanted if kind not in skipped], names, draw)
    done: list[Trial] = []
    misses = 0
    while len(done) < count and misses < len(names) * len(wanted):
        trial = harness.trial(*next(pairs), draw.getrandbits(32))
        if trial is None:
            misses += 1
            continue
        misses = 0
        done.append(trial)
        tell(len(done), trial)
    return done


def _pairs(wanted: list[str], names: list[str], draw: random.Random) -> Iterator[tuple[str, str]]:
    """Yield scenarios and kinds so that a short run has all of each, and a long one all pairs."""
    scenarios = itertools.cycle(draw.sample(names, len(names)))
    while True:
        for kind in draw.sample(wanted, len(wanted)):
            yield next(scenarios), kind


def working_folder() -> Path:
    """Return the working folder of the harness, which the caller removes."""
    import tempfile

    return Path(os.path.realpath(tempfile.mkdtemp(prefix="lookalike-faults-")))
