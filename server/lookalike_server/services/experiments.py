"""ExperimentService: experiments on the collection, and its stored results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import grpc
import numpy as np

from lookalike.v1 import experiment_pb2, experiment_pb2_grpc
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.experiments.view import View
from lookalike_server.batching.workers import Workers
from lookalike_server.common import visible
from lookalike_server.common.errors import ArgumentError, UnknownMethodError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.current import Current
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.spaces import Space
from lookalike_server.processes.experiment_queue import ExperimentQueue
from lookalike_server.processes.experiment_runner import ATTRIBUTION, ExperimentKey
from lookalike_server.services import stored_results
from lookalike_server.services.replies import Stopwatch, as_field, deadline_of, served_generation
from lookalike_server.services.request_checks import check_names

Context = grpc.aio.ServicerContext[Any, Any]
ClassMap = tuple[tuple[str, tuple[str, ...]], ...]
_Seeded: TypeAlias = (
    experiment_pb2.SplitLabelRequest
    | experiment_pb2.InterpretClustersRequest
    | experiment_pb2.ChooseKRequest
    | experiment_pb2.GetMapRequest
    | experiment_pb2.CompareSpacesRequest
    | experiment_pb2.GetEvolutionRequest
    | experiment_pb2.SampleImagesRequest
)

_Filtered: TypeAlias = (
    experiment_pb2.GetClassMatrixRequest
    | experiment_pb2.ListOddballsRequest
    | experiment_pb2.GetMapRequest
    | experiment_pb2.ListQualityFlagsRequest
)

# Copying this many bytes costs as much as looking up one image.
_PER_ITEM = 1 << 14

_METRICS: Final = {
    experiment_pb2.ACCURACY_METRIC_UNSPECIFIED: "",
    experiment_pb2.ACCURACY_METRIC_TOP1: "top1",
    experiment_pb2.ACCURACY_METRIC_TOP5: "top5",
}
_MAPS: Final = {
    experiment_pb2.MAP_METHOD_UNSPECIFIED: "",
    experiment_pb2.MAP_METHOD_PCA: "pca",
    experiment_pb2.MAP_METHOD_TSNE: "tsne",
    experiment_pb2.MAP_METHOD_UMAP: "umap",
}
_METHODS: Final = {
    experiment_pb2.ATTRIBUTION_METHOD_UNSPECIFIED: "cam",
    experiment_pb2.ATTRIBUTION_METHOD_CAM: "cam",
    experiment_pb2.ATTRIBUTION_METHOD_GUIDED_BACKPROP: "gbp",
}


class ExperimentServicer(experiment_pb2_grpc.ExperimentServiceServicer):
    def __init__(self, current: Current, limits: Limits, queue: ExperimentQueue | None, workers: Workers) -> None:
        """`queue` is None if the server runs no experiments and only returns stored results."""
        self._current = current
        self._limits = limits
        self._queue = queue
        self._workers = workers

    async def GetImageClusters(self, request: experiment_pb2.GetImageClustersRequest, context: Context) -> Any:
        """Return a serialized GetImageClustersResponse."""
        members = _count("members", request.members, self._limits.max_members)
        with self._current.lease() as snapshot:
            row = _row(snapshot, request.image)
            return await self._run_experiment(snapshot, None, context, "image_clusters", {"row": row, **members})

    async def GetClassAccuracies(self, request: experiment_pb2.GetClassAccuraciesRequest, context: Context) -> Any:
        """Return a serialized GetClassAccuraciesResponse."""
        given: dict[str, Any] = _count("best", request.best, self._limits.max_page_size)
        if request.metric not in _METRICS:
            raise ArgumentError("metric", f"metric is {request.metric}, which this server does not know.")
        check_names("models", request.models, self._limits)
        given |= _set(metric=_METRICS[request.metric], models=tuple(request.models))
        given |= _set(class_map=await self._class_map(request))
        with self._current.lease() as snapshot:
            return await self._run_experiment(snapshot, None, context, "class_accuracies", given)

    async def GetClassMatrix(self, request: experiment_pb2.GetClassMatrixRequest, context: Context) -> Any:
        """Return a serialized GetClassMatrixResponse."""
        with self._current.lease() as snapshot:
            clustering, space = _clustering(snapshot, request.clustering)
            given = {"clustering": clustering, **await self._where(snapshot, request)}
            return await self._run_experiment(snapshot, space, context, "class_matrix", given)

    async def ListOddballs(self, request: experiment_pb2.ListOddballsRequest, context: Context) -> Any:
        """Return a serialized ListOddballsResponse."""
        given: dict[str, Any] = _set(label=request.label)
        given |= _count("limit", request.limit, self._limits.max_page_size)
        with self._current.lease() as snapshot:
            given |= await self._where(snapshot, request)
            clustering, space = _clustering(snapshot, request.clustering)
            return await self._run_experiment(snapshot, space, context, "oddballs", {"clustering": clustering, **given})

    async def ListMistakes(self, request: experiment_pb2.ListMistakesRequest, context: Context) -> Any:
        """Return a serialized ListMistakesResponse."""
        given: dict[str, Any] = _count("limit", request.limit, self._limits.max_page_size)
        given |= _set(label=request.label, class_map=await self._class_map(request))
        with self._current.lease() as snapshot:
            model = request.model or snapshot.space().entry.model
            snapshot.reader.model(model)
            return await self._run_experiment(snapshot, None, context, "mistakes", {"model": model, **given})

    async def SplitLabel(self, request: experiment_pb2.SplitLabelRequest, context: Context) -> Any:
        """Return a serialized SplitLabelResponse."""
        if not request.label:
            raise ArgumentError("label", "The call names no label; set label.")
        given: dict[str, Any] = _count("k", request.k, _INT32_MAX) | _seed(request)
        with self._current.lease() as snapshot:
            space = snapshot.space(request.space)
            given |= {"label": request.label, "space": space.name}
            return await self._run_experiment(snapshot, space, context, "split_label", given)

    async def InterpretClusters(self, request: experiment_pb2.InterpretClustersRequest, context: Context) -> Any:
        """Return a serialized InterpretClustersResponse."""
        given = _count("samples", request.samples, self._limits.max_members) | _seed(request)
        with self._current.lease() as snapshot:
            clustering, space = _clustering(snapshot, request.clustering)
            return await self._run_experiment(
                snapshot, space, context, "interpret_clusters", {"clustering": clustering, **given}
            )

    async def ExplainImage(self, request: experiment_pb2.ExplainImageRequest, context: Context) -> Any:
        """Return a serialized ExplainImageResponse."""
        neighbors = _count("neighbours", request.neighbours, self._limits.max_members)
        given: dict[str, Any] = _set(neighbors=neighbors.get("neighbours"))
        given |= _set(class_map=await self._class_map(request))
        with self._current.lease() as snapshot:
            row, space = _row(snapshot, request.image), snapshot.space(request.space)
            return await self._run_experiment(
                snapshot, space, context, "explain", {"row": row, "space": space.name, **given}
            )

    async def ChooseK(self, request: experiment_pb2.ChooseKRequest, context: Context) -> Any:
        """Return a serialized ChooseKResponse."""
        given = _count("first", request.first, _INT32_MAX) | _count("last", request.last, _INT32_MAX)
        given |= self._sample(request.sample) | _count("seeds", request.seeds, self._limits.max_seeds) | _seed(request)
        with self._current.lease() as snapshot:
            space = snapshot.space(request.space)
            return await self._run_experiment(snapshot, space, context, "choose_k", {"space": space.name, **given})

    async def GetDendrogram(self, request: experiment_pb2.GetDendrogramRequest, context: Context) -> Any:
        """Return a serialized GetDendrogramResponse."""
        given = _count("clusters", request.clusters, _INT32_MAX)
        given |= _count("most", request.most, self._limits.max_page_size)
        with self._current.lease() as snapshot:
            model = request.model or snapshot.space().entry.model
            snapshot.reader.model(model)
            return await self._run_experiment(snapshot, None, context, "label_tree", {"model": model, **given})

    async def GetMap(self, request: experiment_pb2.GetMapRequest, context: Context) -> Any:
        """Return a serialized GetMapResponse."""
        if request.method not in _MAPS:
            raise ArgumentError("method", f"method is {request.method}, which this server does not know.")
        given: dict[str, Any] = _set(method=_MAPS[request.method]) | self._sample(request.sample) | _seed(request)
        with self._current.lease() as snapshot:
            space = snapshot.space(request.space)
            given |= {"space": space.name, **await self._where(snapshot, request)}
            return await self._run_experiment(snapshot, space, context, "map2d", given)

    async def _where(self, snapshot: Snapshot, request: _Filtered) -> dict[str, str]:
        """Return the filter of a call as text for an experiment.

        Filters that differ only in order give the same text.
        """
        if not request.HasField("filter"):
            return {}
        return {"where": await self._workers.run(lambda: snapshot.filters.text(request.filter))}

    async def CompareSpaces(self, request: experiment_pb2.CompareSpacesRequest, context: Context) -> Any:
        """Return a serialized CompareSpacesResponse."""
        check_names("spaces", request.spaces, self._limits)
        check_names("strategies", request.strategies, self._limits)
        given: dict[str, Any] = _set(spaces=tuple(request.spaces), strategies=tuple(request.strategies))
        given |= _count("clusters", request.clusters, _INT32_MAX) | self._sample(request.sample) | _seed(request)
        with self._current.lease() as snapshot:
            return await self._run_experiment(snapshot, None, context, "compare", given)

    async def GetEvolution(self, request: experiment_pb2.GetEvolutionRequest, context: Context) -> Any:
        """Return a serialized GetEvolutionResponse."""
        neighbors = _count("neighbours", request.neighbours, self._limits.max_k)
        given: dict[str, Any] = _set(model=request.model, k=neighbors.get("neighbours"))
        given |= self._sample(request.sample) | _seed(request)
        with self._current.lease() as snapshot:
            return await self._run_experiment(snapshot, None, context, "evolution", given)

    async def FindDuplicates(self, request: experiment_pb2.FindDuplicatesRequest, context: Context) -> Any:
        """Return a serialized FindDuplicatesResponse."""
        given: dict[str, Any] = _count("limit", request.limit, _INT32_MAX) | _max_distance(request)
        given |= _set(exact_bytes=request.exact_bytes)
        with self._current.lease() as snapshot:
            space = snapshot.space(request.space)
            if not request.exact_bytes:
                snapshot.reader.graph(space.name)
            return await self._run_experiment(snapshot, space, context, "duplicates", {"space": space.name, **given})

    async def FindLeaks(self, request: experiment_pb2.FindLeaksRequest, context: Context) -> Any:
        """Return a serialized FindLeaksResponse."""
        if not request.split:
            raise ArgumentError("split", "The call names no column for the split; set split.")
        given: dict[str, Any] = _count("limit", request.limit, _INT32_MAX) | _max_distance(request)
        with self._current.lease() as snapshot:
            space = snapshot.space(request.space)
            snapshot.reader.graph(space.name)
            given |= {"split": request.split, "space": space.name}
            return await self._run_experiment(snapshot, space, context, "leaks", given)

    async def ListLabelIssues(self, request: experiment_pb2.ListLabelIssuesRequest, context: Context) -> Any:
        """Return a serialized ListLabelIssuesResponse."""
        given: dict[str, Any] = _count("limit", request.limit, self._limits.max_page_size)
        given |= _set(scores=request.scores)
        if request.without_predictions:
            given["predictions"] = False
        with self._current.lease() as snapshot:
            space = snapshot.space(request.space)
            snapshot.reader.graph(space.name)
            return await self._run_experiment(snapshot, space, context, "label_issues", {"space": space.name, **given})

    async def SampleImages(self, request: experiment_pb2.SampleImagesRequest, context: Context) -> Any:
        """Return a serialized SampleImagesResponse."""
        if not 1 <= request.count <= self._limits.max_sample:
            raise ArgumentError("count", f"count is {request.count}; it must be 1 to {self._limits.max_sample}.")
        given = _count("among", request.among, self._limits.max_sample) | _seed(request)
        with self._current.lease() as snapshot:
            space = snapshot.space(request.space)
            arguments = {"space": space.name, "count": request.count, **given}
            return await self._run_experiment(snapshot, space, context, "spread_sample", arguments)

    async def ListQualityFlags(self, request: experiment_pb2.ListQualityFlagsRequest, context: Context) -> Any:
        """Return a serialized ListQualityFlagsResponse."""
        given: dict[str, Any] = _count("limit", request.limit, self._limits.max_page_size) | _set(flag=request.flag)
        with self._current.lease() as snapshot:
            given |= await self._where(snapshot, request)
            return await self._run_experiment(snapshot, None, context, "image_quality", given)

    async def GetAttribution(self, request: experiment_pb2.GetAttributionRequest, context: Context) -> Any:
        """Return a serialized GetAttributionResponse."""
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
            # Bytes appended to a serialized message parse as part of it.
            rest = experiment_pb2.GetAttributionResponse(served=served_generation(snapshot, None, watch))
            behind = rest.SerializeToString()
            return await self._workers.run_lookup(lambda: answer + behind, len(answer) // _PER_ITEM)

    async def ListResults(self, request: experiment_pb2.ListResultsRequest, context: Context) -> Any:
        """Return a serialized ListResultsResponse."""
        watch = Stopwatch()
        with self._current.lease() as snapshot:

            def serialized() -> bytes:
                results = stored_results.listed(snapshot.reader)
                reply = experiment_pb2.ListResultsResponse(
                    results=results, served=served_generation(snapshot, None, watch)
                )
                visible.put(reply, skip=_ROWS)
                return reply.SerializeToString()

            return await self._workers.run(serialized)

    async def GetResult(self, request: experiment_pb2.GetResultRequest, context: Context) -> Any:
        """Return a serialized GetResultResponse."""
        watch = Stopwatch()
        check_names("tables", request.tables, self._limits)
        with self._current.lease() as snapshot:

            def serialized() -> bytes:
                reply = stored_results.page(snapshot.reader, request, self._limits)
                reply.served.CopyFrom(served_generation(snapshot, None, watch))
                visible.put(reply, skip=_ROWS)
                return reply.SerializeToString()

            return await self._workers.run(serialized)

    async def _run_experiment(
        self, snapshot: Snapshot, space: Space | None, context: Context, experiment: str, arguments: dict[str, Any]
    ) -> bytes:
        """Return a serialized reply. In every reply, `result` is field 1 and `served` is field 2."""
        watch = Stopwatch()
        answer = await self._answer(snapshot, context, watch, experiment, arguments)
        rest = as_field(2, served_generation(snapshot, space, watch).SerializeToString())
        return await self._workers.run_lookup(lambda: as_field(1, _shown(answer)) + rest, len(answer) // _PER_ITEM)

    async def _answer(
        self, snapshot: Snapshot, context: Context, watch: Stopwatch, experiment: str, arguments: dict[str, Any]
    ) -> bytes:
        if self._queue is None:
            raise UnknownMethodError(
                "This server runs no experiments; start it without --no-experiments, or run the experiment's command "
                "locally on the collection."
            )
        key = ExperimentKey(snapshot.generation, experiment, tuple(sorted(arguments.items())), snapshot.made)
        # The experiment process opens the collection itself.
        await snapshot.base.verified_for_experiment(_spaces_read(snapshot, arguments))
        # The key caches its digest. Computed in a worker, because callers may send long or many labels.
        await self._workers.run(lambda: key.digest)
        answer = await self._queue.answer(key, deadline_of(context))
        watch.queue_us, watch.search_us = answer.queue_us, answer.run_us
        return answer.result

    def _sample(self, sample: int) -> dict[str, int]:
        return _count("sample", sample, self._limits.max_sample)

    async def _class_map(
        self,
        request: experiment_pb2.GetClassAccuraciesRequest
        | experiment_pb2.ExplainImageRequest
        | experiment_pb2.ListMistakesRequest,
    ) -> ClassMap:
        """Return the class map as hashable items.

        Raises ArgumentError if it has too many, or a label without classes.
        """
        if not request.class_map:
            return ()
        most = self._limits.max_class_map
        if len(request.class_map) > most:
            raise _too_many(len(request.class_map), most)
        return await self._workers.run(lambda: _class_map(request.class_map, most))


_INT32_MAX = 2**31 - 1
# Tables name images by their keys, and may have millions of rows.
_ROWS = ("tables",)


def _spaces_read(snapshot: Snapshot, arguments: dict[str, Any]) -> set[str]:
    """Return the spaces whose embeddings an experiment reads, as far as its arguments name them."""
    found = {*arguments.get("spaces", ())}
    if "space" in arguments:
        found.add(arguments["space"])
    if "clustering" in arguments:
        found.add(snapshot.reader.clustering(arguments["clustering"]).space)
    return found


def _shown(answer: bytes) -> bytes:
    """Return a serialized ExperimentResult as the caller may see it. Run it in a worker thread."""
    if not visible.hidden():
        return answer
    result = experiment_pb2.ExperimentResult.FromString(answer)
    visible.put(result, skip=_ROWS)
    return result.SerializeToString()


def _set(**values: Any) -> dict[str, Any]:
    """Return the arguments that the caller set. The experiment uses its defaults for the others."""
    return {name: value for name, value in values.items() if value}


def _count(name: str, value: int, most: int) -> dict[str, int]:
    if not 0 <= value <= most:
        raise ArgumentError(name, f"{name} is {value}; it must be 0 to {most}.")
    return _set(**{name: value})


def _max_distance(
    request: experiment_pb2.FindDuplicatesRequest | experiment_pb2.FindLeaksRequest,
) -> dict[str, float]:
    if not request.HasField("max_distance"):
        return {}
    if not 0 <= request.max_distance < math.inf:
        raise ArgumentError("max_distance", f"max_distance is {request.max_distance:g}; it must be 0 or more.")
    return {"max_distance": request.max_distance}


def _seed(request: _Seeded) -> dict[str, int]:
    if not request.HasField("seed"):
        return {}
    if not 0 <= request.seed < 1 << 32:
        raise ArgumentError("seed", f"seed is {request.seed}; it must be 0 to {(1 << 32) - 1}.")
    return {"seed": request.seed}


def _class_map(entries: Sequence[experiment_pb2.LabelClasses], most: int) -> ClassMap:
    count = len(entries) + sum(len(entry.classes) for entry in entries)
    if count > most:
        raise _too_many(count, most)
    for entry in entries:
        if not entry.classes:
            raise ArgumentError("class_map", f"class_map names no class for the label {entry.label!r}.")
    return tuple(sorted((entry.label, tuple(entry.classes)) for entry in entries))


def _too_many(count: int, most: int) -> ArgumentError:
    return ArgumentError(
        "class_map", f"class_map has {count} labels and classes; the limit is {most}, which is max_class_map."
    )


def _row(snapshot: Snapshot, image: experiment_pb2.ImageName) -> int:
    """Return the row of an image, which is the same in these columns and in the experiment's view.

    Raises NotFoundError if the image does not exist, and NotBuiltError if it is not part of the
    generation yet.
    """
    kind = image.WhichOneof("name")
    if kind is None:
        raise ArgumentError("image", "The call names no image; set its key or id.")
    columns = snapshot.columns
    rows = columns.rows_of_keys([image.key]) if kind == "key" else columns.rows_of_ids(np.array([image.id], np.int64))
    row = int(rows[0])
    if row >= len(snapshot.base.columns.ids):
        raise NotBuiltError(
            f"The image {columns.keys(rows)[0]!r} was added after generation {snapshot.generation} was made, and "
            "experiments are about generations; make the changes part of one with client.fold(), or wait for it."
        )
    return row


def _clustering(snapshot: Snapshot, name: str) -> tuple[str, Space]:
    """Return the name of the chosen clustering, and its space."""
    clustering = View(snapshot.reader).clustering_name(name)
    return clustering, snapshot.space(snapshot.clustering(clustering).entry.space)
