"""Cache of the model hub that timm and open_clip download weights from. Downloads nothing."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path


def has_hub() -> bool:
    """Return whether the hub's client is installed; without it, timm and open_clip download from plain URLs."""
    return importlib.util.find_spec("huggingface_hub") is not None


def cached_file(repository: str, names: Iterable[str]) -> Path | None:
    """Return the first of some files of a repository, "OWNER/NAME[@REVISION]", in the cache; None if none is."""
    from huggingface_hub import try_to_load_from_cache

    identity, _, revision = repository.partition("@")
    for name in names:
        found = try_to_load_from_cache(identity, name, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    return None
