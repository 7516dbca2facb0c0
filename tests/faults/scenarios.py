"""Scenarios: the commands that write to a collection, each continuing from the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from lookalike_indexer.images.prepare import prepare

_EMBED = ["--weights", "untrained:5", "--part-size", "4", "--batch-size", "4", "--workers", "1", "--compute", "float32"]
_FEW, _MANY = 7, 11


@dataclass(frozen=True)
class Scenario:
    """A command with its arguments, and the number of images of the source when it runs."""

    name: str
    command: click.Command
    arguments: list[str]
    pictures: int = _MANY


def scenarios(photos: Path, collection: Path) -> list[Scenario]:
    """Return the scenarios in the order in which they make one collection."""
    from lookalike_indexer.cli.build import build
    from lookalike_indexer.cli.cluster import cluster
    from lookalike_indexer.cli.compact import compact
    from lookalike_indexer.cli.embed import embed
    from lookalike_indexer.cli.gc import gc
    from lookalike_indexer.cli.index import index

    to, at = [str(photos), "--collection", str(collection)], [str(collection)]
    main = [*to, *_EMBED, "--model", "squeezenet1_1", "--clusters", "2", "--index", "Flat"]
    # A network with batch norms, whose statistics are a file of the collection, and a second space.
    second = [*to, *_EMBED, "--model", "shufflenet_v2_x0_5", "--layer", "conv5", "--pool", "max"]
    return [
        Scenario("index", index, main, _FEW),
        Scenario("index again", index, main),
        Scenario("embed", embed, second),
        Scenario("cluster", cluster, [*at, "--clusters", "3", "--name", "three"]),
        Scenario("build", build, [*at, "--index", "IVF2,Flat"]),
        Scenario("keep", keep_result, at),
        Scenario("compact", compact, at),
        Scenario("gc", gc, [*at, "--keep", "2"]),
    ]


@click.command()
@click.argument("collection")
def keep_result(collection: str) -> None:
    """Store a result in the collection, as experiments do."""
    import pyarrow as pa

    from lookalike_indexer.cli.errors import reported
    from lookalike_indexer.collection.reader import CollectionReader
    from lookalike_indexer.experiments.result import Result
    from lookalike_indexer.experiments.stored_results import store_result

    tables = {"counts": pa.table({"count": [1, 2, 3]}), "names": pa.table({"name": ["a", "b"]})}
    result = Result("matrix", {"clusters": 2}, tables, {"purity": 0.5}, ("Half of it is pure.",))
    reported(lambda: store_result(CollectionReader.open(collection), "kept", result))()


def paint(folder: Path) -> None:
    """Write images that depend only on their numbers; one of them is broken."""
    folder.mkdir(parents=True)
    for number in range(_MANY):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(coarse).resize((40, 32)).save(folder / f"{number:02d}.png")
    (folder / "05.png").write_bytes(b"broken")


def list_pictures(photos: Path, count: int) -> None:
    """Set the number of images of the source, a list file beside the folder of images."""
    photos.write_text("".join(f"pictures/{number:02d}.png\n" for number in range(count)))


class InlineDecoding:
    """Stand-in for the decoding processes, which take longer to start than the rest of these runs."""

    def __init__(self, settings: Any, spec: Any) -> None:
        self._limits, self._spec = settings.limits, spec

    def stream(self, images: Any, ahead: int) -> Iterator[tuple[Any, Any]]:
        return ((tag, prepare(image, self._spec, self._limits)) for tag, image in images)

    def prepare(self, images: list[bytes]) -> list[Any]:
        return [prepare(image, self._spec, self._limits) for image in images]

    def close(self) -> None:
        pass

    def __enter__(self) -> InlineDecoding:
        return self

    def __exit__(self, *error: object) -> None:
        pass


@contextmanager
def decoding_inline() -> Iterator[None]:
    """Decode in this process while the block runs."""
    from lookalike_indexer.embedding import part, resolve
    from lookalike_indexer.verification import embeddings

    modules = (part, resolve, embeddings)
    before: list[tuple[Any, Callable[..., Any]]] = [(module, module.DecodePool) for module in modules]
    for module, _ in before:
        module.DecodePool = InlineDecoding
    try:
        yield
    finally:
        for module, original in before:
            module.DecodePool = original
