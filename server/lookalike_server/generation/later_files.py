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

# How long a file that could not be read is left alone before it is tried again.
_RETRY_S = 10.0


class Progress(NamedTuple):
    """How many files of a generation a server verifies and has verified; `damage` tells of the first that is damaged.

    Those that it reads for few calls, if ever, do not count: vectors of other shards.
    """

    files: int
    verified: int
    damage: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether all files were verified, and are what was written."""
        return self.verified == self.files


def needed_first(manifest: Manifest, indexes: Iterable[str]) -> set[str]:
    """The files that a server reads before it answers: all but vectors, and what callers have to ask for.

    `indexes` are the paths of those that it searches. Vectors of images that no index has are needed: their ids are
    there alone.
    """
    found = {*manifest.images, *manifest.tombstones, *indexes}
    for clustering in manifest.clusterings.values():
        found.update(clustering.files, clustering.assignments)
    for model in manifest.models.values():
        found.update(model.files)
    for attributes in manifest.attributes.values():
        found.update(attributes.parts)
    found.update(index.ids for index in manifest.indexes.values() if index.ids)
    known = index_ids.places(manifest).keys()
    for space in manifest.spaces.values():
        found.update(path for path in space.parts if path not in known)
    return found


def of_other_shards(manifest: Manifest, share: Share | None) -> frozenset[str]:
    """The vectors that a server of one share reads for few calls, if ever; for None all, as a router has no share."""
    found: set[str] = set()
    for name, space in manifest.spaces.items():
        counts = [manifest.files[path].rows or 0 for path in space.parts]
        ends = list(itertools.accumulate(counts))
        # Rows of the space, and those that an index of some of its parts has.
        totals = {sum(counts), *(entry.rows for entry in manifest.indexes.values() if entry.space == name)}
        own = [] if share is None else [share.range_of(rows) for rows in totals]
        found.update(
            path
            for path, rows, end in zip(space.parts, counts, ends, strict=True)
            if not any(start < end and end - rows < stop for start, stop in own)
        )
    return frozenset(found)


def read_by_experiments(manifest: Manifest, spaces: Collection[str] = ()) -> dict[str, set[str]]:
    """The files that an experiment may read, by space; those of no space as "".

    Some `spaces`: no embedding and no graph of another one is read.
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
    """Verifies each of some files once, for the first who needs it; from any thread."""

    def __init__(
        self,
        paths: Collection[str],
        others: int,
        verify: Callable[[str], object],
        unhurried: Collection[str] = (),
    ) -> None:
        """`others` is the number of the generation's files that were verified before.

        Files of `paths` that are `unhurried` are verified for those who need them alone.
        `verify` raises DataLossError when a file is not what was written.
        """
        self._paths = frozenset(paths)
        self._unhurried = self._paths.intersection(unhurried)
        self._others = others
        self._verify = verify
        self._lock = threading.Lock()
        self._outcomes: dict[str, Future[None]] = {}
        # What `verify_all` hashes now and nobody has asked for meanwhile.
        self._in_background: set[str] = set()
        self._verified = 0
        self._damage = ""
        self._groups: dict[str, Future[IndexerError | None]] = {}
        self._stopped = threading.Event()

    @property
    def progress(self) -> Progress:
        """How far it is now."""
        with self._lock:
            files = len(self._paths) - len(self._unhurried) + self._others
            return Progress(files, self._verified + self._others, self._damage)

    def require(self, path: str) -> None:
        """Return once a file was verified; one that need not be is right. DataLossError: it is not what was written."""
        if path in self._paths:
            self._require(path)

    def _require(self, path: str, *, in_background: bool = False) -> None:
        with self._lock:
            outcome = self._outcomes.get(path)
            # A thread of low priority may take minutes on a busy machine, and its priority cannot be raised again: who
            # needs its file verifies it, too, and the first to end tells all others.
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
            # Another one for each caller, since raising an error adds to it.
            raise type(error)(*error.args)

    @property
    def is_settled(self) -> bool:
        """Whether every file was verified, also those that are unhurried, and is right."""
        with self._lock:
            return len(self._outcomes) == len(self._paths) and all(
                outcome.done() and outcome.exception() is None for outcome in self._outcomes.values()
            )

    def required(self, group: str, paths: Iterable[str]) -> Future[IndexerError | None]:
        """Require the files of a group in a thread of its own; the first error, or None.

        Callers who ask for a group while it is under way wait for the same thread.
        """
        with self._lock:
            known = self._groups.get(group)
            if known is not None:
                return known
            found = self._groups[group] = Future()
            # A caller who leaves ends nothing for the others.
            found.set_running_or_notify_cancel()
        wanted = sorted(self._paths.intersection(paths))
        threading.Thread(target=self._require_group, args=(group, wanted, found), name="verify", daemon=True).start()
        return found

    def verify_all(self) -> None:
        """Verify what nobody has needed yet, until `stop`; what is damaged is logged.

        Files that the system does not let it read are tried again after a pause.
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
                    log.error("%s Calls that need this file are refused. Run `lookalike verify` to mend it.", error)
                except IndexerError as error:
                    unread.append(path)
                    if path not in told:
                        told.add(path)
                        log.warning("%s The server tries to verify this file again every %g s.", error, _RETRY_S)
            waiting = unread
            if waiting and self._stopped.wait(_RETRY_S):
                return

    def stop(self) -> None:
        """Verify no further file but those that are needed."""
        self._stopped.set()

    def _require_group(self, group: str, paths: Iterable[str], found: Future[IndexerError | None]) -> None:
        outcome: IndexerError | None = None
        try:
            for path in paths:
                if self._stopped.is_set():
                    outcome = DeviceError("This generation is no longer served; ask again.")
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
                # The system may let it be read the next time.
                del self._outcomes[path]
            outcome.set_exception(failure)
