"""The stored results in a folder that `lookalike results` prints."""

from __future__ import annotations

from typing import Any

from lookalike_indexer.cli.errors import reported


@reported
def stored_results(folder: str, name: str = "") -> Any:
    """Return all stored results of a collection with the lengths of their tables, or one result with its rows."""
    from lookalike_indexer.cli.experiment_options import as_data, plain
    from lookalike_indexer.collection.reader import CollectionReader
    from lookalike_indexer.experiments import stored_results

    reader = CollectionReader.open(folder)
    if name:
        found = as_data(stored_results.load(reader, name))
        return {"name": name, **found, "out_of_date": stored_results.out_of_date(reader.manifest, name)}
    return [
        {
            "name": name,
            "kind": entry.kind,
            "settings": dict(entry.settings),
            "figures": plain(dict(entry.figures)),
            "findings": list(entry.findings),
            "tables": {table: reader.manifest.files[path].rows or 0 for table, path in entry.tables.items()},
            "out_of_date": stored_results.out_of_date(reader.manifest, name),
        }
        for name, entry in sorted(reader.manifest.results.items())
    ]
