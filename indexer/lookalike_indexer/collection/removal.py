"""Removal of clusterings, indexes, results, attributes, graphs, spaces and models from a collection.

Only the manifest changes. Garbage collection removes the files when no kept generation refers to them, see garbage.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from lookalike_indexer.collection.current import default_clustering, default_index
from lookalike_indexer.collection.default_space import with_default_space
from lookalike_indexer.collection.manifest import Manifest, ResultEntry
from lookalike_indexer.errors import NotFoundError, UsageError


@dataclass(frozen=True)
class Unwanted:
    """The entries to remove: clusterings and indexes by "space/name", results by "kind/name", the others by name."""

    clusterings: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    spaces: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    graphs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Removed:
    """The removed entries, each kind sorted, and `notes`: a sentence for each default that changed."""

    clusterings: list[str]
    indexes: list[str]
    results: list[str]
    spaces: list[str]
    models: list[str]
    attributes: list[str]
    graphs: list[str]
    notes: list[str]


def remove(manifest: Manifest, unwanted: Unwanted) -> tuple[Manifest, Removed]:
    """Return a draft without the unwanted entries and their dependents, and the list of removed entries.

    A model takes its spaces along. A space takes along its clusterings, its indexes, its graph and the results that
    were computed in it. Raise UsageError if nothing is named, or no space would remain. Raise NotFoundError if an entry
    does not exist; the message lists the existing ones.
    """
    if not any(dataclasses.astuple(unwanted)):
        raise UsageError(
            "Name what to remove: give --clustering, --index, --result, --attributes, --graph, --space or --model."
        )
    models = _known("model", unwanted.models, manifest.models)
    spaces = _known("space", unwanted.spaces, manifest.spaces)
    spaces |= {name for name, entry in manifest.spaces.items() if entry.model in models}
    if spaces and spaces == manifest.spaces.keys():
        raise UsageError(
            f"Without {', '.join(sorted(spaces))} the collection would have no space. First create another "
            "one with: lookalike embed"
        )
    clusterings = _known("clustering", unwanted.clusterings, manifest.clusterings)
    clusterings |= {name for name, entry in manifest.clusterings.items() if entry.space in spaces}
    indexes = _known("index", unwanted.indexes, manifest.indexes)
    indexes |= {name for name, entry in manifest.indexes.items() if entry.space in spaces}
    results = _known("result", unwanted.results, manifest.results)
    results |= {name for name, entry in manifest.results.items() if _space_of(entry) in spaces}
    attributes = _known("attribute table", unwanted.attributes, manifest.attributes)
    graphs = _known("graph of a space", unwanted.graphs, manifest.graphs)
    graphs |= spaces & manifest.graphs.keys()
    draft = dataclasses.replace(
        manifest,
        graphs={name: entry for name, entry in manifest.graphs.items() if name not in graphs},
        attributes={name: entry for name, entry in manifest.attributes.items() if name not in attributes},
        models={name: entry for name, entry in manifest.models.items() if name not in models},
        spaces={name: entry for name, entry in manifest.spaces.items() if name not in spaces},
        clusterings={name: entry for name, entry in manifest.clusterings.items() if name not in clusterings},
        indexes={name: entry for name, entry in manifest.indexes.items() if name not in indexes},
        results={name: entry for name, entry in manifest.results.items() if name not in results},
    )
    if manifest.default_space in spaces:
        draft = with_default_space(draft)
    removed = Removed(
        sorted(clusterings),
        sorted(indexes),
        sorted(results),
        sorted(spaces),
        sorted(models),
        sorted(attributes),
        sorted(graphs),
        _notes(manifest, draft),
    )
    return draft, removed


def _known(kind: str, names: Iterable[str], there: Iterable[str]) -> set[str]:
    for name in names:
        if name not in there:
            raise NotFoundError(f"The collection has no {kind} {name!r}; it has: {', '.join(sorted(there)) or 'none'}.")
    return set(names)


def _space_of(result: ResultEntry) -> str:
    """Return the space that a result was computed in, "" for several or none."""
    space, clustering = result.settings.get("space"), result.settings.get("clustering")
    if isinstance(space, str) and space:
        return space
    return clustering.partition("/")[0] if isinstance(clustering, str) else ""


def _notes(before: Manifest, after: Manifest) -> list[str]:
    notes = []
    if before.default_space != after.default_space:
        notes.append(f"{after.default_space} is the default space now.")
    for space in sorted(after.spaces):
        for kind, chosen in [("clustering", default_clustering), ("index", default_index)]:
            was, now = chosen(before, space), chosen(after, space)
            if was != now:
                notes.append(
                    f"{now} is the current {kind} of {space} now." if now else f"The space {space} has no {kind} now."
                )
    return notes
