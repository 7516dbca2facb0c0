"""Settings of an index."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.collection import layout
from lookalike_indexer.collection.manifest import MAIN, IndexEntry
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import UsageError


@dataclass(frozen=True)
class BuildSettings:
    """Settings of an index.

    `space` "" means the collection's default. `name` distinguishes the indexes of a space; building one replaces the
    index of the same name. `index` is one of recipes.NAMES or a faiss factory string. `nlist` and `train_size` None
    mean a choice by the number of images. `target_recall` determines the default nprobe, and, with `max_memory` in
    bytes, the type that "auto" takes. `gpus` decides where training is done and is not part of an index's digest. Raise
    UsageError for a value out of range.
    """

    space: str = ""
    name: str = MAIN
    index: str = "auto"
    nlist: int | None = None
    metric: Metric = "cosine"
    target_recall: float = 0.95
    max_memory: int | None = None
    train_size: int | None = None
    seed: int = 1234
    gpus: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        layout.checked_name(self.name, "index")
        if not self.index.strip():
            raise UsageError("--index is empty; leave it out for a choice by the number of images.")
        if self.nlist is not None and self.nlist < 1:
            raise UsageError(f"--nlist {self.nlist}: there must be at least one inverted list.")
        if self.train_size is not None and self.train_size < 1:
            raise UsageError(f"--train-size {self.train_size}: there must be at least one vector to train on.")
        if not 0 < self.target_recall <= 1:
            raise UsageError(f"--target-recall {self.target_recall:g} must be above 0 and at most 1.")
        if self.max_memory is not None and self.index.strip().lower() != "auto":
            raise UsageError(f"--max-memory goes with --index auto, not with {self.index!r}.")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"--seed {self.seed} must be from 0 to {2**31 - 1}.")


def settings_of(entry: IndexEntry, gpus: tuple[int, ...] = ()) -> BuildSettings:
    """Return the settings of an index, so that it can be recreated for a space that has grown.

    Format 1 did not record the user's request; its factory string is used instead.
    """
    return BuildSettings(
        space=entry.space,
        name=entry.name,
        index=entry.asked or ("auto" if entry.candidates else entry.factory),
        nlist=entry.asked_nlist,
        metric=entry.metric,
        target_recall=entry.target_recall,
        max_memory=entry.max_memory,
        train_size=entry.asked_train_size,
        seed=entry.seed,
        gpus=gpus,
    )
