"""Results stored in the collection: tables as Parquet, figures and findings in the manifest."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.manifest import Manifest, ResultEntry, Setting
from lookalike_indexer.collection.parts import read_part, read_rows, write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.errors import MismatchError, NotFoundError
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.quality.flags import TABLE

# Kinds of results that are computed from the graph of a space.
OF_GRAPHS = ("duplicates", "leaks", "label_issues")


def inputs(manifest: Manifest) -> str:
    """Return the digest of all files that experiments read: all but results and graphs, which are derived."""
    tables = {path for result in manifest.results.values() for path in result.tables.values()}
    tables.update(path for graph in manifest.graphs.values() for path in graph.neighbors)
    return digest_of({path: entry.sha256 for path, entry in manifest.files.items() if path not in tables})


def read_by(manifest: Manifest, kind: str, settings: Mapping[str, Setting]) -> str:
    """Return the digest of the files that a result with these settings depends on.

    A map or another result of one space, of some models or of one clustering depends on the images and these. All other
    kinds are assumed to depend on everything.
    """
    models, spaces, clusterings = _named(manifest, kind, settings)
    if not (models or spaces or clusterings):
        return inputs(manifest)
    paths = [*manifest.images, *manifest.tombstones]
    for clustering in clusterings:
        entry = manifest.clusterings[clustering]
        paths += [*entry.files, *entry.assignments]
        spaces = [*spaces, entry.space]
    for space in spaces:
        paths += manifest.spaces[space].parts
        models = [*models, manifest.spaces[space].model]
    if kind in OF_GRAPHS:
        paths += [path for space in spaces if space in manifest.graphs for path in manifest.graphs[space].neighbors]
        # Leaks depend on a column, and hashes are among the quality measures.
        read = [name for name in manifest.attributes if kind == "leaks" or (kind == "duplicates" and name == TABLE)]
        paths += [path for name in read for path in manifest.attributes[name].parts]
    for model in models:
        paths += [*manifest.models[model].predictions, *manifest.models[model].files]
    return digest_of({path: manifest.files[path].sha256 for path in paths})


def _named(manifest: Manifest, kind: str, settings: Mapping[str, Setting]) -> tuple[list[str], list[str], list[str]]:
    """Return the models, spaces and clusterings that a result depends on; none of all three if unknown.

    Also none if one of them does not exist anymore.
    """
    models: list[str] = []
    spaces: list[str] = []
    clusterings: list[str] = []
    if settings.get("where"):
        # A filter may read any column.
        return models, spaces, clusterings
    if kind in ("map", "choose_k", "sample", *OF_GRAPHS):
        spaces = [str(settings.get("space"))]
    elif kind == "mistakes":
        models = [str(settings.get("model"))]
    elif kind == "class_accuracies":
        listed = settings.get("models")
        models = [str(model) for model in listed] if isinstance(listed, list) else []
    elif kind == "class_matrix":
        clusterings = [str(settings.get("clustering"))]
    there = (
        set(models) <= manifest.models.keys()
        and set(spaces) <= manifest.spaces.keys()
        and set(clusterings) <= manifest.clusterings.keys()
    )
    return (models, spaces, clusterings) if there else ([], [], [])


def store_result(reader: CollectionReader, name: str, result: Result) -> Manifest:
    """Store a result computed from this generation as "kind/name", and publish the generation that includes it.

    An existing result of the same settings and inputs is reused. Raise MismatchError if the collection has changed
    since the result was computed.
    """
    layout.checked_name(name, "result")
    with writing(reader.storage):
        newest = generations.require_latest(reader.storage)
        made_from = inputs(reader.manifest)
        if inputs(newest) != made_from:
            raise MismatchError(
                f"{reader.storage.location} was changed while {result.kind} was made; run the command again."
            )
        digest = digest_of([result.kind, dict(result.settings), made_from])
        tables = {table: layout.result(result.kind, name, digest, table) for table in result.tables}
        for table, path in tables.items():
            if not reader.storage.exists(path):
                write_part(reader.storage, path, result.tables[table])
        # JSON has no NaN.
        figures = {figure: value for figure, value in result.figures.items() if math.isfinite(value)}
        read = read_by(newest, result.kind, result.settings)
        entry = ResultEntry(result.kind, name, dict(result.settings), figures, list(result.findings), tables, read)
        draft = dataclasses.replace(newest, results={**newest.results, f"{result.kind}/{name}": entry})
        return generations.publish(reader.storage, draft)


def entry(reader: CollectionReader, name: str) -> ResultEntry:
    """Return the manifest entry of a stored result, by "kind/name"; NotFoundError lists the existing ones."""
    results = reader.manifest.results
    if name not in results:
        there = ", ".join(sorted(results)) or "none"
        raise NotFoundError(f"The collection {reader.name} has no stored result {name!r}; it has: {there}.")
    return results[name]


def load(reader: CollectionReader, name: str) -> Result:
    """Return a stored result by "kind/name", without references to deleted images; errors as in `entry`."""
    found = entry(reader, name)
    tables = {table: read_part(reader.storage, path) for table, path in found.tables.items()}
    return _without_deleted(reader, Result(found.kind, found.settings, tables, found.figures, tuple(found.findings)))


def load_rows(reader: CollectionReader, name: str, tables: Collection[str], start: int, stop: int) -> Result:
    """Return a stored result with rows `start` to before `stop` of some of its tables; read only the needed row groups.

    Rows that name a deleted image are left out. Errors as in `entry`.
    """
    found = entry(reader, name)
    rows = {table: read_rows(reader.storage, found.tables[table], start, stop) for table in tables}
    return _without_deleted(reader, Result(found.kind, found.settings, rows, found.figures, tuple(found.findings)))


def names_deleted(reader: CollectionReader, name: str) -> bool:
    """Return whether a stored result names a deleted image: in a row, a finding or a setting."""
    if not len(reader.deleted):
        return False
    found = entry(reader, name)
    told = [*found.findings, *(str(value) for value in found.settings.values())]
    if any(key in text for text in told for key in reader.deleted_keys):
        return True
    keys = pa.array(sorted(reader.deleted_keys), pa.string())
    tables = (read_part(reader.storage, path) for path in found.tables.values())
    return any(len(_named_live(reader, table, keys)) < len(table) for table in tables)


def _without_deleted(reader: CollectionReader, result: Result) -> Result:
    """Return a result without its references to deleted images; it is outdated."""
    if not len(reader.deleted):
        return result
    keys = reader.deleted_keys
    tables = {
        name: _named_live(reader, table, pa.array(sorted(keys), pa.string())) for name, table in result.tables.items()
    }
    findings = tuple(finding for finding in result.findings if not any(key in finding for key in keys))
    return dataclasses.replace(result, tables=tables, findings=findings)


def _named_live(reader: CollectionReader, table: pa.Table, keys: pa.Array) -> pa.Table:
    """Return the rows that name no deleted image, by id or by key."""
    live = np.ones(len(table), np.bool_)
    for field in table.schema:
        column = table.column(field.name)
        if field.type == pa.int64() and (field.name == "id" or field.name.endswith("_id")):
            live &= reader.live(column.fill_null(-1).to_numpy())
        elif pa.types.is_string(field.type):
            live &= ~pc.is_in(column, keys).to_numpy()
    return table.filter(pa.array(live))


def out_of_date(manifest: Manifest, name: str) -> bool:
    """Return whether the inputs of a result have changed: images, embeddings, predictions or clusterings."""
    entry = manifest.results[name]
    # Earlier releases stored results with the digest of all files.
    return entry.inputs not in (read_by(manifest, entry.kind, entry.settings), inputs(manifest))
