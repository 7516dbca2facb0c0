"""What `--set` may decide in a suite, and where a count of GPUs puts the work."""

from __future__ import annotations

from collections.abc import Mapping

import click
import faiss
import torch

from lookalike_benchmarks.results import Settings


class Options:
    """The parameters of a suite: what `--set` says, else the quick value with `--quick`, else the usual one.

    BadParameter: a name that the suite does not have, or a value that is no number where one is needed.
    """

    def __init__(self, settings: Settings, usual: Mapping[str, str], quick: Mapping[str, str]) -> None:
        unknown = settings.options.keys() - usual.keys()
        if unknown:
            raise click.BadParameter(f"--set {min(unknown)}: this suite has {', '.join(sorted(usual))}.")
        self._values = {**usual, **(quick if settings.quick else {}), **settings.options}

    def text(self, name: str) -> str:
        return self._values[name]

    def texts(self, name: str) -> list[str]:
        """The texts between semicolons: faiss factory strings have commas."""
        return [text for text in self._values[name].split(";") if text]

    def number(self, name: str) -> int:
        return self._number(name, self._values[name])

    def numbers(self, name: str) -> list[int]:
        """The numbers between commas; none for an empty text."""
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
    """torch's names of that many GPUs; the processor for 0."""
    return tuple(f"cuda:{number}" for number in range(gpus)) or ("cpu",)


def threads() -> dict[str, int]:
    """The threads of both libraries that compute, for a row's parameters."""
    return {"torch_threads": torch.get_num_threads(), "faiss_threads": faiss.omp_get_max_threads()}


def left_out(what: str, why: str) -> None:
    """Say on the terminal that something was not measured."""
    click.echo(f"{what} is left out: {why}.", err=True)
