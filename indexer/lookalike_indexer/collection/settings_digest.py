"""What a clustering or an index was made of: settings and embeddings, as one digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.spec import digest_of


def settings_digest(manifest: Manifest, space: str, settings: Mapping[str, Any]) -> str:
    """The digest of the settings that decide a result, the embeddings of its space, and which images were deleted."""
    made_of = [*manifest.spaces[space].parts, *manifest.tombstones]
    return digest_of([settings, [manifest.files[path].sha256 for path in made_of]])
