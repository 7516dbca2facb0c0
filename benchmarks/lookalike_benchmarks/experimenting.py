"""Measurements of the suite experiments, each in a process of its own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from lookalike_benchmarks import timing
from lookalike_benchmarks.labeled import CLUSTERING, MODELS, Labeled, write_labeled
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.view import View
from lookalike_indexer.threads import sleep_while_waiting

# The module of each function, and its arguments.
EXPERIMENTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "class_matrix": ("matrix", {"clustering": CLUSTERING}),
    "oddballs": ("oddballs", {"clustering": CLUSTERING}),
    "class_accuracies": ("classes", {"models": list(MODELS)}),
    "compare": ("compare", {}),
}


def write(root: str, wanted: Labeled) -> int:
    """Write the collection; return its size in bytes."""
    write_labeled(root, wanted)
    return sum(entry.bytes for entry in CollectionReader.open(root).manifest.files.values())


def run_one(root: str, name: str) -> dict[str, Any]:
    """Measure the seconds of an experiment's first run, which reads columns and imports modules, and of its second."""
    # As the commands and the server do.
    sleep_while_waiting()
    experiment = _function(name)
    view = View(CollectionReader.open(root))
    first = timing.seconds(lambda: experiment(view))
    return {"seconds": first, "again_seconds": timing.seconds(lambda: experiment(view))}


def _function(name: str) -> Callable[[View], object]:
    module, arguments = EXPERIMENTS[name]
    function = getattr(importlib.import_module(f"lookalike_indexer.experiments.{module}"), name)
    return partial(function, **arguments)
