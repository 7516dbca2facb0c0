"""Manifests of earlier formats, read as if they were of the present one."""

from __future__ import annotations

import dataclasses
from typing import Any

from lookalike_indexer.collection.manifest import Manifest


def upgrade(raw: dict[str, Any]) -> dict[str, Any]:
    """The plain data of a manifest of any known format, as the present format has it.

    Format 1 kept one arithmetic for each model; now each part of embeddings has its own. The strategies k-means and
    spherical k-means are told apart by a flag, in format 2 as well.
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
    """The manifest with "space/name" as the keys of its indexes, where format 1 had spaces, and all parts named."""
    indexes = {
        key if "/" in key else f"{key}/{entry.name}": dataclasses.replace(entry, parts=found.parts_of(entry))
        for key, entry in found.indexes.items()
    }
    clusterings = {
        key: dataclasses.replace(entry, parts=found.parts_of(entry)) for key, entry in found.clusterings.items()
    }
    return dataclasses.replace(found, indexes=indexes, clusterings=clusterings)
