"""Default space, used when a caller names none: the one that a user set, or else the best one."""

from __future__ import annotations

import dataclasses

from lookalike_indexer.collection.commands import command
from lookalike_indexer.collection.current import default_index
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.errors import NotFoundError


def best_space(manifest: Manifest) -> str:
    """Return the best space of a manifest that has at least one.

    The order of preference: it can be searched; its network is trained; it holds the features before the classifier; it
    has the most images.
    """
    return max(sorted(manifest.spaces), key=lambda name: _merits(manifest, name))


def with_default_space(manifest: Manifest) -> Manifest:
    """Return the draft with a default space.

    A complete space of a trained network replaces an untrained default, unless a user set that default. An untrained
    network distinguishes only colors and textures.
    """
    now = manifest.default_space
    if now not in manifest.spaces:
        return dataclasses.replace(manifest, default_space=best_space(manifest), default_space_is_set=False)
    best = best_space(manifest)
    is_uploaded = manifest.default_space_is_set or _is_trained(manifest, now) or not _is_trained(manifest, best)
    return manifest if is_uploaded else dataclasses.replace(manifest, default_space=best)


def default_note(before: Manifest | None, after: Manifest, root: str) -> str:
    """Return a sentence if the default space changed, else ""."""
    if before is None or before.default_space in ("", after.default_space):
        return ""
    return (
        f"{after.default_space} is the default space now, because {before.default_space} is of an untrained network; "
        f"to change that: {command('set', root, '--default-space', before.default_space)}"
    )


def set_default_space(manifest: Manifest, name: str) -> Manifest:
    """Return the draft with the default space that a user chose; NotFoundError lists the existing spaces."""
    if name not in manifest.spaces:
        there = ", ".join(sorted(manifest.spaces)) or "none"
        raise NotFoundError(f"The collection has no space {name!r}; it has: {there}.")
    return dataclasses.replace(manifest, default_space=name, default_space_is_set=True)


def _is_trained(manifest: Manifest, name: str) -> bool:
    return manifest.models[manifest.spaces[name].model].spec.weights.pretrained


def _merits(manifest: Manifest, name: str) -> tuple[bool, bool, bool, int]:
    entry = manifest.spaces[name]
    can_be_searched = default_index(manifest, name) is not None
    return can_be_searched, _is_trained(manifest, name), name == entry.model, entry.rows
