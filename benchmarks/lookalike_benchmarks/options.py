"""Parameters of a suite from `--set`, and the devices for a number of GPUs."""

from __future__ import annotations

from collections.abc import Mapping

import click
import faiss
import torch

from lookalike_benchmarks.results import Settings


class Options:
    """Parameters of a suite: from `--set`, else the quick values with `--quick`, else the usual ones.

    BadParameter: an unknown name, or a value that is no number where one is needed.
    """

    def __init__(self, settings: Settings, usual: Mapping[str, str], quick: Mapping[str, str]) -> None:
        unknown = settings.options.keys() - usual.keys()
        if unknown:
            raise click.BadParameter(f"--set {min(unknown)}: this suite has {', '.join(sorted(usual))}.")
        self._values = {**usual, **(quick if settings.quick else {}), **settings.options}

    def text(self, name: str) -> str:
        return self._values[name]

    def texts(self, name: str) -> list[str]:
        """Return texts separated by semicolons, since faiss factory strings contain commas."""
        return [text for text in self._values[name].split(";") if text]

    def number(self, name: str) -> int:
        return self._number(name, self._values[name])

    def numbers(self, name: str) -> list[int]:
        """Return integers separated by commas; [] for an empty text."""
        return [self._number(name, text) for text in self._values[name].split(",") if text]

    def seconds(self, name: str) -> float:
        try:
            return float(self._values[name])
        except ValueError as error:
            raise click.BadParameter(f"--set {name}={self._values[name]} is not a number of seconds.") from error

    def _number(self, name: str, text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise click.BadParameter(f"--set {name}={self._values[name]}: {text!r} is not a number from 1 up.")
        return int(text)


def torch_devices(gpus: int) -> tuple[str, ...]:
    """Return torch's names of `gpus` GPUs; the processor for 0."""
    return tuple(f"cuda:{number}" for number in range(gpus)) or ("cpu",)


def threads() -> dict[str, int]:
    """Return the numbers of threads of torch and faiss, for a row's parameters."""
    return {"torch_threads": torch.get_num_threads(), "faiss_threads": faiss.omp_get_max_threads()}


def left_out(what: str, why: str) -> None:
    """Print that something was not measured, and why."""
    click.echo(f"{what} is left out: {why}.", err=True)
