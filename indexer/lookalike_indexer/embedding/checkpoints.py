"""Checkpoints of one model, each embedded and clustered as a separate model."""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Sequence
from pathlib import Path

from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection.checkpoint_names import checkpoint_alias, natural
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import run_embed
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.progress import Progress


def checkpoint_files(patterns: Sequence[str]) -> list[Path]:
    """Return the files that match the patterns, ordered by the numbers in their names.

    Raise NotFoundError if a pattern matches no file. Raise UsageError if two files have the same name.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        # Path.glob accepts no absolute patterns.
        names = glob.glob(str(Path(pattern).expanduser()))  # noqa: PTH207
        paths = [path for path in map(Path, names) if path.is_file()]
        if not paths:
            raise NotFoundError(f"No file matches {pattern}; give --checkpoints files or a pattern in quotes.")
        for path in paths:
            if found.setdefault(path.stem, path) != path:
                raise UsageError(f"{found[path.stem]} and {path} have the same name; give each step a unique name.")
    return [found[stem] for stem in sorted(found, key=natural)]


def run_checkpoints(
    storage: Storage,
    draft: Manifest,
    files: Sequence[Path],
    embedding: EmbedSettings,
    clustering: ClusterSettings,
    progress: Progress,
) -> Manifest:
    """Embed and cluster each checkpoint as MODEL@STEP, where STEP is the file's name; publish nothing.

    Existing results are reused. The caller holds the collection's lock. Errors as those of `run_embed` and
    `run_cluster`.
    """
    for file in files:
        alias = checkpoint_alias(embedding.alias, file.stem)
        settings = dataclasses.replace(embedding, name=alias, weights=str(file.absolute()))
        draft, _ = run_embed(storage, draft, settings, progress)
        draft, _ = run_cluster(storage, draft, dataclasses.replace(clustering, space=alias), progress)
    return draft
