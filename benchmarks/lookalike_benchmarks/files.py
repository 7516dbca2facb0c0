"""Reading and writing of files without a network: decoding images, and writing embeddings."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from lookalike_benchmarks.forward import Setup
from lookalike_benchmarks.options import threads
from lookalike_benchmarks.results import Row
from lookalike_benchmarks.synthetic import PART_ROWS, embeddings_table
from lookalike_indexer.collection.parts import write_part
from lookalike_indexer.images.prepare import Prepared
from lookalike_indexer.images.workers import DecodePool
from lookalike_indexer.threads import processors


def decode(setup: Setup, images: int, said: dict[str, Any]) -> Iterator[Row]:
    """Measure reading, decoding, resizing and cropping in worker processes, with nothing else running."""
    transforms = setup.resolved.plan.spec.preprocessing
    there = [uri for path in setup.parts for uri in setup.uris(path)]
    listed = list(itertools.islice(itertools.cycle(there), images))
    for workers in sorted({1, processors()}):
        pool = dataclasses.replace(setup.pool, workers=workers)
        with DecodePool(pool, transforms) as decoder:
            warm = 2 * workers * pool.chunk
            list(decoder.stream(((uri, uri) for uri in listed[:warm]), warm))
            began = time.perf_counter()
            done = [image for _, image in decoder.stream(((uri, uri) for uri in listed), 64)]
            seconds = time.perf_counter() - began
        decoded = [image for image in done if isinstance(image, Prepared)]
        yield Row(
            "embed",
            f"decode, {workers} worker{'s' if workers > 1 else ''}",
            {**said, "workers": workers, "images": len(listed), "resize": transforms.resize, "crop": transforms.crop},
            {
                "images_per_s": len(decoded) / seconds,
                "mib_of_files_per_s": sum(image.bytes for image in decoded) / seconds / 2**20,
            },
            f"{len(done) - len(decoded)} could not be decoded" if len(done) > len(decoded) else "",
        )


def write(setup: Setup, parts: int) -> Row:
    """Measure writing parts of embeddings, synced to disk as in a real run."""
    vectors = np.random.default_rng(0).standard_normal((PART_ROWS, 2048), np.float32)
    paths = [f"written/part-{number:06d}.parquet" for number in range(parts)]
    table = embeddings_table(0, vectors)
    began = time.perf_counter()
    for path in paths:
        write_part(setup.storage, path, table)
    seconds = time.perf_counter() - began
    size = sum(setup.storage.size(path) for path in paths)
    return Row(
        "embed",
        "write embeddings to Parquet",
        {"rows_in_a_part": PART_ROWS, "dim": 2048, "dtype": "float32", "parts": parts, **threads()},
        {"mib_per_s": size / seconds / 2**20, "images_per_s": parts * PART_ROWS / seconds},
    )
