"""Split a request of any number of rows into as many calls as the server's limits require."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import numpy as np

from lookalike._arguments import Progress
from lookalike._calls import Call, as_count
from lookalike._errors import InvalidArgumentError, LookalikeError, MessageTooLargeError
from lookalike._images import is_single, picture_bytes, takes_long
from lookalike._joining import Part, Sourced
from lookalike._queries import floats, several
from lookalike._server import Limits

Result = TypeVar("Result")

_PLURAL: Final = ("keys", "ids", "images", "vectors", "texts")
# Default limits of a server. Only a server that rejects a call is asked for its actual limits.
_USUAL: Final = {"max_batch": 256, "max_page_size": 1000}
# Larger messages delay the other calls of a server.
_USUAL_BYTES: Final = 16 << 20
# Bytes of the largest message that are reserved for the rest of the request.
_AROUND_BYTES: Final = 1 << 16
# Error messages about a row begin like this, both the client's and the server's.
_ROW: Final = re.compile(r"^(Query|Image|Picture|Text) (\d+)\b")


@dataclass(frozen=True)
class Job(Generic[Result]):
    """A request of one or more rows: the arguments `given`, the function `make` that builds a call, and a joiner.

    `limit` names the server limit that bounds the rows of a call. `batch_size` is the caller's own bound. `space` is
    the space of a search; if its distances are cosine distances, each query vector needs a direction.
    """

    given: Mapping[str, Any]
    make: Callable[[Mapping[str, Any]], Call[Any]]
    join: Callable[[Sequence[Part]], Result]
    limit: Literal["max_batch", "max_page_size"] = "max_batch"
    batch_size: int | None = None
    progress: Progress = False
    space: str | None = None

    @property
    def kind(self) -> str | None:
        """The argument that holds the rows; None for a single row, and for arguments that `make` rejects."""
        named = [name for name in _PLURAL if self.given.get(name) is not None]
        return named[0] if len(named) == 1 and self.given.get("not_keys") is None else None

    @property
    def takes_long(self) -> bool:
        """True if images must be read or encoded, which would block an event loop for too long."""
        return takes_long(self.given)


class Parts(Generic[Result]):
    """The calls of a job, built one by one, and their results."""

    def __init__(self, job: Job[Result]) -> None:
        self._job = job
        self._kind = job.kind
        self._rows: Any = None
        self._boxes: list[Any] | None = None
        usual = _USUAL[job.limit]
        self._most = usual if job.batch_size is None else as_count("batch_size", job.batch_size, 1)
        self._most_bytes = _USUAL_BYTES
        self._limits: Limits | None = None
        self._start = self._end = self._bytes = 0
        self._done: list[Part] = []
        self._show: Callable[[int, int], object] | None = None

    def next(self) -> Call[Any] | None:
        """Return the next call; None after the last one. Raise InvalidArgumentError for rows that cannot be sent."""
        if self._show is None:
            self._rows = _rows(self._kind, self._job.given)
            self._boxes = _boxes(self._job.given, self._rows)
            self._show = _shown(self._job.progress, self._total)
        self._start = self._end
        if self._start >= self._total:
            return None
        if self._rows is None:
            self._end = 1
            return self._job.make(self._job.given)
        chosen = self._chosen()
        given = {**self._job.given, str(self._kind): chosen}
        self._end = self._start + len(chosen)
        if self._boxes is not None:
            given["boxes"] = self._boxes[self._start : self._end]
        try:
            return self._job.make(given)
        except LookalikeError as error:
            told = self.renumbered(error)
            if told is error:
                raise
            raise told from error

    def refused(self, error: LookalikeError) -> bool:
        """Return True if the call may exceed the server's limits and the limits are not known yet."""
        return isinstance(error, InvalidArgumentError) and self._limits is None and self._end - self._start > 1

    def exceed(self, limits: Limits) -> bool:
        """Apply `limits`; return True if the last call exceeded them and its rows are sent again."""
        self._limits = limits
        rows = self._end - self._start
        self._most = min(self._most, int(getattr(limits, self._job.limit)) or self._most)
        bounds = [bound for bound in (limits.max_message_bytes, limits.max_queue_bytes) if bound]
        self._most_bytes = max(1, min([self._most_bytes, *(bound - _AROUND_BYTES for bound in bounds)]))
        if rows <= self._most and self._bytes <= self._most_bytes:
            return False
        self._end = self._start
        return True

    def halved(self, error: LookalikeError) -> bool:
        """Return True if the last call was too large for one message; its rows are sent again in half as many."""
        rows = self._end - self._start
        if not isinstance(error, MessageTooLargeError) or rows < 2:
            return False
        self._most = rows // 2
        self._end = self._start
        return True

    def row(self, row: int) -> int:
        """Return the row in the whole request of a row of the last call."""
        return self._start + row

    def renumbered(self, error: LookalikeError) -> LookalikeError:
        """Return the error of the last call with the row number of the whole request."""
        sentence = _renumbered(str(error), self._start)
        if sentence == str(error):
            return error
        return type(error)(sentence, code=error.code, retry_after=error.retry_after, request_id=error.request_id)

    def add(self, result: Any) -> None:
        """Add the result of the last call."""
        result, source = result if isinstance(result, Sourced) else (result, "")
        errors = getattr(result, "errors", None)
        if errors and self._start:
            told = {row: _renumbered(why, self._start) for row, why in errors.items()}
            result = dataclasses.replace(result, errors=told)
        self._done.append(Part(self._start, result, source))
        if self._kind == "images" and self._rows is not None:
            self._rows[self._start : self._end] = [None] * (self._end - self._start)  # free the bytes of streams
        if self._show is not None:
            self._show(self._end, self._total)

    def joined(self) -> Result:
        """Join the results of all calls."""
        if len(self._done) == 1:
            only: Result = self._done[0].result
            return only
        return self._job.join(self._done)

    @property
    def _total(self) -> int:
        return 1 if self._rows is None else len(self._rows)

    def _chosen(self) -> Any:
        """Return the rows of the next call."""
        some = self._rows[self._start : self._start + self._most]
        if isinstance(some, np.ndarray):
            some = some[: max(1, self._most_bytes // max(1, some[0].nbytes))]
            self._bytes = some.nbytes
            return some
        if self._kind != "images":
            return some
        pictures: list[Any] = []
        self._bytes = 0
        for row, picture in enumerate(some, self._start):
            # Read here, since only the bytes tell the size. `make` reports an image that cannot be read.
            read = _read(picture)
            size = len(read) if isinstance(read, bytes) else 0
            if hasattr(picture, "read"):
                self._rows[row] = read  # a stream can be read only once, and the call may be split
            if pictures and self._bytes + size > self._most_bytes:
                break
            self._bytes += size
            pictures.append(read)
        return pictures


def _rows(kind: str | None, given: Mapping[str, Any]) -> Any:
    """Return the rows as a list or an array; None for a single row, and for invalid rows, which `make` rejects."""
    if kind is None:
        return None
    if kind == "vectors":
        return floats("vectors", given["vectors"], 2)
    if kind == "images" and is_single(given["images"]):
        return None
    return several(kind, given[kind])


def _boxes(given: Mapping[str, Any], rows: Any) -> list[Any] | None:
    boxes = given.get("boxes")
    if boxes is None or rows is None:
        return None
    listed = several("boxes", boxes)
    if len(listed) != len(rows):
        raise InvalidArgumentError(f"boxes= has {len(listed)} boxes for {len(rows)} images.")
    return listed


def _read(picture: Any) -> Any:
    try:
        return picture_bytes(picture)
    except InvalidArgumentError:
        return picture


def _renumbered(sentence: str, start: int) -> str:
    return _ROW.sub(lambda found: f"{found[1]} {int(found[2]) + start}", sentence)


def _shown(progress: Progress, total: int) -> Callable[[int, int], object]:
    if callable(progress):
        return progress
    if not progress:
        return lambda done, total: None
    try:
        tqdm = importlib.import_module("tqdm")
    except ImportError as error:
        raise InvalidArgumentError(
            "progress=True draws a bar by tqdm, which is not installed: pip install tqdm, or give a function."
        ) from error
    bar = tqdm.tqdm(total=total, unit="row")

    def show(done: int, total: int) -> None:
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return show
