"""Early checks of index options, before anything is embedded, sampled or trained."""

from __future__ import annotations

import re

import faiss

from lookalike_indexer.errors import UsageError
from lookalike_indexer.indexing.build import empty_index, least_training
from lookalike_indexer.indexing.recipes import NAMES, PROJECTED_NAMES, choose, parse_projected, refuse_nlist
from lookalike_indexer.indexing.settings import BuildSettings

# A dimension with many divisors, to parse a factory string before the space's dimension is known.
_ANY_DIM = 64
_UNPARSED = "could not parse"
_LISTS = re.compile(r"(?:^|,)IVF(\d+)(?=[,_(]|$)")


def check_kind(settings: BuildSettings) -> None:
    """Check the settings without a space. Raise UsageError for an unknown index type, or an invalid number of lists."""
    name = settings.index.strip()
    if name.lower() in NAMES or parse_projected(name.lower()):
        if name.lower() != "auto" and "ivf-" not in name.lower():
            refuse_nlist(settings)
        lists = settings.nlist
    else:
        refuse_nlist(settings)
        lists = _lists(name)
        if lists is None or 1 <= lists <= 1 << 20:
            _check_parses(name)
    if lists is not None and lists < 1:
        raise UsageError(f"--index {name!r}: there must be at least one inverted list.")
    if lists is not None and settings.train_size is not None and settings.train_size < lists:
        raise UsageError(
            f"--train-size {settings.train_size}: {lists} inverted lists need at least {lists} images to train on."
        )


def check_build(settings: BuildSettings, images: int, dim: int) -> None:
    """Check that an index over at most `images` vectors of `dim` dimensions can be created and trained.

    Fewer images may be readable, so valid settings can still fail later. UsageError names the problem.
    """
    check_kind(settings)
    lists = _lists(settings.index.strip())
    if lists is not None and lists > images:
        raise UsageError(
            f"--index {settings.index!r} has {lists} lists, and there are only {images} images; ask for at most "
            f"{images} lists."
        )
    recipe = choose(images, dim, settings)
    least, what = least_training(empty_index(recipe.factory, dim, settings.metric, settings.seed), dim)
    if least > recipe.train_size:
        larger = "" if settings.train_size is None else ", or a larger --train-size"
        raise UsageError(
            f"--index {settings.index!r}: {what} need at least {least} training vectors, and {recipe.train_size} of "
            f"{images} images can be trained on; choose a smaller index, such as ivf-sq8 or flat{larger}."
        )


def _check_parses(factory: str) -> None:
    try:
        faiss.index_factory(_ANY_DIM, factory)
    except RuntimeError as error:
        # Other errors may apply only to this dimension.
        if _UNPARSED in str(error):
            raise UsageError(
                f"--index {factory!r} is neither a kind of index nor a factory string of faiss; use "
                f"{', '.join((*NAMES, *PROJECTED_NAMES))}, or a string such as IVF1024,SQ8."
            ) from error


def _lists(factory: str) -> int | None:
    """Return the number of inverted lists in a factory string, None if there is none."""
    found = _LISTS.search(factory)
    return int(found[1]) if found else None
