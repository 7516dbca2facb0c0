"""Default clustering and index of a space, used when a caller names none.

Each entry records its creation order (`made`), because a name does not show age: k10 sorts before k9. An entry that
covers all images of its space takes precedence over one that does not.
"""

from __future__ import annotations

from collections.abc import Iterable

from lookalike_indexer.collection.commands import build_command, cluster_command
from lookalike_indexer.collection.manifest import ClusteringEntry, GraphEntry, IndexEntry, Manifest

Entry = ClusteringEntry | IndexEntry


def covers(manifest: Manifest, entry: Entry | GraphEntry) -> bool:
    """Return whether a clustering, an index or a graph was made from all current embeddings of its space."""
    space = manifest.spaces[entry.space]
    # Entries of format 1 do not list their parts.
    return entry.parts == space.parts if entry.parts else entry.rows == space.rows


def default_clustering(manifest: Manifest, space: str) -> str | None:
    """Return the "space/name" of a space's current clustering, None if it has none.

    It is the newest that covers all images of the space, or the newest if none does.
    """
    return _newest(manifest, manifest.clusterings, space)


def clustering_called(manifest: Manifest, name: str) -> str:
    """Return the "space/name" of a clustering given in full, or by its name alone if that is unambiguous.

    The name alone means the default space's clustering, or else the only one of that name. If it matches none or
    several, it is returned unchanged.
    """
    if name in manifest.clusterings or "/" in name:
        return name
    of_default = f"{manifest.default_space}/{name}"
    if of_default in manifest.clusterings:
        return of_default
    called = [key for key, entry in manifest.clusterings.items() if entry.name == name]
    return called[0] if len(called) == 1 else name


def default_index(manifest: Manifest, space: str) -> str | None:
    """Return the "space/name" of a space's current index, by the same rule."""
    return _newest(manifest, manifest.indexes, space)


def next_creation_order(entries: dict[str, ClusteringEntry] | dict[str, IndexEntry], key: str, space: str) -> int:
    """Return the creation order of the entry that is about to be made as `key`.

    The newest entry keeps its number, so that repeating the same command changes nothing.
    """
    others = [entry.made for name, entry in entries.items() if entry.space == space and name != key]
    before = entries.get(key)
    if before is not None and before.made > max(others, default=0):
        return before.made
    return max([*others, before.made if before else 0], default=0) + 1


def coverage_note(manifest: Manifest, entry: Entry, root: str) -> str:
    """Return a sentence for an entry that lacks images of its space, with the command that adds them; "" if it is
    complete.
    """
    if covers(manifest, entry):
        return ""
    rows = manifest.spaces[entry.space].rows
    differs = entry.rows != rows
    of = f"covers {entry.rows:,} of {rows:,} images" if differs else "was made of embeddings that have changed since"
    if isinstance(entry, ClusteringEntry):
        kind, go_on = "clustering", cluster_command(root, entry)
    else:
        kind, go_on = "index", build_command(root, entry)
    return f"The {kind} {entry.space}/{entry.name} {of}; update it with: {go_on}"


def coverage_notes(manifest: Manifest, entries: Iterable[Entry], root: str) -> tuple[str, ...]:
    """Return the notes of the entries that lack images."""
    return tuple(note for entry in entries if (note := coverage_note(manifest, entry, root)))


def _newest(manifest: Manifest, entries: dict[str, ClusteringEntry] | dict[str, IndexEntry], space: str) -> str | None:
    there = {name: entry for name, entry in entries.items() if entry.space == space}
    # Format 1 recorded no order. Prefer the entry with the most images, then the most clusters or lists.
    return max(
        there,
        key=lambda name: (covers(manifest, there[name]), there[name].made, there[name].rows, _size(there[name]), name),
        default=None,
    )


def _size(entry: Entry) -> int:
    return entry.k if isinstance(entry, ClusteringEntry) else entry.nlist
