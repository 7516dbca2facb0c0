"""Files of a served generation that are verified after serving began, or when a call first needs them."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from typing import NamedTuple

from lookalike_indexer.collection import index_ids
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.errors import DataLossError, DeviceError, IndexerError
from lookalike_server.common.share import Share

log = logging.getLogger(__name__)

# Seconds before an unreadable file is tried again.
_RETRY_S = 10.0


class Progress(NamedTuple):
    """Number of files to verify in a generation, and of verified ones. `damage` describes the first damaged one.

    Files that are read for few calls, such as vectors of other shards, do not count.
    """

    files: int
    verified: int
    damage: str = ""

    @property
    def is_whole(self) -> bool:
        """True if all files have been verified and none is damaged."""
        return self.verified == self.files


def needed_first(manifest: Manifest, indexes: Iterable[str]) -> set[str]:
    """Return the files that a server reads before it answers: all but vectors and what callers request explicitly.

    `indexes` are the paths of the indexes that it searches. Vectors of images that no index
    contains are needed, because only they hold those images' ids.
    """
    found = {*manifest.images, *manifest.tombstones, *indexes}
    for clustering in manifest.clusterings.values():
        found.update(clustering.files, clustering.assignments)
    for model in manifest.models.values():
        found.update(model.files)
    for attributes in manifest.attributes.values():
        found.update(attributes.parts)
    found.update(index.ids for index in manifest.indexes.values() if index.ids)
    known = index_ids.id_ranges(manifest).keys()
    for space in manifest.spaces.values():
        found.update(path for path in space.parts if path not in known)
    return found


def of_other_shards(manifest: Manifest, share: Share | None) -> frozenset[str]:
    """Return the vectors that a server of one share reads for few calls, if ever. A router, None, has no share: all."""
    found: set[str] = set()
    for name, space in manifest.spaces.items():
        counts = [manifest.files[path].rows or 0 for path in space.parts]
        ends = list(itertools.accumulate(counts))
        # Rows of the space, and rows of each index of some of its parts.
        totals = {sum(counts), *(entry.rows for entry in manifest.indexes.values() if entry.space == name)}
        own = [] if share is None else [share.range_of(rows) for rows in totals]
        found.update(
            path
            for path, rows, end in zip(space.parts, counts, ends, strict=True)
            if not any(start < end and end - rows < stop for start, stop in own)
        )
    return frozenset(found)


def read_by_experiments(manifest: Manifest, spaces: Collection[str] = ()) -> dict[str, set[str]]:
    """Return the files that an experiment may read, by space; those of no space are under "".

    With `spaces`, it reads embeddings and graphs of those spaces only.
    """
    of_space = {name: set(space.parts) for name, space in manifest.spaces.items()}
    for name, graph in manifest.graphs.items():
        of_space[name].update(graph.neighbors)
    others = manifest.files.keys() - set().union(*of_space.values())
    for index in manifest.indexes.values():
        others.difference_update(index.files)
    for result in manifest.results.values():
        others.difference_update(result.tables.values())
    return {"": others, **{name: paths for name, paths in of_space.items() if not spaces or name in spaces}}


class LaterFiles:
    """Verifier that hashes each of some files once, for the first caller that needs it. Thread-safe."""

    def __init__(
        self,
        paths: Collection[str],
        others: int,
        verify: Callable[[str], object],
        unhurried: Collection[str] = (),
    ) -> None:
        """`others` is the number of the generation's files that were verified before.

        Files of `paths` that are `unhurried` are verified only when a call needs them. `verify`
        raises DataLossError if a file is not what was written.
        """
        self._paths = frozenset(paths)
        self._unhurried = self._paths.intersection(unhurried)
        self._others = others
        self._verify = verify
        self._lock = threading.Lock()
        self._outcomes: dict[str, Future[None]] = {}
        # Files that `verify_all` hashes now and that no caller has requested meanwhile.
        self._in_background: set[str] = set()
        self._verified = 0
        self._damage = ""
        self._groups: dict[str, Future[IndexerError | None]] = {}
        self._stopped = threading.Event()

    @property
    def progress(self) -> Progress:
        """Current progress of the verification."""
        with self._lock:
            files = len(self._paths) - len(self._unhurried) + self._others
            return Progress(files, self._verified + self._others, self._damage)

    def require(self, path: str) -> None:
        """Return once a file is verified. Files not in `paths` pass.

        Raises DataLossError if it is not what was written.
        """
        if path in self._paths:
            self._require(path)

    def _require(self, path: str, *, in_background: bool = False) -> None:
        with self._lock:
            outcome = self._outcomes.get(path)
            # A low-priority thread may take minutes on a busy machine, and its priority cannot be raised again. So a
            # caller that needs its file verifies it too, and the first to finish settles it for all.
            is_first = outcome is None or (path in self._in_background and not in_background)
            if outcome is None:
                outcome = self._outcomes[path] = Future()
            if is_first and in_background:
                self._in_background.add(path)
            elif is_first:
                self._in_background.discard(path)
        if is_first:
            self._settle(path, outcome)
        error = outcome.exception()
        if error is not None:
            # A new error for each caller, because raising an error modifies it.
            raise type(error)(*error.args)

    @property
    def is_settled(self) -> bool:
        """True if every file, including the unhurried ones, is verified and undamaged."""
        with self._lock:
            return len(self._outcomes) == len(self._paths) and all(
                outcome.done() and outcome.exception() is None for outcome in self._outcomes.values()
            )

    def required(self, group: str, paths: Iterable[str]) -> Future[IndexerError | None]:
        """Require the files of a group in a thread of its own. The future's result is the first error, or None.

        Callers that request a group while it is under way wait for the same thread.
        """
        with self._lock:
            known = self._groups.get(group)
            if known is not None:
                return known
            found = self._groups[group] = Future()
            # So that a caller that leaves cannot cancel it for the others.
            found.set_running_or_notify_cancel()
        wanted = sorted(self._paths.intersection(paths))
        threading.Thread(target=self._require_group, args=(group, wanted, found), name="verify", daemon=True).start()
        return found

    def verify_all(self) -> None:
        """Verify the files that no call has needed yet, until `stop`; log damaged ones.

        Files that the system does not let it read are retried after a pause.
        """
        waiting, told = sorted(self._paths - self._unhurried), set[str]()
        while waiting:
            unread = []
            for path in waiting:
                if self._stopped.is_set():
                    return
                try:
                    self._require(path, in_background=True)
                except DataLossError as error:
                    log.error(
                        "%s Calls that need this file are refused. Run `lookalike verify` to see how to repair it.",
                        error,
                    )
                except IndexerError as error:
                    unread.append(path)
                    if path not in told:
                        told.add(path)
                        log.warning("%s The server tries to verify this file again every %g s.", error, _RETRY_S)
            waiting = unread
            if waiting and self._stopped.wait(_RETRY_S):
                return

    def stop(self) -> None:
        """Stop verifying files, except those that calls need."""
        self._stopped.set()

    def _require_group(self, group: str, paths: Iterable[str], found: Future[IndexerError | None]) -> None:
        outcome: IndexerError | None = None
        try:
            for path in paths:
                if self._stopped.is_set():
                    outcome = DeviceError("This generation is no longer served; retry the call.")
                    break
                self.require(path)
        except IndexerError as error:
            outcome = error
        except BaseException as error:
            with self._lock:
                del self._groups[group]
            found.set_exception(error)
            return
        with self._lock:
            del self._groups[group]
        found.set_result(outcome)

    def _settle(self, path: str, outcome: Future[None]) -> None:
        failure: BaseException | None = None
        try:
            self._verify(path)
        except BaseException as error:
            failure = error
        with self._lock:
            if outcome.done():
                return
            self._in_background.discard(path)
            if failure is None:
                self._verified += path not in self._unhurried
                outcome.set_result(None)
                return
            if isinstance(failure, DataLossError):
                self._damage = self._damage or str(failure)
            else:
                # The next attempt to read it may succeed.
                del self._outcomes[path]
            outcome.set_exception(failure)
