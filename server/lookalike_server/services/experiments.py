"""Experiments over the collection, and the results that are stored in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import grpc
import numpy as np

from lookalike.v1 import experiment_pb2, experiment_pb2_grpc, types_pb2
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.experiments.view import View
from lookalike_server import stored_results, visible
from lookalike_server.current import Current
from lookalike_server.errors import ArgumentError
from lookalike_server.experiments import ExperimentQueue
from lookalike_server.laboratory import ATTRIBUTION, Asked
from lookalike_server.limits import Limits
from lookalike_server.replies import Stopwatch, deadline_of, served
from lookalike_server.snapshot import Snapshot
from lookalike_server.spaces import Space
from lookalike_server.workers import Workers

Context = grpc.aio.ServicerContext[Any, Any]

_METRICS: Final = {
    experiment_pb2.ACCURACY_METRIC_UNSPECIFIED: "",
    experiment_pb2.ACCURACY_METRIC_TOP1: "top1",
    experiment_pb2.ACCURACY_METRIC_TOP5: "top5",
}
_METHODS: Final = {
    experiment_pb2.ATTRIBUTION_METHOD_UNSPECIFIED: "cam",
    experiment_pb2.ATTRIBUTION_METHOD_CAM: "cam",
    experiment_pb2.ATTRIBUTION_METHOD_GUIDED_BACKPROP: "gbp",
}


@dataclass(frozen=True)
class _Reply:
    """What every reply of an experiment is made of."""

    result: experiment_pb2.ExperimentResult
    served: types_pb2.Served


class ExperimentServicer(experiment_pb2_grpc.ExperimentServiceServicer):
    def __init__(self, current: Current, limits: Limits, queue: ExperimentQueue, workers: Workers) -> None:
        self._current = current
        self._limits = limits
        self._queue = queue
        self._workers = workers

    async def GetImageClusters(
        self, request: experiment_pb2.GetImageClustersRequest, context: Context
    ) -> experiment_pb2.GetImageClustersResponse:
        members = _count("members", request.members, self._limits.max_members)
        with self._current.lease() as snapshot:
            row = _row(snapshot, request.image)
            reply = await self._ask(snapshot, None, context, "image_clusters", {"row": row, **members})
        return experiment_pb2.GetImageClustersResponse(result=reply.result, served=reply.served)

    async def GetClassAccuracies(
        self, request: experiment_pb2.GetClassAccuraciesRequest, context: Context
    ) -> experiment_pb2.GetClassAccuraciesResponse:
        given: dict[str, Any] = _count("best", request.best, self._limits.max_page_size)
        if request.metric not in _METRICS:
            raise ArgumentError("metric", f"metric is {request.metric}, which this server does not know.")
        given |= _set(metric=_METRICS[request.metric], class_map=_class_map(request))
        with self._current.lease() as snapshot:
            models = tuple(request.models) or _predicting(snapshot)
            reply = await self._ask(snapshot, None, context, "class_accuracies", {"models": models, **given})
        return experiment_pb2.GetClassAccuraciesResponse(result=reply.result, served=reply.served)

    async def GetClassMatrix(
        self, request: experiment_pb2.GetClassMatrixRequest, context: Context
    ) -> experiment_pb2.GetClassMatrixResponse:
        with self._current.lease() as snapshot:
            clustering, space = _clustering(snapshot, request.clustering)
            reply = await self._ask(snapshot, space, context, "class_matrix", {"clustering": clustering})
        return experiment_pb2.GetClassMatrixResponse(result=reply.result, served=reply.served)

    async def ListOddballs(
        self, request: experiment_pb2.ListOddballsRequest, context: Context
    ) -> experiment_pb2.ListOddballsResponse:
        given = _set(label=request.label) | _count("limit", request.limit, self._limits.max_page_size)
        with self._current.lease() as snapshot:
            clustering, space = _clustering(snapshot, request.clustering)
            reply = await self._ask(snapshot, space, context, "oddballs", {"clustering": clustering, **given})
        return experiment_pb2.ListOddballsResponse(result=reply.result, served=reply.served)

    async def SplitLabel(
        self, request: experiment_pb2.SplitLabelRequest, context: Context
    ) -> experiment_pb2.SplitLabelResponse:
        if not request.label:
            raise ArgumentError("label", "The call names no label.")
        given: dict[str, Any] = _count("k", request.k, _INT32_MAX) | _seed(request)
        with self._current.lease() as snapshot:
            space = snapshot.space(request.space)
            given |= {"label": request.label, "space": space.name}
            reply = await self._ask(snapshot, space, context, "split_label", given)
        return experiment_pb2.SplitLabelResponse(result=reply.result, served=reply.served)

    async def InterpretClusters(
        self, request: experiment_pb2.InterpretClustersRequest, context: Context
    ) -> experiment_pb2.InterpretClustersResponse:
        given = _count("samples", request.samples, self._limits.max_members) | _seed(request)
        with self._current.lease() as snapshot:
            clustering, space = _clustering(snapshot, request.clustering)
            reply = await self._ask(snapshot, space, context, "interpret_clusters", {"clustering": clustering, **given})
        return experiment_pb2.InterpretClustersResponse(result=reply.result, served=reply.served)

    async def ExplainImage(
        self, request: experiment_pb2.ExplainImageRequest, context: Context
    ) -> experiment_pb2.ExplainImageResponse:
        given: dict[str, Any] = _count("neighbours", request.neighbours, self._limits.max_members)
        given |= _set(class_names=_class_map(request))
        with self._current.lease() as snapshot:
            row, space = _row(snapshot, request.image), snapshot.space(request.space)
            reply = await self._ask(snapshot, space, context, "explain", {"row": row, "space": space.name, **given})
        return experiment_pb2.ExplainImageResponse(result=reply.result, served=reply.served)

    async def GetAttribution(
        self, request: experiment_pb2.GetAttributionRequest, context: Context
    ) -> experiment_pb2.GetAttributionResponse:
        watch = Stopwatch()
        if request.method not in _METHODS:
            raise ArgumentError("method", f"method is {request.method}, which this server does not know.")
        with self._current.lease() as snapshot:
            model = request.model or snapshot.space().entry.model
            snapshot.reader.model(model)
            given: dict[str, Any] = {"row": _row(snapshot, request.image), "model": model}
            given["method"] = _METHODS[request.method]
            if request.HasField("class_index"):
                given["class_index"] = request.class_index
            answer = await self._answer(snapshot, context, watch, ATTRIBUTION, given)
            reply = experiment_pb2.GetAttributionResponse.FromString(answer)
            reply.served.CopyFrom(served(snapshot, None, watch))
        return reply

    async def ListResults(
        self, request: experiment_pb2.ListResultsRequest, context: Context
    ) -> experiment_pb2.ListResultsResponse:
        watch = Stopwatch()
        with self._current.lease() as snapshot:
            results = stored_results.listed(snapshot.reader)
            reply = experiment_pb2.ListResultsResponse(results=results, served=served(snapshot, None, watch))
            visible.put(reply, skip=_ROWS)
            return reply

    async def GetResult(
        self, request: experiment_pb2.GetResultRequest, context: Context
    ) -> experiment_pb2.GetResultResponse:
        watch = Stopwatch()
        with self._current.lease() as snapshot:
            reply = await self._workers.run(lambda: stored_results.page(snapshot.reader, request, self._limits))
            reply.served.CopyFrom(served(snapshot, None, watch))
            visible.put(reply, skip=_ROWS)
        return reply

    async def _ask(
        self, snapshot: Snapshot, space: Space | None, context: Context, experiment: str, arguments: dict[str, Any]
    ) -> _Reply:
        watch = Stopwatch()
        answer = await self._answer(snapshot, context, watch, experiment, arguments)
        result = experiment_pb2.ExperimentResult.FromString(answer)
        visible.put(result, skip=_ROWS)
        return _Reply(result, served(snapshot, space, watch))

    async def _answer(
        self, snapshot: Snapshot, context: Context, watch: Stopwatch, experiment: str, arguments: dict[str, Any]
    ) -> bytes:
        asked = Asked(snapshot.generation, experiment, tuple(sorted(arguments.items())), snapshot.made)
        answer = await self._queue.answer(asked, deadline_of(context))
        watch.queue_us, watch.search_us = answer.queue_us, answer.run_us
        return answer.result


_INT32_MAX = 2**31 - 1
# Tables name images by their keys, and may have millions of rows.
_ROWS = ("tables",)


def _set(**values: Any) -> dict[str, Any]:
    """The arguments that the caller gave: for the others the experiment's own defaults hold."""
    return {name: value for name, value in values.items() if value}


