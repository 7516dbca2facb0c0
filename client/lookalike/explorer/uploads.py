"""Uploaded images, kept in memory so that a URL can name them.

An image is named by its digest, so the same image has the same URL. The memory is
bounded: the image of an old URL may have to be uploaded again.
"""

from __future__ import annotations

import hashlib
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from lookalike import InvalidArgumentError, MessageTooLargeError, NotFoundError
from lookalike.explorer import parameters
from lookalike.explorer.lru import ByteLru

# Only these types are returned, detected from the content, so that no upload can act as a page of this site.
_TYPES: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_NAME: Final = 32


class Uploads:
    """Uploaded images by name; `one` bounds the bytes of one image."""

    def __init__(self, bound: int, one: int) -> None:
        self._held: ByteLru[str] = ByteLru(bound)
        self._one = one

    async def receive(self, request: Request) -> str:
        """Store the image in the request's body and return its name.

        MessageTooLargeError: the body exceeds the bound, which is checked while it is read.
        InvalidArgumentError: the body is in none of the supported formats.
        """
        length = request.headers.get("content-length", "")
        if length and parameters.checked_integer("Content-Length", length, 0, 2**62) > self._one:
            raise self._too_large()
        data = bytearray()
        try:
            async for chunk in request.stream():
                data += chunk
                if len(data) > self._one:
                    raise self._too_large()
        except ClientDisconnect as error:
            raise InvalidArgumentError("The upload of the image was incomplete.") from error
        image = bytes(data)
        if media_type(image) is None:
            raise InvalidArgumentError("This file is no supported image: use JPEG, PNG, WebP, GIF, BMP or TIFF.")
        name = hashlib.sha256(image).hexdigest()[:_NAME]
        self._held.put(name, image)
        return name

    def get(self, name: str) -> bytes:
        """Return an image by name; NotFoundError if it has been evicted."""
        image = self._held.get(name)
        if image is None:
            raise NotFoundError("The image of this address is no longer here: drop it on the page again.")
        return image

    def _too_large(self) -> MessageTooLargeError:
        return MessageTooLargeError(f"The image is larger than {self._one >> 20} MB, the most that is taken.")


def media_type(image: bytes) -> str | None:
    """Return the media type of a file by its first bytes; None for other formats."""
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    return next((name for start, name in _TYPES if image.startswith(start)), None)


async def post_upload(request: Request) -> Response:
    """Store the image in the body and return its name."""
    await request.app.state.callers.admit(request)
    return JSONResponse({"upload": await request.app.state.uploads.receive(request)})


async def get_upload(request: Request) -> Response:
    """Return an uploaded image, to show beside its neighbors."""
    await request.app.state.callers.admit(request)
    image = request.app.state.uploads.get(request.path_params["name"])
    headers = {
        "Cache-Control": "private, max-age=3600",
        "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    }
    return Response(image, media_type=media_type(image), headers=headers)
