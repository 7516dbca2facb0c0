"""Conversion of errors to HTTP replies: a status, and a sentence for the page."""

from __future__ import annotations

from grpc import StatusCode
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

import lookalike
from lookalike.explorer.callers import Callers

# The first class that matches applies; `kind` tells the page how to react.
_STATUS: tuple[tuple[type[lookalike.LookalikeError], int, str], ...] = (
    (lookalike.MessageTooLargeError, 413, "wrong"),
    (lookalike.InvalidArgumentError, 400, "wrong"),
    (lookalike.NotFoundError, 404, "missing"),
    (lookalike.GenerationChangedError, 409, "changed"),
    (lookalike.FailedPreconditionError, 409, "not-built"),
    (lookalike.UnimplementedError, 501, "not-built"),
    (lookalike.OverloadedError, 429, "busy"),
    (lookalike.AuthenticationError, 401, "login"),
    (lookalike.UnavailableError, 503, "gone"),
    (lookalike.DeadlineExceededError, 504, "slow"),
    (lookalike.CallCancelledError, 503, "gone"),
)


def to_response(error: lookalike.LookalikeError) -> JSONResponse:
    """Return the reply for a failed call."""
    status, kind = next(((code, name) for cls, code, name in _STATUS if isinstance(error, cls)), (502, "failed"))
    headers = {"Retry-After": f"{max(1, round(error.retry_after))}"} if error.retry_after is not None else None
    return JSONResponse({"error": str(error), "kind": kind}, status, headers)


async def on_lookalike_error(request: Request, error: Exception) -> JSONResponse:
    """Handle errors of the client for Starlette."""
    if not isinstance(error, lookalike.LookalikeError):
        raise error
    if isinstance(error, lookalike.AuthenticationError):
        callers: Callers = request.app.state.callers
        if error.code is StatusCode.PERMISSION_DENIED and callers.is_logged_in(request):
            # The token is valid. It does not allow this call, for example for this collection.
            return JSONResponse({"error": str(error), "kind": "denied"}, 403)
        callers.forget(request)
    if isinstance(error, lookalike.UnavailableError) and (problem := await _problem_of_collection(request)):
        return JSONResponse({"error": problem, "kind": "not-loaded"}, 503)
    return to_response(error)


async def _problem_of_collection(request: Request) -> str:
    """Return the reason why a request's collection is not loaded; "" if it is, or if the server is unavailable."""
    try:
        client = request.app.state.callers.require(request)
        collections = await client.collections()
    except lookalike.LookalikeError:
        return ""
    name = request.query_params.get("collection", "")
    # For "", the server uses its first collection.
    meant = (each for each in collections if each.name == name or not name)
    found = next(meant, None)
    return found.problem if found else ""


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """Handle unknown URLs and methods for Starlette."""
    if not isinstance(error, HTTPException):
        raise error
    sentence = error.detail if error.detail.endswith(".") else f"{request.url.path}: {error.detail}."
    kind = "missing" if error.status_code == 404 else "wrong"
    return JSONResponse({"error": sentence, "kind": kind}, error.status_code, error.headers)
