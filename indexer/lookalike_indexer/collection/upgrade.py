"""Conversion of manifests of earlier formats to the current one."""

from __future__ import annotations

import dataclasses
from typing import Any

from lookalike_indexer.collection.manifest import Manifest


def upgrade(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the plain data of a manifest of any known format in the current format.

    Format 1 has one arithmetic for each model; now each part of embeddings has its own. Formats 1 and 2 distinguish
    k-means and spherical k-means by a flag.
    """
    for clustering in raw.get("clusterings", {}).values():
        spherical = clustering.pop("spherical")
        clustering.setdefault("strategy", "spherical" if spherical else "kmeans")
    if raw["format"] == 1:
        files = raw["files"]
        for space in raw.get("spaces", {}).values():
            compute = raw["models"][space["model"]]["compute"]
            for path in space["parts"]:
                files[path] = {**files[path], "compute": compute}
    return raw


def completed(found: Manifest) -> Manifest:
    """Return the manifest with all parts listed, and with "space/name" as index keys, where format 1 has the space."""
    indexes = {
        key if "/" in key else f"{key}/{entry.name}": dataclasses.replace(entry, parts=found.parts_of(entry))
        for key, entry in found.indexes.items()
    }
    clusterings = {
        key: dataclasses.replace(entry, parts=found.parts_of(entry)) for key, entry in found.clusterings.items()
    }
    return dataclasses.replace(found, indexes=indexes, clusterings=clusterings)
