"""The kind of fault "the source changes": between commands, some of which are killed.

After every command, each stored vector must belong to the bytes whose stored digest
is beside it, under a key that has held these bytes. Each key must have one image, and
deleted images must stay deleted. After an undisturbed run, each image of the source
must be stored or rejected; with --sync, stored images must have the source's current
bytes.
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import click
from tests.faults.children import Outcome, run_in_child
from tests.faults.operations import Fault, Operations
from tests.faults.source import NAMES, ChangingSource
from tests.faults.stored import left_out, not_followed, not_unique, wrong_vectors

KIND = "the source changes"
_STEPS = 5
# A command makes about this many operations; a kill at a later one does not happen.
_OPERATIONS = 120
_EMBED = ["--part-size", "4", "--batch-size", "4", "--workers", "1", "--compute", "float32"]
_MAIN = ["--model", "squeezenet1_1", "--weights", "untrained:5", *_EMBED]
_SECOND = ["--model", "shufflenet_v2_x0_5", "--weights", "untrained:5", *_EMBED]


@dataclass(frozen=True)
class Changed:
    """A source, its changes and commands in words, and the promises that were broken.

    `code` is -9 if a command was killed, else the exit code of the last command; `said` is its output.
    """

    source: str
    told: str
    code: int
    said: str
    problems: list[str]


def source_changes(work: Path, seed: int) -> Changed:
    """Change a source several times and run a command after each change, all decided by the seed."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    draw = random.Random(seed)
    trial = _Trial(work, ChangingSource(draw.choice(sorted(NAMES)), work / "place", draw), draw)
    trial.run()
    code = -9 if trial.was_killed else trial.outcome.code
    return Changed(trial.source.kind, "; ".join(trial.told), code, trial.outcome.said.strip(), trial.problems)


