"""Settings and counts of a sync run, which makes a collection equal to its source."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.errors import UsageError

# If more than this share of the images is missing, the source is probably offline.
_MOST_GONE = 0.5


@dataclass(frozen=True)
class Sync:
    """The settings of a sync run.

    `allow_deletions` permits the deletion of more than half of the images. `undelete` are keys of images that a user
    deleted and that come back if the source has them. `dry_run` reports changes without making them.
    """

    allow_deletions: bool = False
    undelete: frozenset[str] = frozenset()
    dry_run: bool = False


@dataclass(frozen=True)
class Changes:
    """The changes that a sync run finds.

    `new` images are listed for the first time, or again after they were gone. `changed` ones have other bytes, and get
    a new id. `renamed` ones keep id and embedding under another key. `deleted` ones are missing from the source.
    `relabelled` ones have another label. `kept_out` ones are in the source and stay deleted. `unreachable` ones are
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
        """Return whether the collection differs from the source."""
        return bool(self.new or self.changed or self.renamed or self.deleted or self.relabelled)


def check_deletions(sync: Sync, source: str, gone: int, images: int, remaining: int) -> None:
    """Raise UsageError if `gone` images are too many to delete without permission, or if none would remain."""
    if not gone:
        return
    if gone > _MOST_GONE * images and not sync.allow_deletions:
        raise UsageError(
            f"{gone:,} of the {images:,} images are no longer in {source}: it may be offline. Nothing was changed. "
            "Make the source available, or give --allow-deletions to delete these images."
        )
    if not remaining:
        raise UsageError(
            f"{source} contains none of the {images:,} images any more, but a collection needs at least one image; "
            "restore the source."
        )


def summary_line(changes: Changes) -> str:
    """Return the counts as one line."""
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
