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
from lookalike_indexer.errors import DataLossError, IndexerError
from lookalike_server.common.share import Share

log = logging.getLogger(__name__)


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
        self._verified = 0
        self._damage = ""
        self._stopped = False

    @property
    def progress(self) -> Progress:
        """How far it is now."""
        with self._lock:
            files = len(self._paths) - len(self._unhurried) + self._others
            return Progress(files, self._verified + self._others, self._damage)

    def require(self, path: str) -> None:
        """Return once a file was verified; one that need not be is right. DataLossError: it is not what was written."""
        if path not in self._paths:
            return
        with self._lock:
            outcome = self._outcomes.get(path)
            is_first = outcome is None
            if outcome is None:
                outcome = self._outcomes[path] = Future()
        if is_first:
            self._settle(path, outcome)
        error = outcome.exception()
        if error is not None:
            # Another one for each caller, since raising an error adds to it.
            raise type(error)(*error.args)

    def verify_all(self) -> None:
        """Verify what nobody has needed yet, until `stop`; what is damaged is logged."""
        for path in sorted(self._paths - self._unhurried):
            if self._stopped:
                return
            try:
                self.require(path)
            except IndexerError as error:
                log.error("%s Calls that need this file are refused. Run `lookalike verify` to mend it.", error)

    def stop(self) -> None:
        """Verify no further file but those that are needed."""
        self._stopped = True

    def _settle(self, path: str, outcome: Future[None]) -> None:
        try:
            self._verify(path)
        except DataLossError as error:
            with self._lock:
                self._damage = self._damage or str(error)
            outcome.set_exception(error)
        except BaseException as error:
            # The system may let it be read the next time.
            with self._lock:
                del self._outcomes[path]
            outcome.set_exception(error)
        else:
            with self._lock:
                self._verified += path not in self._unhurried
            outcome.set_result(None)
