"""Advice for unknown argument names: the name of the intended argument."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])

# Names in other clients, older releases and common usage, with the arguments they stand for.
_MEANT: Final = {
    "limit": ("k",),
    "top_k": ("k",),
    "topk": ("k",),
    "n": ("k", "limit"),
    "n_neighbors": ("k", "neighbors"),
    "neighbours": ("neighbors",),
    "filter": ("where",),
    "query": ("vector",),
    "query_vector": ("vector",),
    "embedding": ("vector",),
    "embeddings": ("vectors",),
    "path": ("image",),
    "picture": ("image",),
    "pictures": ("images",),
    "file": ("image",),
    "radius": ("max_distance",),
    "threshold": ("max_distance",),
    "include": ("fields",),
    "output_fields": ("fields",),
    "size": ("page_size",),
}


def hinted(method: Method) -> Method:
    """Make a TypeError about an unknown argument suggest the intended one, such as `k` for `limit`."""
    known = frozenset(inspect.signature(method).parameters)

    def check(given: Collection[str]) -> None:
        for name in given:
            if name not in known:
                raise TypeError(f"{method.__name__}() got an unexpected argument {name!r}; {_advice(name, known)}")

    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def call_async(*args: Any, **given: Any) -> Any:
            if not given.keys() <= known:
                check(given)
            return await method(*args, **given)

        return call_async  # type: ignore[return-value]

    @functools.wraps(method)
    def call(*args: Any, **given: Any) -> Any:
        if not given.keys() <= known:
            check(given)
        return method(*args, **given)

    return call  # type: ignore[return-value]


def _advice(name: str, known: Collection[str]) -> str:
    for meant in _MEANT.get(name.lower(), ()):
        if meant in known:
            return f"use {meant}="
    close = difflib.get_close_matches(name, sorted(known), 1)
    return f"did you mean {close[0]}=?" if close else f"there are: {', '.join(sorted(set(known) - {'self'}))}"
