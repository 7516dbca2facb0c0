"""Remedy for each kind of file: remove it and repeat the command that made it."""

from __future__ import annotations

from lookalike_indexer.collection import changelog, uploaded_images
from lookalike_indexer.collection.commands import build_command, cluster_command, command, graph_command
from lookalike_indexer.collection.manifest import Manifest, SpaceEntry
from lookalike_indexer.collection.spec import IMPORTED
from lookalike_indexer.collection.storage import Storage

_AGAIN = "with the options that it was made with"


def mend(manifest: Manifest, storage: Storage, path: str) -> str:
    """Return the remedy for a damaged file of a generation, as the second half of a sentence."""
    root = storage.location
    folder = path.partition("/")[0]
    if folder == "generations":
        return "remove it to return to the previous generation, then run the last command again"
    if folder == "source":
        return (
            "no other file has its content: restore it from a backup, or index again into a new folder with: "
            + command("index", manifest.source.uri, "--collection", "NEW_FOLDER")
        )
    if folder == changelog.FOLDER:
        return (
            "restore it from a backup; or keep the changes before the damage, as `lookalike serve --writable` does, "
            "and repeat the others"
        )
    if folder == uploaded_images.FOLDER:
        return "restore it from a backup, or add the image again with client.upsert"
    if folder == "results":
        return "remove it and run the experiment again with the same --keep"
    for name, attributes in manifest.attributes.items():
        if path in attributes.parts:
            return f"remove it and attach the table again with: {command('attach', root, 'TABLE', '--name', name)}"
    for graph in manifest.graphs.values():
        if path in graph.neighbors:
            return f"remove it and run: {graph_command(root, graph)}"
    for clustering in manifest.clusterings.values():
        if path in clustering.files or path in clustering.assignments:
            return f"remove it and run: {cluster_command(root, clustering)}"
    for index in manifest.indexes.values():
        if path in index.files:
            return f"remove it and run: {build_command(root, index)}"
    if folder == "indexes":
        return "remove it; it only makes a later build faster"
    alias = _model_of(manifest, path)
    if alias and manifest.models[alias].spec.arch == IMPORTED:
        return _import(root, manifest, alias, path)
    return f"remove it and run, {_AGAIN}: {_embed(root, manifest, path)}"


def without_old_generations(storage: Storage) -> str:
    """Return the remedy for a damaged file of earlier generations only: no later run recreates it."""
    return f"only earlier generations need it; remove these with: {command('gc', storage.location, '--keep', 1)}"


def _embed(root: str, manifest: Manifest, path: str) -> str:
    """Return the command that made an embedding part, or for other tables the first model's with such a part."""
    space, alias = _space_of(manifest, path), _model_of(manifest, path)
    options: list[object] = ["--collection", root]
    if alias:
        spec = manifest.models[alias].spec
        weights = spec.weights.name if spec.weights.kind == "file" else str(spec.weights)
        options += ["--model", spec.arch, "--weights", weights]
        options += ["--name", alias] if alias != spec.arch else []
    if space and space != alias:
        options += _layer(manifest.spaces[space])
    return command("embed", manifest.source.uri, *options)


def _space_of(manifest: Manifest, path: str) -> str:
    """Return the space that a file is a part of, or ""."""
    return next((name for name, entry in manifest.spaces.items() if path in entry.parts), "")


def _model_of(manifest: Manifest, path: str) -> str:
    """Return the model of a file; for shared tables the first one, preferably a network; or ""."""
    space = _space_of(manifest, path)
    if space:
        return manifest.spaces[space].model
    owners = [
        name for name, model in manifest.models.items() if path in {*model.predictions, *model.rejects, *model.files}
    ]
    networks = [name for name, model in manifest.models.items() if model.spec.arch != IMPORTED]
    return next(iter([*owners, *networks, *manifest.models]), "")


def _import(root: str, manifest: Manifest, alias: str, path: str) -> str:
    """Return the remedy for a file of imported vectors, or of a collection that has no others."""
    vectors = manifest.models[alias].spec.weights.name
    given: list[object] = ["import", vectors, "--space", alias]
    if _space_of(manifest, path) and len(manifest.models) > 1:
        remove = command("remove", root, "--model", alias)
        return f"run: {remove}, and import the vectors again with their keys: {command(*given, '--collection', root)}"
    # A collection of only vectors was made from their file.
    images = ["--images", manifest.source.uri] if manifest.source.uri != vectors else []
    again = command(*given, *images, "--collection", "NEW_FOLDER")
    return f"import the vectors again with their keys, into a new collection: {again}"


def _layer(entry: SpaceEntry) -> list[object]:
    return ["--layer", entry.layer, "--pool", entry.pooling]
