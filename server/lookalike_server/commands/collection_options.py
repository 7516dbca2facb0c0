"""Arguments of `lookalike serve`: names and folders of collections, and settings for one of them."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from lookalike_indexer.errors import UsageError
from lookalike_server.commands.limit_options import limit_type
from lookalike_server.common.collection_name import known_as
from lookalike_server.common.limits import OF_SERVER, Limits

_NAME = re.compile(r"[\w.@-]{1,64}")


class CollectionType(click.Path):
    """A folder, or NAME=FOLDER. In the environment variable, several are separated as in PATH."""

    def __init__(self) -> None:
        super().__init__()

    def below(self, folder: Path, text: str) -> str:
        """Return the same value with a relative folder resolved against `folder`."""
        name, root = split(text)
        path = root if "://" in root else str(folder / root)
        return f"{name}={path}" if name else path


def split(text: str) -> tuple[str, str]:
    """Split [NAME=]FOLDER into name and folder. The name is "" if absent. An existing folder may itself contain "="."""
    name, equals, root = text.partition("=")
    if not equals or os.sep in name or Path(text).exists():
        return "", text
    return name, root


@dataclass(frozen=True)
class CollectionOverrides:
    """Settings for one collection."""

    limits: dict[str, int] = field(default_factory=dict)
    weights: str | None = None
    indexes: tuple[str, ...] = ()


def named(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return names and folders. Raises UsageError for an invalid or duplicate name.

    A single collection without a name keeps the name "" and is known by its folder's name.
    """
    pairs = [split(text) for text in texts]
    if len(pairs) == 1 and not pairs[0][0]:
        return pairs
    full = [(known_as(name, root), root) for name, root in pairs]
    for name, root in full:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is not a valid collection name, which has 1 to 64 letters, digits and _ . @ -; "
                f"give another one: NAME={root}"
            )
    (name, count), *_ = Counter(name for name, _ in full).most_common(1)
    if count > 1:
        raise UsageError(f"{count} collections have the name {name}; give each a unique name: NAME=DIR")
    return full


def collection_overrides(texts: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, CollectionOverrides]:
    """Return the values of --set NAME.KEY=VALUE by collection. `pairs` is the result of `named`.

    Raises UsageError if the collection or key does not exist, or the value is invalid.
    """
    names = [known_as(name, root) for name, root in pairs]
    found = {name: CollectionOverrides() for name in names}
    for text in texts:
        where, equals, value = text.partition("=")
        name, dot, key = where.rpartition(".")
        key = key.replace("-", "_")
        if not (equals and dot):
            raise UsageError(f"--set {text} must be NAME.KEY=VALUE, such as flowers.max_k=100.")
        if name not in found:
            raise UsageError(f"--set {text}: there is no collection {name!r}; the collections are: {', '.join(names)}.")
        found[name] = _with(found[name], text, key, value)
    return found


def _with(own: CollectionOverrides, text: str, key: str, value: str) -> CollectionOverrides:
    if key == "weights":
        return dataclasses.replace(own, weights=value)
    if key == "index":
        return dataclasses.replace(own, indexes=(*own.indexes, value))
    limits = {one.name: one for one in dataclasses.fields(Limits)}
    if key in OF_SERVER:
        raise UsageError(f"--set {text}: {key} applies to the whole server; give --{key.replace('_', '-')}.")
    if key not in limits:
        raise UsageError(f"--set {text}: {key!r} is not a setting of a collection; set weights, index or a limit.")
    try:
        number = limit_type(limits[key]).convert(value, None, None)
    except click.BadParameter as error:
        raise UsageError(f"--set {text}: {error.message}") from error
    return dataclasses.replace(own, limits={**own.limits, key: number})
