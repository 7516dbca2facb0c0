"""Digest of the settings and embeddings that a clustering or an index was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.spec import digest_of


def settings_digest(manifest: Manifest, space: str, settings: Mapping[str, Any]) -> str:
    """Return the digest of a result's settings, the embeddings of its space, and the deleted images."""
    made_of = [*manifest.spaces[space].parts, *manifest.tombstones]
    return digest_of([settings, [manifest.files[path].sha256 for path in made_of]])