def _count(name: str, value: int, most: int) -> dict[str, int]:
    if not 0 <= value <= most:
        raise ArgumentError(name, f"{name} is {value}; it must be 0 to {most}.")
    return _set(**{name: value})


def _seed(request: experiment_pb2.SplitLabelRequest | experiment_pb2.InterpretClustersRequest) -> dict[str, int]:
    if not request.HasField("seed"):
        return {}
    if not 0 <= request.seed < 1 << 32:
        raise ArgumentError("seed", f"seed is {request.seed}; it must be 0 to {(1 << 32) - 1}.")
    return {"seed": request.seed}


def _class_map(
    request: experiment_pb2.GetClassAccuraciesRequest | experiment_pb2.ExplainImageRequest,
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The classes of labels as items, which can be compared and hashed."""
    for entry in request.class_map:
        if not entry.classes:
            raise ArgumentError("class_map", f"class_map names no class for the label {entry.label!r}.")
    return tuple(sorted((entry.label, tuple(entry.classes)) for entry in request.class_map))


def _row(snapshot: Snapshot, image: experiment_pb2.ImageName) -> int:
    """The row of an image, which is the same in the columns here and in the experiment's view."""
    kind = image.WhichOneof("name")
    if kind is None:
        raise ArgumentError("image", "The call names no image; set its key or id.")
    if kind == "key":
        return int(snapshot.columns.rows_of_keys([image.key])[0])
    return int(snapshot.columns.rows_of_ids(np.array([image.id], np.int64))[0])


def _clustering(snapshot: Snapshot, name: str) -> tuple[str, Space]:
    """The clustering meant, and its space."""
    clustering = View(snapshot.reader).clustering_name(name)
    return clustering, snapshot.space(snapshot.clustering(clustering).entry.space)


def _predicting(snapshot: Snapshot) -> tuple[str, ...]:
    """The models that have predictions."""
    models = tuple(name for name, entry in sorted(snapshot.reader.manifest.models.items()) if entry.predictions)
    if not models:
        raise NotBuiltError(f"The collection {snapshot.name} keeps no predictions of any model.")
    return models
