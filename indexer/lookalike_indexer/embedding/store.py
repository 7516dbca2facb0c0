"""Which files of a run are there already, and writing those that are not."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from lookalike_indexer.collection import layout
from lookalike_indexer.collection.parts import open_part, read_part, write_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.part import FINGERPRINT, PartTables
from lookalike_indexer.embedding.plan import ModelPlan, SpacePlan
from lookalike_indexer.errors import MismatchError


@dataclass(frozen=True)
class PartCounts:
    """What became of a part's images."""

    embedded: int
    rejected: int


class PartStore:
    """The parts of one model in a collection.

    A part is written in a fixed order, its images before what is about them,
    so that whatever a killed run left, the rest can be added to it. The first
    model to reach a part decides which images it has; others embed those.
    """

    def __init__(self, storage: Storage, plan: ModelPlan) -> None:
        self._storage, self._plan = storage, plan

    def missing(self, part: int) -> bool:
        """Whether a part still has to be embedded, at least for one space.

        MismatchError: a file that is there was made by another model or in
        another type, by a run that was killed.
        """
        alias = self._plan.alias
        paths = {layout.rejects(alias, part): self._plan.identity}
        if self._plan.spec.classifies:
            paths[layout.predictions(alias, part)] = self._plan.identity
        paths |= {layout.embeddings(space.name, part): space.fingerprint for space in self._plan.spaces}
        there = {path: digest for path, digest in paths.items() if self._storage.exists(path)}
        for path, digest in there.items():
            self._check(path, digest)
        for space in self._plan.spaces:
            self._check_dtype(space, part)
        return len(there) < len(paths) or not self._storage.exists(layout.images(part))

    def input(self, part: int) -> pa.Table:
        """The rows to embed: the images of the part when these are known, its listing before."""
        known = self._storage.exists(layout.images(part))
        return read_part(self._storage, layout.images(part) if known else layout.source(part))

    def write(self, part: int, tables: PartTables) -> PartCounts:
        """Write what is missing of a part. A file that a generation may list is never written again."""
        alias = self._plan.alias
        rejects = layout.rejects(alias, part)
        if not self._storage.exists(layout.images(part)):
            # Rejects of a killed run that got no further are written again, with the same bytes.
            write_part(self._storage, rejects, tables.rejects)
            write_part(self._storage, layout.images(part), tables.images)
        elif not self._write_new(rejects, tables.rejects) and tables.rejects.num_rows:
            # Images that could be read before, for other spaces of this model, and no longer can be.
            space = next(name for name in tables.embeddings if not self._exists(name, part))
            self._write_new(layout.rejects(later_rejects(space), part), tables.rejects)
        if tables.predictions is not None:
            self._write_new(layout.predictions(alias, part), tables.predictions)
        for name, table in tables.embeddings.items():
            self._write_new(layout.embeddings(name, part), table)
        return PartCounts(tables.images.num_rows, tables.rejects.num_rows)

    def _exists(self, space: str, part: int) -> bool:
        return self._storage.exists(layout.embeddings(space, part))

    def _write_new(self, path: str, table: pa.Table) -> bool:
        if self._storage.exists(path):
            return False
        write_part(self._storage, path, table)
        return True

    def _check(self, path: str, digest: str) -> None:
        with open_part(self._storage, path) as file:
            found = (file.schema_arrow.metadata or {}).get(FINGERPRINT, b"").decode()
        if found != digest:
            raise MismatchError(
                f"{self._storage.local(path)} was made by another model, weights, preprocessing or layer (fingerprint "
                f"{found[:16]}) than this run's {self._plan.spec.arch} with {self._plan.spec.weights} "
                f"({digest[:16]}); give this one a --name of its own."
            )

    def _check_dtype(self, space: SpacePlan, part: int) -> None:
        path = layout.embeddings(space.name, part)
        if not self._storage.exists(path):
            return
        with open_part(self._storage, path) as file:
            stored = file.schema_arrow.field("embedding").type.value_type
        wanted = pa.float16() if space.dtype == "float16" else pa.float32()
        if stored != wanted:
            raise MismatchError(
                f"{self._storage.local(path)} is stored as {stored}, not as {space.dtype}; give --dtype "
                f"{'float16' if stored == pa.float16() else 'float32'}, or another --name."
            )


def later_rejects(space: str) -> str:
    """The folder of rejects found when a space was added to a model that had its own already."""
    return f"{space}+later"
