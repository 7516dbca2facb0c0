"""Making a collection equal to its source: what may be deleted, and the counts of a run."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.errors import UsageError

# Where more of the images than this are gone, the source is more likely to be offline.
_MOST_GONE = 0.5


@dataclass(frozen=True)
class Sync:
    """A run that follows the source in everything.

    `allow_deletions` lets it delete more than half of the images. `undelete` are keys of images that a person deleted
    and that come back, as far as the source has them. `dry_run`: only look.
    """

    allow_deletions: bool = False
    undelete: frozenset[str] = frozenset()
    dry_run: bool = False


@dataclass(frozen=True)
class Changes:
    """What a look at the source found to do.

    `new` images are listed for the first time, or again after they were gone. `changed` ones hold other bytes, and get
    a new id. `renamed` ones keep id and embedding under another key. `deleted` ones are gone from the source.
    `relabelled` ones have another label. `kept_out` ones are in the source and stay deleted, `unreachable` ones are
    below folders that cannot be read, and stay.
    """

    new: int = 0
    changed: int = 0
    renamed: int = 0
    deleted: int = 0
    relabelled: int = 0
    kept_out: int = 0
    unreachable: int = 0

    @property
    def any(self) -> bool:
        """Whether the collection is not what the source is."""
        return bool(self.new or self.changed or self.renamed or self.deleted or self.relabelled)


def check_deletions(sync: Sync, source: str, gone: int, images: int, remaining: int) -> None:
    """UsageError: `gone` of so many images would be deleted, which nobody allowed, or none would remain."""
    if not gone:
        return
    if gone > _MOST_GONE * images and not sync.allow_deletions:
        raise UsageError(
            f"{gone:,} of the {images:,} images are no longer in {source}: it may be offline. Nothing was changed. "
            "Make the source available; or give --allow-deletions to delete these images."
        )
    if not remaining:
        raise UsageError(f"None of the {images:,} images is in {source} any more, and a collection needs an image.")


def said(changes: Changes) -> str:
    """The counts in one line."""
    told = (
        f"{changes.new:,} new, {changes.changed:,} changed, {changes.renamed:,} renamed, {changes.deleted:,} deleted, "
        f"{changes.relabelled:,} relabeled"
    )
    more = []
    if changes.kept_out:
        more.append(f"{changes.kept_out:,} in the source stay deleted")
    if changes.unreachable:
        more.append(f"{changes.unreachable:,} cannot be reached and stay")
    return "; ".join([told, *more])
