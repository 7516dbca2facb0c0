"""Thumbnails of stored images, cached in memory up to a bound, and by the browser.

A page requests dozens of thumbnails at the same moment, one by one. Requests that
arrive together are sent to the server in one call.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from lookalike import LookalikeError, NotFoundError
from lookalike.aio import Client
from lookalike.explorer import parameters
from lookalike.explorer.callers import Callers
from lookalike.explorer.lru import ByteLru

SIZES: Final = (64, 160, 320, 512)
# Long enough to collect the requests of one page, too short to be noticed.
_GATHER_S: Final = 0.003
_BATCH: Final = 32

ThumbnailKey = tuple[str, int, int]  # the collection's tag, the image's id, the size


class Thumbnails:
    """Cache of one server's thumbnails, with batched calls."""

    def __init__(self, bound: int) -> None:
        self._held: ByteLru[ThumbnailKey] = ByteLru(bound)
        self._under_way: dict[ThumbnailKey, asyncio.Future[bytes]] = {}
        self._waiting: dict[tuple[Client, int], list[ThumbnailKey]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, client: Client, tag: str, image_id: int, size: int) -> bytes:
        """Return a JPEG, b"" if the source can no longer be read; errors as Client.thumbnails."""
        wanted = (tag, image_id, size)
        held = self._held.get(wanted)
        if held is not None:
            return held
        future = self._under_way.get(wanted)
        if future is None:
            future = self._under_way[wanted] = asyncio.get_running_loop().create_future()
            self._enqueue(client, wanted)
        # A request that is canceled must not cancel the call that others wait for.
        return await asyncio.shield(future)

    def _enqueue(self, client: Client, wanted: ThumbnailKey) -> None:
        group = (client, wanted[2])
        waiting = self._waiting.setdefault(group, [])
        waiting.append(wanted)
        if len(waiting) == 1:
            task = asyncio.create_task(self._gather(group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _gather(self, group: tuple[Client, int]) -> None:
        await asyncio.sleep(_GATHER_S)
        wanted = self._waiting.pop(group)
        batches = [wanted[first : first + _BATCH] for first in range(0, len(wanted), _BATCH)]
        await asyncio.gather(*(self._fetch(*group, batch) for batch in batches))

    async def _fetch(self, client: Client, size: int, batch: list[ThumbnailKey]) -> None:
        try:
            made = await client.thumbnails([image_id for _, image_id, _ in batch], size=size)
        except NotFoundError as error:
            if len(batch) == 1:
                self._fail(batch, error)
            else:  # an unknown id must not fail the others
                await asyncio.gather(*(self._fetch(client, size, [each]) for each in batch))
        except (LookalikeError, asyncio.CancelledError) as error:
            self._fail(batch, error)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            for wanted, jpeg in zip(batch, made.jpegs, strict=True):
                if jpeg:  # not cached otherwise, since the source may become readable again
                    self._held.put(wanted, jpeg)
                self._under_way.pop(wanted).set_result(jpeg or b"")

    def _fail(self, batch: list[ThumbnailKey], error: BaseException) -> None:
        for wanted in batch:
            future = self._under_way.pop(wanted)
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
                future.exception()  # mark as retrieved, even if nobody waits any more


async def get_thumbnail(request: Request) -> Response:
    """Return the thumbnail /thumbnails/{tag}/{id}/{size}.jpg; the tag changes with the collection."""
    callers: Callers = request.app.state.callers
    client = await callers.admit(request)
    tag = request.path_params["tag"]
    image_id, size = request.path_params["id"], request.path_params["size"]
    if size not in SIZES:
        parameters.checked_integer("size", str(size), *SIZES[:1] * 2)
    etag = f'"{tag}-{image_id}-{size}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=86400, stale-while-revalidate=604800"}
    if etag in (each.strip() for each in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    # The tag in the URL may be another collection's.
    jpeg = await request.app.state.thumbnails.get(client, callers.tag(client), image_id, size)
    if not jpeg:
        raise NotFoundError(f"The file of image {image_id} can no longer be read.")
    return Response(jpeg, media_type="image/jpeg", headers=headers)
