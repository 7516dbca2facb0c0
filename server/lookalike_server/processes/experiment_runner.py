"""Experiments in a separate process.

They import and run Python code that holds the GIL, and their libraries use many threads. In the
server's process, every search would wait for that. The process has a lower priority than searches,
and ends with the server.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import threadpoolctl

from lookalike_indexer.collection import layout
from lookalike_indexer.collection.location import open_storage
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Stamp
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.view import View
from lookalike_indexer.threads import sleep_while_waiting
from lookalike_server.common.errors import ExpiredError
from lookalike_server.common.limits import Limits
from lookalike_server.processes import result_encoding as tables
from lookalike_server.processes.worker_process import HungError, OnHang, WorkerProcess, WorkerSpec

# The modules are imported on first use, because scikit-learn takes a second.
EXPERIMENTS: Final = {
    "image_clusters": "lookalike_indexer.experiments.image_clusters",
    "class_accuracies": "lookalike_indexer.experiments.classes",
    "class_matrix": "lookalike_indexer.experiments.matrix",
    "oddballs": "lookalike_indexer.experiments.oddballs",
    "mistakes": "lookalike_indexer.experiments.mistakes",
    "split_label": "lookalike_indexer.experiments.split",
    "interpret_clusters": "lookalike_indexer.experiments.interpret",
    "explain": "lookalike_indexer.experiments.explain",
    "choose_k": "lookalike_indexer.experiments.choose_k",
    "label_tree": "lookalike_indexer.experiments.label_tree",
    "map2d": "lookalike_indexer.experiments.map2d",
    "compare": "lookalike_indexer.experiments.compare",
    "evolution": "lookalike_indexer.experiments.evolution",
    "duplicates": "lookalike_indexer.experiments.duplicates",
    "leaks": "lookalike_indexer.experiments.leaks",
    "label_issues": "lookalike_indexer.experiments.label_issues",
    "spread_sample": "lookalike_indexer.experiments.sample",
    "image_quality": "lookalike_indexer.experiments.image_quality",
}
ATTRIBUTION: Final = "attribution"
# Experiments that read a model's weights, which may have been moved.
_OF_WEIGHTS: Final = {"label_tree"}
# Arguments that are mappings. They are passed as items, which can be compared and hashed.
_MAPPINGS: Final = {"class_map"}
_NICENESS = 10
# It may be silent this many times as long as a network.
_SILENCE = 6


@dataclass(frozen=True)
class ExperimentKey:
    """An experiment on a generation. Equal keys have equal answers.

    `name` is a function of EXPERIMENTS, or ATTRIBUTION. `arguments` are its arguments, with
    mappings as items. `made` distinguishes the generation from one of the same number in a
    recreated collection.
    """

    generation: int
    name: str
    arguments: tuple[tuple[str, Any], ...] = ()
    made: str = ""

    @functools.cached_property
    def digest(self) -> bytes:
        """Digest for comparison and caching, because callers decide how large the arguments are."""
        # repr escapes texts, and all else is numbers and tuples, so distinct keys give distinct texts.
        spelled = repr((self.generation, self.name, self.arguments, self.made))
        return hashlib.sha256(spelled.encode()).digest()


class ExperimentRunner(Protocol):
    """Runs experiments, one at a time."""

    @property
    def hung(self) -> bool:
        """True if it sends no heartbeat. Thread-safe."""
        ...

    def answer(self, key: ExperimentKey) -> bytes:
        """Return a serialized ExperimentResult or GetAttributionResponse. Raises the errors of the experiment."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class RunnerConfig:
    """Settings of the process: the collection's folder, a weights file (None: the manifest's), threads, and limits."""

    root: str
    weights: str | None
    threads: int
    limits: Limits


class LocalExperimentRunner:
    """Runs experiments in the current process. Not thread-safe.

    It holds the columns of one generation; those of another replace them.
    """

    def __init__(self, config: RunnerConfig) -> None:
        self._config = config
        self._storage = open_storage(config.root)
        self._held: tuple[tuple[int, Stamp], View] | None = None
        self._attributions: Any = None

    @property
    def hung(self) -> bool:
        """Always False, because it runs in the caller's process."""
        return False

    def answer(self, key: ExperimentKey) -> bytes:
        """Run an experiment. Raises as ExperimentRunner does."""
        view, arguments = self._view_of(key.generation), dict(key.arguments)
        if key.name == ATTRIBUTION:
            return self._attribution(view, arguments)
        for name in arguments.keys() & _MAPPINGS:
            arguments[name] = dict(arguments[name])
        if key.name in _OF_WEIGHTS:
            arguments["weights_file"] = self._config.weights
        module = importlib.import_module(EXPERIMENTS[key.name])
        experiment: Callable[..., Result] = getattr(module, key.name)
        with threadpoolctl.threadpool_limits(self._config.threads):
            result = experiment(view, **arguments)
        answer: bytes = tables.checked(result, self._config.limits).SerializeToString()
        return answer

    def _attribution(self, view: View, arguments: dict[str, Any]) -> bytes:
        if self._attributions is None:
            # Imported here, because it loads torch.
            from lookalike_server.processes.attribution import Attributions

            self._attributions = Attributions(self._config.weights, self._config.threads)
        answer: bytes = self._attributions.attribution(view, **arguments).SerializeToString()
        return answer

    def close(self) -> None:
        """Do nothing."""

    def _view_of(self, generation: int) -> View:
        # Also by the manifest's stamp, because a recreated collection reuses the numbers.
        wanted = generation, self._storage.stamp(layout.generation(generation))
        if self._held is None or self._held[0] != wanted:
            # Release the old columns first.
            self._held = None
            self._held = (wanted, View(CollectionReader.open(self._config.root, generation)))
        return self._held[1]


class ProcessExperimentRunner:
    """An experiment runner in another process, started on first use. Not thread-safe."""

    def __init__(self, config: RunnerConfig, on_hang: OnHang = lambda what, sentence: None) -> None:
        limits = config.limits
        self._limit_s = limits.max_experiment_ms / 1000
        # Its libraries hold the GIL for longer than a network does.
        silence_s = limits.max_silence_ms / 1000 * _SILENCE
        spec = WorkerSpec("experiments", "runs experiments", _opened, config, _NICENESS, silence_s)
        self._worker = WorkerProcess(spec, on_hang)

    @property
    def hung(self) -> bool:
        """True if the process is running and sends no heartbeat."""
        return self._worker.hung

    def answer(self, key: ExperimentKey) -> bytes:
        """Run an experiment. Raises as ExperimentRunner does.

        Raises DeviceError if the process ended; the next call starts another. Raises ExpiredError
        if the experiment took longer than `max_experiment_ms`.
        """
        try:
            answer: bytes = self._worker.request(key, self._limit_s)
        except HungError as error:
            if not error.late:
                raise
            raise ExpiredError(
                f"The experiment ran for longer than {self._limit_s:g} s, which is max_experiment_ms, and was stopped; "
                "request less, or run the command locally on the collection."
            ) from error
        return answer

    def close(self) -> None:
        """End the process; its current work is lost."""
        self._worker.close()


@contextmanager
def _opened(config: RunnerConfig) -> Iterator[Callable[[ExperimentKey], bytes]]:
    sleep_while_waiting()
    yield LocalExperimentRunner(config).answer
