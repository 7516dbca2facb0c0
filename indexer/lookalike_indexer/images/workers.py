"""Decoding in worker processes, concurrent with the network.

An image that crashes its worker, or exceeds the timeout, affects only itself: the other images of its chunk are retried
one by one. Results are in the requested order, and their number in memory is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Generic, TypeVar

from pebble import ProcessExpired

from lookalike_indexer.collection.limits import DEFAULT_LIMITS, ImageLimits
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import UsageError
from lookalike_indexer.images.image_box import Boxed
from lookalike_indexer.images.isolated_pool import IsolatedPool
from lookalike_indexer.images.prepare import (
    Encoded,
    Expected,
    ImageRequest,
    Prepared,
    Rejected,
    prepare,
    prepare_for_gpu,
)

# The limit of pending encoded images that are passed as bytes, for example from a Parquet file; one chunk may exceed
# it.
BYTES_AHEAD = 256 << 20

T = TypeVar("T")
R = TypeVar("R")
Result = Prepared | Rejected
Passed = Prepared | Encoded | Rejected


@dataclass(frozen=True)
class PoolSettings:
    """Settings of `workers` processes; an image may take `timeout` seconds; `chunk` images make one task.

    With `leave_jpegs`, streams pass on encoded images that a GPU can decode. The workers have a low priority by
    default: the threads of a network on the same CPU synchronize in every layer, so that a worker that displaces one of
    them delays all.
    """

    workers: int
    timeout: float = 30.0
    limits: ImageLimits = DEFAULT_LIMITS
    chunk: int = 4
    niceness: int = 10
    leave_jpegs: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1 or self.chunk < 1 or not self.timeout > 0:
            raise UsageError("Decoding needs at least one worker and a time limit of more than 0 seconds.")


@dataclass(frozen=True)
class _Chunk(Generic[T]):
    tags: list[T]
    images: list[ImageRequest]
    future: Future[Sequence[Passed]]

    @property
    def image_bytes(self) -> int:
        """The total size of its encoded images in bytes."""
        given = (image.image if isinstance(image, Expected) else image for image in self.images)
        return sum(len(image) for image in given if isinstance(image, bytes))


class DecodePool:
    """Worker processes that prepare images for one kind of preprocessing."""

    def __init__(self, settings: PoolSettings, spec: PreprocessingSpec) -> None:
        self._settings = settings
        self._spec = spec
        self._pool = IsolatedPool(settings.workers, settings.niceness, settings.limits)

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers; running tasks are lost."""
        self._pool.close()

    def stream(self, images: Iterable[tuple[T, ImageRequest]], ahead: int) -> Iterator[tuple[T, Passed]]:
        """Prepare tagged images in order; at most `ahead` images are in progress or wait for the caller.

        There are fewer if encoded images take more than BYTES_AHEAD. An already rejected image is returned unchanged.
        """
        source = iter(images)
        waiting: deque[_Chunk[T]] = deque()
        chunks = max(1, ahead // self._settings.chunk)
        held = 0
        try:
            while True:
                while (
                    len(waiting) < chunks
                    and held <= BYTES_AHEAD
                    and (taken := list(islice(source, self._settings.chunk)))
                ):
                    waiting.append(self._submit(taken))
                    held += waiting[-1].image_bytes
                if not waiting:
                    return
                chunk = waiting.popleft()
                held -= chunk.image_bytes
                yield from zip(chunk.tags, self._results(chunk), strict=True)
        finally:
            for chunk in waiting:
                chunk.future.cancel()

    def prepare(self, images: Sequence[bytes | Boxed]) -> list[Result]:
        """Prepare a few encoded images, or regions of them, each as a separate task."""
        futures = [self._schedule([image]) for image in images]
        return [self._run_one(image, future) for image, future in zip(images, futures, strict=True)]

    def _submit(self, taken: list[tuple[T, ImageRequest]]) -> _Chunk[T]:
        images = [image for _, image in taken]
        function: Callable[..., Sequence[Passed]] = _prepare_all_for_gpu if self._settings.leave_jpegs else _prepare_all
        arguments = images, self._spec, self._settings.limits
        future = self._pool.schedule(function, arguments, self._settings.timeout)
        return _Chunk([tag for tag, _ in taken], images, future)

    def _schedule(self, images: Sequence[ImageRequest]) -> Future[Sequence[Result]]:
        return self._pool.schedule(_prepare_all, (images, self._spec, self._settings.limits), self._settings.timeout)

    def _results(self, chunk: _Chunk[T]) -> Sequence[Passed]:
        try:
            return chunk.future.result()
        except (ProcessExpired, BrokenProcessPool, FutureTimeoutError):
            if len(chunk.images) == 1:
                return [self._run_one(chunk.images[0], chunk.future)]
        # One image of the chunk is at fault; retry each of them alone.
        alone: list[Result] = [self._run_one(image, self._schedule([image])) for image in chunk.images]
        return alone

    def _run_one(self, image: ImageRequest, future: Future[Sequence[R]]) -> R | Result:
        try:
            return self._answer(image, future)
        except (ProcessExpired, BrokenProcessPool):
            return Rejected("the decoder crashed", "crashed")
        except FutureTimeoutError:
            return Rejected(f"decoding took longer than {self._settings.timeout:g} s", "timeout")

    def _answer(self, image: ImageRequest, future: Future[Sequence[R]]) -> R | Result:
        try:
            return future.result()[0]
        except BrokenProcessPool:
            # An idle worker was killed, which lost the work of all others.
            return self._schedule([image]).result()[0]


def _prepare_all(images: list[ImageRequest], spec: PreprocessingSpec, limits: ImageLimits) -> list[Result]:
    return [prepare(image, spec, limits) for image in images]


def _prepare_all_for_gpu(images: list[ImageRequest], spec: PreprocessingSpec, limits: ImageLimits) -> list[Passed]:
    return [prepare_for_gpu(image, spec, limits) for image in images]
