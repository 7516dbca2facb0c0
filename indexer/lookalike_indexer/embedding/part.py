"""Embedding of one part: a part of the source's listing in, tables out.

It reads images by their URIs and writes nothing, so that it runs on any machine with the source and the weights. Its
settings, input table and output tables can all be pickled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
import pyarrow as pa
from torch import Tensor

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection import schema
from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.embedding.classes import class_names
from lookalike_indexer.embedding.device_decoder import DeviceDecoder, Ready
from lookalike_indexer.embedding.plan import ModelPlan, SpacePlan, load_network
from lookalike_indexer.embedding.requests import ImageRequests, Row, image_row, reject_row
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.images.prepare import Rejected
from lookalike_indexer.images.preprocessing import Pixels
from lookalike_indexer.images.workers import DecodePool, PoolSettings
from lookalike_indexer.models.network import TOP, BatchResult, Network

_ENCODED_CHUNK = 16
Advance = Callable[[int], None]


def _ignore(images: int) -> None:
    pass


@dataclass(frozen=True)
class PartTables:
    """The tables of one part; the schema of each has the fingerprint of its model or space.

    `predictions` is None for a model without a classifier.
    """

    images: pa.Table
    rejects: pa.Table
    predictions: pa.Table | None
    embeddings: dict[str, pa.Table]


@dataclass
class _Collected:
    """A part while it is being embedded."""

    rows: list[Row] = field(default_factory=list)
    rejects: list[Row] = field(default_factory=list)
    results: list[BatchResult] = field(default_factory=list)
    pixels: list[Pixels | Tensor] = field(default_factory=list)

    def add(self, row: Row, image: Ready) -> None:
        if isinstance(image, Rejected):
            self.rejects.append(reject_row(row, image))
            return
        self.rows.append(image_row(row, image))
        self.pixels.append(image.pixels)

    def drain_pixels(self) -> list[Pixels | Tensor]:
        taken, self.pixels = self.pixels, []
        return taken

    def close(self) -> Iterator[tuple[_Collected, list[Pixels | Tensor]]]:
        if self.pixels:
            yield self, self.drain_pixels()
        yield self, []


class PartEmbedder:
    """A network and its decoding workers, for any number of parts."""

    def __init__(
        self,
        plan: ModelPlan,
        pool: PoolSettings,
        device: str,
        network: Network | None = None,
        source: SourceEntry | None = None,
        kept: str = "",
    ) -> None:
        """Start the workers and load the network, unless it is given.

        The URIs of the parts are relative to `source`; without it they are absolute. `kept` is the folder of uploaded
        images, see `uploaded_images.folder`.
        """
        self._plan = plan
        self._requests = ImageRequests(source, kept, pool.limits.max_bytes)
        if plan.decode == "gpu":
            # A worker only reads a file and its header: tasks of few images would be mostly overhead.
            pool = dataclasses.replace(pool, leave_jpegs=True, chunk=max(pool.chunk, _ENCODED_CHUNK))
        self._pool = DecodePool(pool, plan.spec.preprocessing)
        self._decoder = DeviceDecoder(device, plan.spec.preprocessing, self._pool, plan.batch_size)
        try:
            self._network = network or load_network(plan, device)
        except BaseException:
            self._pool.close()
            raise
        self._names = pa.array(plan.class_names or class_names(plan.spec), pa.string())
        # Enough for one batch in the network, one being collected, and a task for every worker.
        self._ahead = 2 * plan.batch_size + 2 * pool.workers * pool.chunk

    def __enter__(self) -> PartEmbedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
        self._requests.close()

    def __call__(self, part: pa.Table) -> PartTables:
        """Embed one part: a table with the columns id, key, label, uri and, if known, sha256."""
        return next(self.tables([part]))

    def tables(self, parts: Iterable[pa.Table], advance: Advance = _ignore) -> Iterator[PartTables]:
        """Embed parts in order; `advance` is called with the number of finished images.

        Decoding runs ahead across part boundaries, but each part begins a new batch: its result depends only on that
        part.
        """
        for collected, result in self._network.run(self._batches(parts)):
            if result is not None:
                collected.results.append(result)
                advance(len(result.classes))
            else:
                advance(len(collected.rejects))
                yield self._tables(collected)

    def _batches(self, parts: Iterable[pa.Table]) -> Iterator[tuple[_Collected, list[Pixels | Tensor]]]:
        """Yield the batches of each part, and an empty one after its last."""
        started = 0

        def rows() -> Iterator[tuple[int, Row]]:
            nonlocal started
            for number, part in enumerate(parts):
                started = number + 1
                for row in part.to_pylist():
                    yield number, row

        current, collected = 0, _Collected()
        for (number, row), image in self._decoder.stream(self._pool.stream(self._requests.stream(rows()), self._ahead)):
            while current < number:
                yield from collected.close()
                current, collected = current + 1, _Collected()
            collected.add(row, image)
            if len(collected.pixels) == self._plan.batch_size:
                yield collected, collected.drain_pixels()
        while current < started:
            yield from collected.close()
            current, collected = current + 1, _Collected()

    def _tables(self, collected: _Collected) -> PartTables:
        identity = {schema.FINGERPRINT: self._plan.identity.encode()}
        ids = [row["id"] for row in collected.rows]
        return PartTables(
            images=pa.Table.from_pylist(collected.rows, schema.IMAGES),
            rejects=pa.Table.from_pylist(collected.rejects, schema.REJECTS.with_metadata(identity)),
            predictions=(
                self._predictions(ids, collected.results).replace_schema_metadata(identity)
                if self._plan.spec.classifies
                else None
            ),
            embeddings={
                space.name: embedding_table(
                    space, ids, [result.embeddings[number] for result in collected.results], self._plan.arithmetic
                )
                for number, space in enumerate(self._plan.spaces)
            },
        )

    def _predictions(self, ids: list[object], results: list[BatchResult]) -> pa.Table:
        top = min(TOP, self._plan.spec.classes)
        classes = np.concatenate([np.empty((0, top), np.int32), *(result.classes for result in results)])
        probabilities = np.concatenate([np.empty((0, top), np.float32), *(result.probabilities for result in results)])
        names = self._names.take(pa.array(classes.ravel()))
        table_schema = schema.predictions(top)
        columns = [
            pa.array(ids, pa.int64()),
            pa.FixedSizeListArray.from_arrays(pa.array(classes.ravel()), type=table_schema.field("class_index").type),
            pa.FixedSizeListArray.from_arrays(names, type=table_schema.field("class_name").type),
            pa.FixedSizeListArray.from_arrays(
                pa.array(probabilities.ravel()), type=table_schema.field("probability").type
            ),
        ]
        return pa.table(columns, table_schema)


def embedding_table(space: SpacePlan, ids: list[object], batches: list[Float32], arithmetic: str) -> pa.Table:
    """Return a part of a space. Raise IndexerError if the network produced values that cannot be stored.

    Its metadata hold the fingerprint of the space, and the `arithmetic`.
    """
    vectors = np.concatenate([np.empty((0, space.dim), np.float32), *batches])
    with np.errstate(over="ignore"):  # checked below
        stored = vectors.astype(space.dtype)
    if not np.isfinite(stored).all():
        row = int(np.flatnonzero(~np.isfinite(stored).all(1))[0])
        mend = "store it with --dtype float32" if np.isfinite(vectors[row]).all() else "embed with --compute float32"
        raise IndexerError(
            f"The embedding of image {ids[row]} in the space {space.name} is not finite in {space.dtype}; {mend}, "
            "or use other weights."
        )
    made_by = {schema.FINGERPRINT: space.fingerprint.encode(), schema.COMPUTE: arithmetic.encode()}
    table_schema = schema.embeddings(space.dim, space.dtype).with_metadata(made_by)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), type=table_schema.field("embedding").type)
    return pa.table([pa.array(ids, pa.int64()), lists], table_schema)


def embed_part(
    plan: ModelPlan, pool: PoolSettings, device: str, part: pa.Table, source: SourceEntry | None = None
) -> PartTables:
    """Embed one part, given only the arguments: the task of a cluster worker."""
    with PartEmbedder(plan, pool, device, source=source) as embedder:
        return embedder(part)
