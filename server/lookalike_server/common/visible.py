"""Redaction of paths: what a caller may see of the server's file system.

Keys name images for callers; the places of files are for administrators. Access decides once per
call, and all code that sends a text to a caller applies this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, get_args

from google.protobuf.message import Message

from lookalike_server.common.errors import ForbiddenError

if TYPE_CHECKING:
    from lookalike_indexer.collection.reader import CollectionReader

# "admin": callers of that role. "local": also callers on this machine, if no tokens are required.
ShowPaths = Literal["admin", "local", "everyone"]
SHOW_PATHS: tuple[ShowPaths, ...] = get_args(ShowPaths)

# Matches a path in a sentence, up to a character that an unquoted path cannot contain. "and/or" and https://host/ do
# not match; file:/net.pth does.
_PATH = re.compile(r"""(?:(?<=file://)|(?<![\w.:/~-])|(?<=:)(?!//))/[^\s'"`,;:()<>]+""")

Roots = Callable[[], Iterable[str]]

_ROOTS: ContextVar[Roots | None] = ContextVar("lookalike_hidden_roots", default=None)


def folders_of(reader: CollectionReader, weights: str | None) -> list[str]:
    """Return the folders that replies and errors may name: those of the collection, the source, and weights files."""
    folders = [Path(reader.storage.location), Path(reader.manifest.source.uri), Path(weights or ".").parent]
    used = [model.spec.weights for model in reader.manifest.models.values()]
    folders += [Path(one.name).parent for one in used if one.kind == "file"]
    return [str(folder) for one in folders for folder in (one.absolute(), one.resolve())]


def hide(roots: Roots) -> None:
    """Hide paths from the caller of this task. `roots` returns folders whose names may contain spaces."""
    _ROOTS.set(roots)


def hidden() -> bool:
    """Return whether the caller of this task sees no paths."""
    return _ROOTS.get() is not None


def require() -> None:
    """Raise ForbiddenError if the caller of this task sees no paths."""
    if hidden():
        raise ForbiddenError("This caller may not see URIs; repeat the call without them.")


def uris(values: Sequence[str]) -> list[str]:
    """Return URIs as the caller may see them: empty if they are hidden."""
    return [""] * len(values) if hidden() else list(values)


def text(sentence: str) -> str:
    """Return a sentence as the caller may see it: only the last name of each path if paths are hidden."""
    roots = _ROOTS.get()
    if roots is None or "/" not in sentence:
        return sentence
    for root in sorted({root.rstrip("/") for root in roots()} - {""}, key=len, reverse=True):
        sentence = sentence.replace(root, PurePosixPath(root).name)
    return _PATH.sub(lambda found: PurePosixPath(found[0]).name, sentence)


def texts(sentences: Iterable[str]) -> list[str]:
    """Return sentences as the caller may see them."""
    return [text(sentence) for sentence in sentences]


def put(message: Message, skip: Iterable[str] = ()) -> None:
    """Redact all texts of a small message, including nested ones, in place.

    Fields whose names are in `skip` are left unchanged.
    """
    if not hidden():
        return
    for field, value in message.ListFields():
        if field.name in skip:
            continue
        several = not isinstance(value, (str, bytes, Message)) and hasattr(value, "__len__")
        if field.message_type is not None:
            for inner in value if several else [value]:
                put(inner, skip)
        elif field.type == field.TYPE_STRING:
            if several:
                value[:] = texts(value)
            else:
                setattr(message, field.name, text(value))
