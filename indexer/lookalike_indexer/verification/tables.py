"""Check of every table of a generation: its schema, and its rows in the manifest."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from lookalike_indexer.collection import schema
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.parts import open_part
from lookalike_indexer.collection.schema import FINGERPRINT
from lookalike_indexer.embedding.plan import model_identity
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.models.network import TOP
from lookalike_indexer.verification.examination import Examination


def check_tables(examination: Examination) -> None:
    """Compare schemas, fingerprints and row counts; also of each space and clustering as a whole."""
    manifest = examination.reader.manifest
    looked = 0
    for path, columns, fingerprint in _expected(manifest):
        if examination.intact([path]):
            looked += 1
            what = _difference(examination, path, columns, fingerprint)
            if what:
                examination.damaged(path, what)
    newest = f"generations/{manifest.generation:06d}.json"
    for name, rows, parts in _totals(manifest):
        if manifest.rows(parts) != rows:
            examination.damaged(newest, f"says {rows} rows of {name} and lists {manifest.rows(parts)}")
    examination.checked("tables", looked, "files")


def _expected(manifest: Manifest) -> Iterator[tuple[str, list[pa.Schema], str]]:
    """Yield each table's path, its permitted schemas, if they are fixed, and its fingerprint, if it has one."""
    for path in manifest.listing:
        yield path, [schema.SOURCE, schema.SOURCE_1], ""
    for path in manifest.tombstones:
        yield path, [schema.TOMBSTONES], ""
    for path in manifest.images:
        yield path, [schema.IMAGES, schema.IMAGES_1], ""
    for model in manifest.models.values():
        identity = model_identity(model.spec)
        for path in model.rejects:
            yield path, [schema.REJECTS, schema.REJECTS_1], identity
        for path in model.predictions:
            yield path, [schema.predictions(min(TOP, model.spec.classes))], identity
    for space in manifest.spaces.values():
        for path in space.parts:
            yield path, [schema.embeddings(space.dim, space.dtype)], space.fingerprint
    for clustering in manifest.clusterings.values():
        dim = manifest.spaces[clustering.space].dim
        if clustering.whitening:
            yield clustering.whitening, [schema.whitening(dim)], ""
            dim = manifest.files[clustering.whitening].rows or 0
        yield clustering.centroids, [schema.centroids(dim)], ""
        for path in clustering.assignments:
            yield path, [schema.ASSIGNMENTS], ""
    for attributes in manifest.attributes.values():
        columns = schema.attributes((column.name, column.type) for column in attributes.columns)
        for path in attributes.parts:
            yield path, [columns], ""
    for graph in manifest.graphs.values():
        for path in graph.neighbors:
            yield path, [schema.graph(graph.k)], ""
    for result in manifest.results.values():
        for path in result.tables.values():
            yield path, [], ""


def _totals(manifest: Manifest) -> Iterator[tuple[str, int, list[str]]]:
    for name, space in manifest.spaces.items():
        yield f"the space {name}", space.rows, space.parts
    for name, clustering in manifest.clusterings.items():
        yield f"the clustering {name}", clustering.rows, clustering.assignments
        yield f"the embeddings that {name} was made of", clustering.rows, clustering.parts or clustering.assignments
        yield f"the centroids of {name}", clustering.k, [clustering.centroids]
    for name, graph in manifest.graphs.items():
        yield f"the graph of {name}", graph.rows, graph.neighbors
        yield f"the embeddings that the graph of {name} was made of", graph.rows, graph.parts


def _difference(examination: Examination, path: str, columns: list[pa.Schema], fingerprint: str) -> str:
    """Return the problem with a table, or ""."""
    try:
        with open_part(examination.reader.storage, path) as part:
            found, rows = part.schema_arrow, part.metadata.num_rows
    except IndexerError as error:
        return str(error)
    if columns and not any(found.remove_metadata().equals(one) for one in columns):
        return f"has the columns {_column_list(found)} and should have {_column_list(columns[0])}"
    said = (found.metadata or {}).get(FINGERPRINT, b"").decode()
    if said and fingerprint and said != fingerprint:
        return f"has the fingerprint {said[:16]}, but the manifest has {fingerprint[:16]}"
    expected = examination.reader.manifest.files[path].rows
    return "" if rows == expected else f"has {rows} rows, but the manifest has {expected}"


def _column_list(columns: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in columns)
