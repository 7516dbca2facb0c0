"""Rows of results as JSON lines, each with its parameters and machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lookalike_benchmarks.machine import machine, versions


@dataclass(frozen=True)
class Settings:
    """Settings of a suite's run.

    `gpus` are numbers of GPUs, 0 for the processor, without those that this machine lacks.
    `quick` shrinks everything to seconds, to test the suite rather than to measure. `photos`
    is a folder of images and `weights` a ResNet-50 state dict, for suites with real
    embeddings. `options` has the suite's `--set name=value` parameters.
    """

    gpus: tuple[int, ...] = (0,)
    quick: bool = False
    photos: Path | None = None
    weights: Path | None = None
    seed: int = 1
    options: Mapping[str, str] = field(default_factory=dict)

    def option(self, name: str, default: str) -> str:
        return self.options.get(name, default)


@dataclass(frozen=True)
class Row:
    """One measured case: `params` has its parameters, `measured` its measurements, with units in the names."""

    suite: str
    case: str
    params: Mapping[str, Any]
    measured: Mapping[str, Any]
    note: str = ""


class Results:
    """File of a suite's rows in the folder `out`; a new run replaces it."""

    def __init__(self, out: Path, suite: str, command: str) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._path = out / f"{suite}.jsonl"
        self._partial = self._path.with_suffix(".jsonl.part")
        self._partial.write_text("")
        self._command = command

    def add(self, row: Row) -> None:
        """Append a row, so that an interrupted run keeps its measurements."""
        labeled = {**asdict(row), "command": self._command, "machine": machine(), "versions": versions()}
        with self._partial.open("a") as file:
            file.write(json.dumps(labeled) + "\n")

    def finish(self) -> Path:
        self._partial.replace(self._path)
        return self._path


def read(out: Path, suite: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a suite's last finished run, then those of other machines, which have a folder each."""
    for path in [out / f"{suite}.jsonl", *sorted(out.glob(f"*/{suite}.jsonl"))]:
        if path.exists():
            yield from (json.loads(line) for line in path.read_text().splitlines())
