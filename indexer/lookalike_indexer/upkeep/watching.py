"""Watching of a folder: a sync run for each batch of changes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.progress import Progress
from lookalike_indexer.sources.sync import Sync
from lookalike_indexer.upkeep.follow import SyncResult, follow

# A batch ends when nothing has changed for a second, or after half a minute.
_QUIET_MS, _LONGEST_MS = 1_000, 30_000
# The retry interval after a failure, even if nothing changes.
_AGAIN_S = 30

# Called after each run that changed something.
Done = Callable[[Manifest, SyncResult], None]


def keep_following(
    storage: Storage,
    settings: EmbedSettings,
    sync: Sync,
    changes: Iterable[bool],
    progress: Progress,
    done: Done,
    failed: Callable[[str], None],
    gpus: tuple[int, ...] = (),
) -> None:
    """Follow the source now, then for each true value of `changes`; a false one retries a failed run.

    Ends with `changes`. Errors that can be fixed outside of this process, such as an offline source or another writer,
    are passed to `failed`, and do not end it.
    """
    owes = _tried(storage, settings, sync, progress, done, failed, gpus)
    for has_changed in changes:
        if has_changed or owes:
            owes = _tried(storage, settings, sync, progress, done, failed, gpus)


def _tried(
    storage: Storage,
    settings: EmbedSettings,
    sync: Sync,
    progress: Progress,
    done: Done,
    failed: Callable[[str], None],
    gpus: tuple[int, ...],
) -> bool:
    """Follow once; return whether it failed."""
    try:
        with writing(storage):
            before = generations.require_latest(storage)
            draft, followed = follow(storage, before, settings, sync, progress, gpus)
            published = generations.publish(storage, draft)
    except IndexerError as error:
        failed(str(error))
        return True
    if published.generation != before.generation:
        done(published, followed)
    return False


def changes_of(folder: Path, collection: Path, poll: bool = False) -> Iterator[bool]:
    """Yield True after each batch of changes below a folder, and False at intervals; only Ctrl-C ends it.

    Changes below the collection are ignored. `poll` repeatedly checks all files, for file systems without change
    notifications, such as network mounts. If the folder is missing, wait for it.
    """
    import watchfiles

    inside = f"{collection.resolve()}{os.sep}"
    while True:
        which = _identity(folder)
        if which is None:
            time.sleep(_AGAIN_S)
            yield False
            continue
        for batch in watchfiles.watch(
            folder,
            watch_filter=lambda change, path: not f"{path}{os.sep}".startswith(inside),
            debounce=_LONGEST_MS,
            step=_QUIET_MS,
            rust_timeout=1000 * _AGAIN_S,
            yield_on_timeout=True,
            force_polling=poll or None,
        ):
            yield bool(batch)
            if _identity(folder) != which:
                break
        # Another folder has the path now, such as a new mount: its content is new.
        yield True


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
