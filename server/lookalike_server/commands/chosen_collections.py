"""Settings of each collection, merged from the options for all, those for one, and the stored limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.collection.location import open_storage
from lookalike_indexer.errors import IndexerError
from lookalike_server.commands.collection_options import CollectionOverrides
from lookalike_server.commands.limit_options import chosen_limits
from lookalike_server.common.collection_name import known_as
from lookalike_server.common.limits import OF_SERVER, Limits
from lookalike_server.common.settings import CollectionSettings


@dataclass(frozen=True)
class CommonSettings:
    """Settings for all collections: `limits` by name, `weights` and `indexes` as in ServeSettings."""

    limits: Mapping[str, int]
    weights: str | None
    indexes: tuple[str, ...]


def stored_limits(root: str, *, required: bool) -> ImageLimits:
    """Return the limits of the newest generation.

    A collection that cannot be read gets the defaults, unless it is `required`: then the errors of
    generations.require_latest are raised.
    """
    try:
        return generations.require_latest(open_storage(root)).limits
    except IndexerError:
        if required:
            raise
        return ImageLimits()


def chosen_collections(
    pairs: Sequence[tuple[str, str]],
    chosen: CommonSettings,
    own: Mapping[str, CollectionOverrides],
    stored: Sequence[ImageLimits],
) -> tuple[Limits, tuple[CollectionSettings, ...]]:
    """Return the limits of the server, and its collections. `stored` are each collection's limits for images.

    Raises UsageError if limits contradict each other.
    """
    given: list[dict[str, Any]] = [{**chosen.limits, **own[known_as(*pair)].limits} for pair in pairs]
    images = [
        (one.get("max_image_bytes", limits.max_bytes), one.get("max_image_pixels", limits.max_pixels))
        for one, limits in zip(given, stored, strict=True)
    ]
    # The server accepts images for all of its collections.
    largest = ImageLimits(max(size for size, _ in images), max(pixels for _, pixels in images))
    of_pictures = {"max_image_bytes": largest.max_bytes, "max_image_pixels": largest.max_pixels}
    server = chosen_limits({**chosen.limits, **of_pictures}, largest)
    shared = {name: getattr(server, name) for name in OF_SERVER}
    settings = []
    for (name, root), limits, pictures in zip(pairs, given, stored, strict=True):
        mine = own[known_as(name, root)]
        settings.append(
            CollectionSettings(
                root,
                name,
                mine.weights or chosen.weights,
                mine.indexes or chosen.indexes,
                dataclasses.replace(chosen_limits(limits, pictures), **shared),
            )
        )
    return server, tuple(settings)
