"""Experiments that the server runs for the page, and stored results."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookalike import Experiment, InvalidArgumentError, NotFoundError
from lookalike.aio import Client
from lookalike.explorer import parameters
from lookalike.explorer.api_collection import number, served

Method = Literal["cam", "gbp"]
Ask = Callable[[Client, Request, float], Awaitable[Experiment]]


async def _matrix(client: Client, request: Request, timeout: float) -> Experiment:
    clustering = parameters.text(request, "clustering", "")
    return await client.class_matrix(clustering, where=parameters.where(request), timeout=timeout)


async def _oddballs(client: Client, request: Request, timeout: float) -> Experiment:
    return await client.oddballs(
        parameters.text(request, "clustering", ""),
        label=parameters.text(request, "label", ""),
        limit=parameters.integer(request, "limit", 60, 1, 500),
        where=parameters.where(request),
        timeout=timeout,
    )


async def _mistakes(client: Client, request: Request, timeout: float) -> Experiment:
    return await client.mistakes(
        parameters.text(request, "model", ""),
        label=parameters.text(request, "label", ""),
        limit=parameters.integer(request, "limit", 60, 1, 500),
        timeout=timeout,
    )


async def _duplicates(client: Client, request: Request, timeout: float) -> Experiment:
    return await client.duplicates(
        parameters.text(request, "space", ""), limit=parameters.integer(request, "limit", 60, 1, 500), timeout=timeout
    )


async def _leaks(client: Client, request: Request, timeout: float) -> Experiment:
    return await client.leaks(
        parameters.text(request, "split", "label"),
        space=parameters.text(request, "space", ""),
        limit=parameters.integer(request, "limit", 60, 1, 500),
        timeout=timeout,
    )


async def _label_issues(client: Client, request: Request, timeout: float) -> Experiment:
    return await client.label_issues(
        parameters.text(request, "space", ""), limit=parameters.integer(request, "limit", 60, 1, 500), timeout=timeout
    )


async def _quality(client: Client, request: Request, timeout: float) -> Experiment:
    return await client.quality(
        parameters.text(request, "flag", ""), limit=parameters.integer(request, "limit", 24, 1, 500), timeout=timeout
    )


async def _sample(client: Client, request: Request, timeout: float) -> Experiment:
    return await client.sample(
        parameters.integer(request, "count", 24, 1, 500), space=parameters.text(request, "space", ""), timeout=timeout
    )


async def _interpret(client: Client, request: Request, timeout: float) -> Experiment:
    samples = parameters.integer(request, "samples", 5, 1, 20)
    return await client.interpret_clusters(parameters.text(request, "clustering", ""), samples=samples, timeout=timeout)


async def _explain(client: Client, request: Request, timeout: float) -> Experiment:
    return await client.explain(
        id=parameters.image_id(request),
        space=parameters.text(request, "space", ""),
        neighbors=parameters.integer(request, "neighbors", 6, 1, 30),
        timeout=timeout,
    )


_EXPERIMENTS: Final[Mapping[str, Ask]] = {
    "matrix": _matrix,
    "oddballs": _oddballs,
    "mistakes": _mistakes,
    "duplicates": _duplicates,
    "leaks": _leaks,
    "label_issues": _label_issues,
    "quality": _quality,
    "sample": _sample,
    "interpret": _interpret,
    "explain": _explain,
}


async def get_experiment(request: Request) -> Response:
    """Run an experiment by name and return it with its tables as rows."""
    client: Client = request.app.state.callers.require(request)
    name = request.path_params["name"]
    if name not in _EXPERIMENTS:
        raise NotFoundError(f"The page knows no experiment {name!r}; it knows {', '.join(_EXPERIMENTS)}.")
    found = await _EXPERIMENTS[name](client, request, request.app.state.bounds.experiment_s)
    return JSONResponse({**experiment(found), **served(found.served)})


async def get_attribution(request: Request) -> Response:
    """Return the attribution of a class to the pixels of an image as a PNG; `method` is "cam" or "gbp"."""
    client: Client = request.app.state.callers.require(request)
    given = parameters.text(request, "method", "cam")
    method: Method | None = next((known for known in get_args(Method) if known == given), None)
    if method is None:
        raise InvalidArgumentError(f"method={given!r} must be cam or gbp.")
    found = await client.attribution(
        id=parameters.image_id(request),
        model=parameters.text(request, "model", ""),
        method=method,
        timeout=request.app.state.bounds.experiment_s,
    )
    return Response(found.png, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


async def get_results(request: Request) -> Response:
    """Return the stored results without their rows."""
    client: Client = request.app.state.callers.require(request)
    return JSONResponse({"results": [dataclasses.asdict(each) for each in await client.results()]})


def experiment(found: Experiment) -> dict[str, Any]:
    """Convert an experiment to JSON, its tables as rows."""
    return {
        "kind": found.kind,
        "settings": dict(found.settings),
        "figures": {name: number(value) for name, value in found.figures.items()},
        "findings": list(found.findings),
        "tables": {name: table.records() for name, table in found.tables.items()},
    }
