"""Command lines that recreate a clustering, an index or a graph, for messages."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from lookalike_indexer.collection.checkpoint_names import natural
from lookalike_indexer.collection.manifest import ClusteringEntry, GraphEntry, IndexEntry


def command(*words: object) -> str:
    """Return a Lookalike command line, quoted for a shell."""
    return shlex.join(["lookalike", *map(str, words)])


def unreadable_images(root: str, source: str, missing: int, total: int) -> str:
    """Return the message about unreadable images of a source, with the command for a source that has moved."""
    images = "image" if total == 1 else "images"
    which = f"None of the {total:,} {images}" if missing == total else f"{missing:,} of {total:,} {images}"
    can = "cannot" if missing < total else "can"
    return (
        f"{which} {can} be read from {source}. If they are elsewhere now, say where: "
        f"{command('relocate', root, 'FOLDER')}"
    )


def purge_commands(root: str) -> str:
    """Return the command line that removes the vectors and other rows of deleted images from the disk."""
    return f"{command('compact', root, '--purge')} && {command('gc', root, '--keep', 1)}"


def instead(what: str, names: Iterable[str], most: int = 6) -> str:
    """Return the end of a sentence that lists alternatives to a missing name; "" if there are none."""
    there = sorted(names, key=natural)
    if not there:
        return ""
    more = f" and {len(there) - most} more" if len(there) > most else ""
    return f"; or {what}: {', '.join(there[:most])}{more}"


def cluster_command(root: str, entry: ClusteringEntry) -> str:
    """Return the command that recreates a clustering for the current images of its space."""
    options: list[object] = ["--space", entry.space, "--name", entry.name]
    options += [] if entry.automatic else ["--clusters", entry.k]
    options += _option_words("--metric", entry.metric, "cosine")
    options += _option_words("--seed", entry.seed, 1234)
    options += _option_words("--iterations", entry.iterations, 25)
    options += _option_words("--restarts", entry.asked_restarts, None)
    options += _option_words("--points-per-centroid", entry.points_per_centroid, 256)
    options += _option_words("--strategy", entry.strategy, "kmeans")
    return command("cluster", root, *options)


def build_command(root: str, entry: IndexEntry) -> str:
    """Return the command that rebuilds an index for the current images of its space."""
    options: list[object] = ["--space", entry.space, "--name", entry.name, "--index", entry.asked or entry.factory]
    options += _option_words("--metric", entry.metric, "cosine")
    options += _option_words("--seed", entry.seed, 1234)
    options += _option_words("--nlist", entry.asked_nlist, None)
    options += _option_words("--target-recall", entry.target_recall, 0.95)
    options += _option_words("--max-memory", entry.max_memory, None)
    options += _option_words("--train-size", entry.asked_train_size, None)
    return command("build", root, *options)


def graph_command(root: str, entry: GraphEntry) -> str:
    """Return the command that recreates a graph for the current images of its space."""
    options: list[object] = ["--space", entry.space]
    options += _option_words("-k", entry.k, 16)
    if entry.method == "index":
        options += ["--index", entry.index.partition("/")[2]]
    else:
        options += ["--exact"] if entry.method == "exact" else []
        options += _option_words("--metric", entry.metric, "cosine")
    return command("graph", root, *options)


def _option_words(option: str, value: object, default: object) -> list[object]:
    return [] if value == default else [option, value]
