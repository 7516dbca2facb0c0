"""The images of a folder, for `lookalike images`."""

from __future__ import annotations

from typing import Any

from lookalike_indexer.cli.errors import reported


@reported
def images_of_folder(folder: str, label: str, limit: int) -> dict[str, Any]:
    """At most `limit` images of a collection by ascending id, and how many there are: all, or those of a label."""
    import pyarrow.compute as pc

    from lookalike_indexer.collection.reader import CollectionReader
    from lookalike_indexer.experiments.view import View

    reader = CollectionReader.open(folder)
    table = reader.images(["id", "key", "label", "uri", "width", "height"])
    if label:
        View(reader).label_code(label)
        table = table.filter(pc.equal(table.column("label"), label))
    return {"label": label or None, "total": table.num_rows, "images": table.slice(0, limit).to_pylist()}