class _Trial:
    def __init__(self, work: Path, source: ChangingSource, draw: random.Random) -> None:
        self.source = source
        self.told: list[str] = []
        self.problems: list[str] = []
        self.outcome = Outcome(0, "", 0.0)
        self.was_killed = False
        self._root, self._labels, self._found = work / "collection", work / "labels.csv", work / "found.json"
        self._draw = draw
        self._listed_at = ""
        # The files of each space at the last check: published files never change.
        self._looked: dict[str, list[str]] = {}
        self._deleted: set[str] = set()

    def run(self) -> None:
        """Index, change and run repeatedly; at the end complete the collection and verify it."""
        self._index(may_be_killed=True)
        for _ in range(_STEPS):
            if self.problems:
                return
            self.told.append(self.source.change())
            command = self._draw.choice([self._index, self._sync, self._sync, self._embed, self._delete, self._upkeep])
            command(may_be_killed=self._draw.random() < 0.4)
        for command in (self._index, self._embed, self._sync, self._verify):
            if not self.problems:
                command(may_be_killed=False)

    def _index(self, may_be_killed: bool) -> None:
        from lookalike_indexer.cli.index import index

        self._follow(may_be_killed)
        labels = self._label_options()
        arguments = [*self._where(), *_MAIN, "--clusters", "2", "--index", "Flat", *labels]
        self._run("index", index, arguments, may_be_killed, "squeezenet1_1")

    def _sync(self, may_be_killed: bool) -> None:
        from lookalike_indexer.cli.index import index

        if not (self._root / "generations").exists():
            self._index(may_be_killed)
            return
        self._follow(may_be_killed)
        # At least half of the source must stay, since it is small.
        arguments = [*self._where(), "--sync", "--allow-deletions", *_EMBED, *self._label_options()]
        self._run("index --sync", index, arguments, may_be_killed, "squeezenet1_1")

    def _delete(self, may_be_killed: bool) -> None:
        from lookalike_indexer.cli.remove import remove

        if len(self._deleted) > 1 or not (self._root / "generations").exists():
            self._index(may_be_killed)
            return
        key = self._draw.choice(sorted(self.source.pictures))
        self._run(f"delete {key}", remove, [str(self._root), "--image", key], may_be_killed)
        if self.outcome.code == 0 and "deleted 1 " in self.outcome.said:
            self._deleted.add(key)

    def _embed(self, may_be_killed: bool) -> None:
        from lookalike_indexer.cli.embed import embed

        self._follow(may_be_killed)
        arguments = [*self._where(), *_SECOND, *self._label_options()]
        self._run("embed a second model", embed, arguments, may_be_killed, "shufflenet_v2_x0_5")

    def _upkeep(self, may_be_killed: bool) -> None:
        from lookalike_indexer.cli.compact import compact
        from lookalike_indexer.cli.gc import gc

        name, command, options = self._draw.choice([("compact", compact, ["--purge"]), ("gc", gc, ["--keep", "1"])])
        self._run(name, command, [str(self._root), *options], may_be_killed)

    def _verify(self, may_be_killed: bool) -> None:
        from lookalike_indexer.cli.verify import verify

        self._run("verify --deep", verify, [str(self._root), "--deep"], may_be_killed)

    def _follow(self, may_be_killed: bool) -> None:
        """Relocate the collection to the moved source; move the source back if that is rejected."""
        from lookalike_indexer.cli.relocate import relocate

        now = str(self.source.path)
        if self._listed_at in ("", now) or not (self._root / "generations").exists():
            self._listed_at = now
            return
        arguments = [str(self._root), now]
        self._run("relocate", relocate, arguments, may_be_killed)
        if self.outcome.code == -9:
            self._run("relocate", relocate, arguments, may_be_killed=False)
        if self.outcome.code == 1:
            self.told.append(self.source.move_to(Path(self._listed_at).parent))
        else:
            self._listed_at = now

    def _where(self) -> list[str]:
        return [str(self.source.path), "--collection", str(self._root)]

    def _label_options(self) -> list[str]:
        return ["--labels", str(self._labels)] if self.source.write_labels(self._labels) else []

    def _run(
        self, name: str, command: click.Command, arguments: list[str], may_be_killed: bool, model: str = ""
    ) -> None:
        """Run a command, judge how it ended, and check the stored data; `model` must then have all of the source."""
        fault = Fault(self._draw.randrange(_OPERATIONS), after=self._draw.random() < 0.5) if may_be_killed else None
        self.outcome = run_in_child(lambda: self._child(command, arguments, fault))
        is_killed = self.outcome.code == -9
        self.was_killed |= is_killed
        self.told.append(f"{name}{' (killed)' if is_killed else ''}")
        self.problems += self._judged(name)
        completed = model if self.outcome.code == 0 else ""
        looked = run_in_child(lambda: self._look(completed, name == "index --sync"))
        if looked.code != 0:
            self.problems.append(f"after {name}, the collection could not be read: {looked.said}")
        else:
            found = json.loads(self._found.read_text())
            self.problems += [f"after {name}, {problem}" for problem in found["problems"]]
            self._looked = found["looked"]

    def _child(self, command: click.Command, arguments: list[str], fault: Fault | None) -> None:
        Operations(self._root, fault, 0).install()
        command(arguments)

    def _judged(self, name: str) -> list[str]:
        code, lines = self.outcome.code, self.outcome.said.strip().splitlines()
        if code in (0, -9):
            return []
        # These errors are allowed: nothing published to compact, a killed run to finish first, or a replaced image that
        # may belong to another source.
        has_reason = name in ("relocate", "compact", "gc")
        if code in (1, 2) and has_reason and lines and lines[-1].startswith("Error: "):
            return []
        return [f"{name} ended with {code} and said: {self.outcome.said}"]

    def _look(self, completed: str, is_synced: bool) -> None:
        """Check the stored data in a child, since this starts threads; write problems and checked files as JSON."""
        from lookalike_indexer.collection import generations
        from lookalike_indexer.collection.reader import CollectionReader
        from lookalike_indexer.collection.storage import Storage

        problems: list[str] = []
        looked: dict[str, list[str]] = {}
        if generations.latest(Storage(str(self._root))) is not None:
            reader = CollectionReader.open(str(self._root))
            for space, entry in sorted(reader.manifest.spaces.items()):
                looked[space] = [*reader.manifest.images, *entry.parts]
                if looked[space] != self._looked.get(space):
                    problems += wrong_vectors(reader, space, self.source)
            problems += not_unique(reader, self._deleted)
            if completed:
                problems += left_out(reader, completed, self.source, self._deleted)
            if completed and is_synced:
                problems += not_followed(reader, self.source)
        self._found.write_text(json.dumps({"problems": problems, "looked": looked}))
