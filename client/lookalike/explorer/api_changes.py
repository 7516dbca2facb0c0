"""Changes of the collection with undo, for callers whose token has the role write.

Every visitor of a page on loopback may read, but not change anything: the page does not use the local secret of the
user who runs it. A change needs the token of a login, or the token that the page was started with.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from lookalike import (
    AuthenticationError,
    FailedPreconditionError,
    GenerationChangedError,
    InvalidArgumentError,
    MessageTooLargeError,
    NotFoundError,
    StoredImage,
    UnimplementedError,
)
from lookalike.aio import Client
from lookalike.explorer import parameters

_MOST: Final = 1000
_BODY_BYTES: Final = 1 << 18
_TOO_LATE: Final = "The change is part of a generation now and cannot be taken back."


async def get_changes(request: Request) -> Response:
    """Return whether the caller `may` change the collection, and `why` not, "" if it may.

    `why` is "read-only" for a read-only server, "login" without a token, or "role" without the role write. A change
    can be undone while `generation` is served.
    """
    client: Client = request.app.state.callers.require(request)
    why = await _lacking(request)
    return JSONResponse({"may": not why, "why": why, "generation": (await client.info()).generation})


async def post_add(request: Request) -> Response:
    """Add the image in the body, or the uploaded one named `upload`, under a `key`, with a `label`.

    Returns its `id`, whether another image was `replaced`, and `undo`. With the parameter `new`, a key that is in use
    is rejected.
    """
    client: Client = request.app.state.callers.writer(request)
    key, label = parameters.text(request, "key"), parameters.text(request, "label", "")
    if not key:
        raise InvalidArgumentError("An image needs a key, such as its path: animals/cat.jpg.")
    uploads = request.app.state.uploads
    image = uploads.get(parameters.text(request, "upload", "") or await uploads.receive(request))
    before = await _image_of_key(client, key)
    if before is not None and "new" in request.query_params:
        raise InvalidArgumentError(
            f"The collection has an image with the key {key!r} already; add it under another key."
        )
    generation = (await client.info()).generation
    done = await client.upsert(images={key: image}, labels={key: label})
    if done.rejects:
        raise InvalidArgumentError(done.rejects[key])
    new = int(done.ids[0])
    undo = {"generation": generation, "delete": [new], "restore": [] if before is None else [before.id]}
    return JSONResponse({"id": new, "replaced": before is not None, "sequence": done.sequence, "undo": undo})


async def post_delete(request: Request) -> Response:
    """Delete the images `ids` of the body; return the number `deleted`, and `undo`."""
    client: Client = request.app.state.callers.writer(request)
    images = await _existing(client, _ids(await _body(request), "ids"))
    generation = (await client.info()).generation
    if images:
        await client.delete(keys=[each.key for each in images])
    undo = {"generation": generation, "restore": [each.id for each in images]}
    return JSONResponse({"deleted": len(images), "undo": undo})


async def post_label(request: Request) -> Response:
    """Set the `label` of the images `ids` of the body, "" for none; return the number `changed`, and `undo`."""
    client: Client = request.app.state.callers.writer(request)
    body = await _body(request)
    label = body.get("label")
    if not isinstance(label, str):
        raise InvalidArgumentError("The body has no label; an empty one means none.")
    images = [each for each in await _existing(client, _ids(body, "ids")) if (each.label or "") != label]
    generation = (await client.info()).generation
    if images:
        await client.set(keys=[each.key for each in images], label=label)
    before: dict[str, list[int]] = defaultdict(list)
    for each in images:
        before[each.label or ""].append(each.id)
    undo = {"generation": generation, "labels": [{"label": name, "ids": ids} for name, ids in before.items()]}
    return JSONResponse({"changed": len(images), "undo": undo})


async def post_undo(request: Request) -> Response:
    """Undo a change until a new generation contains it; the body is the `undo` that the change returned."""
    client: Client = request.app.state.callers.writer(request)
    body = await _body(request)
    if body.get("generation") != (await client.info()).generation:
        raise GenerationChangedError(_TOO_LATE)
    added = await _existing(client, _ids(body, "delete", []))
    if added:
        await client.delete(keys=[each.key for each in added])
    deleted = _ids(body, "restore", [])
    restored = (await client.restore(ids=deleted)).restored if deleted else 0
    labels = body.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(each, dict) for each in labels):
        raise InvalidArgumentError("labels must be a list of objects with label and ids.")
    for each in labels:
        images = await _existing(client, _ids(each, "ids"))
        if images:
            await client.set(keys=[image.key for image in images], label=str(each.get("label", "")))
    if restored < len(deleted):
        raise FailedPreconditionError(
            f"{restored} of {len(deleted)} images came back; the keys of the others have other images now, or their "
            "deletion is part of a generation."
        )
    return JSONResponse({"undone": True})


async def _lacking(request: Request) -> str:
    """Return the reason why a caller may not change the collection, "" if it may; see get_changes."""
    try:
        client = request.app.state.callers.writer(request)
        await client.restore(ids=[])
    except AuthenticationError:
        return "role" if request.app.state.callers.has_token(request) else "login"
    except (FailedPreconditionError, UnimplementedError):
        return "read-only"
    return ""


async def _body(request: Request) -> dict[str, Any]:
    """Read the body as a JSON object; MessageTooLargeError, InvalidArgumentError."""
    data = bytearray()
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > _BODY_BYTES:
                raise MessageTooLargeError(f"The request is larger than {_BODY_BYTES >> 10} kB; name fewer images.")
    except ClientDisconnect as error:
        raise InvalidArgumentError("The request was incomplete.") from error
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError("The body is no JSON.") from error
    if not isinstance(body, dict):
        raise InvalidArgumentError("The body is no JSON object.")
    return body


def _ids(body: dict[str, Any], name: str, default: list[int] | None = None) -> list[int]:
    ids = body.get(name, default)
    right = isinstance(ids, list) and all(type(each) is int and -(2**63) <= each < 2**63 for each in ids)
    if not isinstance(ids, list) or not right:
        raise InvalidArgumentError(f"{name} must be a list of ids of images.")
    if len(ids) > _MOST:
        raise InvalidArgumentError(f"{name} has {len(ids)} ids; {_MOST} are the most.")
    return list(dict.fromkeys(ids))


async def _existing(client: Client, ids: list[int]) -> list[StoredImage]:
    """Return those of the images that exist."""
    if not ids:
        return []
    try:
        return list(await client.lookup(ids=ids))
    except NotFoundError:
        if len(ids) == 1:
            return []
    half = len(ids) // 2
    parts = await asyncio.gather(_existing(client, ids[:half]), _existing(client, ids[half:]))
    return [image for part in parts for image in part]


async def _image_of_key(client: Client, key: str) -> StoredImage | None:
    try:
        return await client.lookup(key=key)
    except NotFoundError:
        return None
