"""Pictures that were dropped on the page, held so that its address can name them.

A picture is named by its digest, so the same picture has the same address. They
are in memory only, up to a bound: an old address may have to be dropped anew.
"""

from __future__ import annotations

import hashlib
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from lookalike import InvalidArgumentError, MessageTooLargeError, NotFoundError
from lookalike.explorer import asked
from lookalike.explorer.lru import ByteLru

# Only these are sent back, and as what they begin like, so that no dropped file becomes a page of this site.
_TYPES: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_NAME: Final = 32


class Pictures:
    """The dropped pictures by name; `one` bounds the bytes of a picture."""

    def __init__(self, bound: int, one: int) -> None:
        self._held: ByteLru[str] = ByteLru(bound)
        self._one = one

    async def take(self, request: Request) -> str:
        """The name of the picture that is the request's body.

        MessageTooLargeError before more than the bound was read;
        InvalidArgumentError when it is none of the formats.
        """
        length = request.headers.get("content-length", "")
        if length and asked.checked_integer("Content-Length", length, 0, 2**62) > self._one:
            raise self._too_large()
        data = bytearray()
        try:
            async for chunk in request.stream():
                data += chunk
                if len(data) > self._one:
                    raise self._too_large()
        except ClientDisconnect as error:
            raise InvalidArgumentError("The picture did not come whole.") from error
        picture = bytes(data)
        if media_type(picture) is None:
            raise InvalidArgumentError(
                "This file is no picture that can be looked for: JPEG, PNG, WebP, GIF, BMP and TIFF are."
            )
        name = hashlib.sha256(picture).hexdigest()[:_NAME]
        self._held.put(name, picture)
        return name

    def get(self, name: str) -> bytes:
        """A picture by name; NotFoundError when it is not held any more."""
        picture = self._held.get(name)
        if picture is None:
            raise NotFoundError("The picture of this address is no longer here: drop it on the page again.")
        return picture

    def _too_large(self) -> MessageTooLargeError:
        return MessageTooLargeError(f"The picture is larger than {self._one >> 20} MB, the most that is taken.")


def media_type(picture: bytes) -> str | None:
    """What a file begins like; None when that is none of the picture formats."""
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        return "image/webp"
    return next((name for start, name in _TYPES if picture.startswith(start)), None)


async def post_picture(request: Request) -> Response:
    """Hold the picture in the body, and tell its name."""
    await request.app.state.callers.admit(request)
    return JSONResponse({"picture": await request.app.state.pictures.take(request)})


async def get_picture(request: Request) -> Response:
    """A held picture, to be shown beside its neighbors."""
    await request.app.state.callers.admit(request)
    picture = request.app.state.pictures.get(request.path_params["name"])
    headers = {
        "Cache-Control": "private, max-age=3600",
        "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    }
    return Response(picture, media_type=media_type(picture), headers=headers)
