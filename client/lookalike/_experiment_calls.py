"""Remote calls of experiments, as in _calls.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from lookalike import _experiment_replies as replies
from lookalike._calls import Call, as_count, make_call
from lookalike._errors import InvalidArgumentError
from lookalike._experiments import Attribution, Experiment, StoredResult
from lookalike._filters import Where, message_of
from lookalike._paging import Page
from lookalike._queries import as_int, check_id, check_key, only_given
from lookalike.v1 import experiment_pb2

Metric: TypeAlias = Literal["top1", "top5"]
Method: TypeAlias = Literal["cam", "gbp"]
MapMethod: TypeAlias = Literal["pca", "tsne", "umap"]
ClassMap: TypeAlias = Mapping[str, Sequence[str] | str]

_METRICS: Final = {
    "top1": experiment_pb2.ACCURACY_METRIC_TOP1,
    "top5": experiment_pb2.ACCURACY_METRIC_TOP5,
}
_METHODS: Final = {
    "cam": experiment_pb2.ATTRIBUTION_METHOD_CAM,
    "gbp": experiment_pb2.ATTRIBUTION_METHOD_GUIDED_BACKPROP,
}
_MAPS: Final = {
    "pca": experiment_pb2.MAP_METHOD_PCA,
    "tsne": experiment_pb2.MAP_METHOD_TSNE,
    "umap": experiment_pb2.MAP_METHOD_UMAP,
}


def image_clusters(given: Mapping[str, Any], members: int | None) -> Call[Experiment]:
    request = experiment_pb2.GetImageClustersRequest(image=_image(given), members=_count("members", members))
    return _experiment(
        "lookalike.v1.ExperimentService/GetImageClusters", request, experiment_pb2.GetImageClustersResponse
    )


def class_accuracies(
    models: Sequence[str] | str, metric: Metric, best: int | None, class_map: ClassMap | None
) -> Call[Experiment]:
    request = experiment_pb2.GetClassAccuraciesRequest(
        models=_names(models),
        metric=_METRICS[_one_of("metric", metric, _METRICS)],
        best=_count("best", best),
        class_map=_class_map(class_map),
    )
    return _experiment(
        "lookalike.v1.ExperimentService/GetClassAccuracies", request, experiment_pb2.GetClassAccuraciesResponse
    )


def class_matrix(clustering: str | None, where: Where | None) -> Call[Experiment]:
    request = experiment_pb2.GetClassMatrixRequest(clustering=clustering or "", filter=message_of(where))
    return _experiment("lookalike.v1.ExperimentService/GetClassMatrix", request, experiment_pb2.GetClassMatrixResponse)


def oddballs(clustering: str | None, label: str | None, limit: int | None, where: Where | None) -> Call[Experiment]:
    request = experiment_pb2.ListOddballsRequest(
        clustering=clustering or "", label=label or "", limit=_count("limit", limit), filter=message_of(where)
    )
    return _experiment("lookalike.v1.ExperimentService/ListOddballs", request, experiment_pb2.ListOddballsResponse)


def mistakes(model: str | None, label: str | None, limit: int | None, class_map: ClassMap | None) -> Call[Experiment]:
    request = experiment_pb2.ListMistakesRequest(
        model=model or "", label=label or "", limit=_count("limit", limit), class_map=_class_map(class_map)
    )
    return _experiment("lookalike.v1.ExperimentService/ListMistakes", request, experiment_pb2.ListMistakesResponse)


def split_label(label: str, space: str | None, k: int | None, seed: int | None) -> Call[Experiment]:
    request = experiment_pb2.SplitLabelRequest(label=label, space=space or "", k=_count("k", k), seed=_seed(seed))
    return _experiment("lookalike.v1.ExperimentService/SplitLabel", request, experiment_pb2.SplitLabelResponse)


def interpret_clusters(clustering: str | None, samples: int | None, seed: int | None) -> Call[Experiment]:
    request = experiment_pb2.InterpretClustersRequest(
        clustering=clustering or "", samples=_count("samples", samples), seed=_seed(seed)
    )
    return _experiment(
        "lookalike.v1.ExperimentService/InterpretClusters", request, experiment_pb2.InterpretClustersResponse
    )


def explain(
    given: Mapping[str, Any], space: str | None, neighbors: int | None, class_map: ClassMap | None
) -> Call[Experiment]:
    request = experiment_pb2.ExplainImageRequest(
        image=_image(given),
        space=space or "",
        neighbours=_count("neighbors", neighbors),
        class_map=_class_map(class_map),
    )
    return _experiment("lookalike.v1.ExperimentService/ExplainImage", request, experiment_pb2.ExplainImageResponse)


def choose_k(
    space: str | None, first: int | None, last: int | None, sample: int | None, seeds: int | None, seed: int | None
) -> Call[Experiment]:
    request = experiment_pb2.ChooseKRequest(
        space=space or "",
        first=_count("first", first),
        last=_count("last", last),
        sample=_count("sample", sample),
        seeds=_count("seeds", seeds),
        seed=_seed(seed),
    )
    return _experiment("lookalike.v1.ExperimentService/ChooseK", request, experiment_pb2.ChooseKResponse)


def dendrogram(model: str | None, clusters: int | None, most: int | None) -> Call[Experiment]:
    request = experiment_pb2.GetDendrogramRequest(
        model=model or "", clusters=_count("clusters", clusters), most=_count("most", most)
    )
    return _experiment("lookalike.v1.ExperimentService/GetDendrogram", request, experiment_pb2.GetDendrogramResponse)


def map_of(
    space: str | None, method: MapMethod, sample: int | None, seed: int | None, where: Where | None
) -> Call[Experiment]:
    request = experiment_pb2.GetMapRequest(
        space=space or "",
        method=_MAPS[_one_of("method", method, _MAPS)],
        sample=_count("sample", sample),
        seed=_seed(seed),
        filter=message_of(where),
    )
    return _experiment("lookalike.v1.ExperimentService/GetMap", request, experiment_pb2.GetMapResponse)


def compare(
    spaces: Sequence[str] | str,
    strategies: Sequence[str] | str,
    clusters: int | None,
    sample: int | None,
    seed: int | None,
) -> Call[Experiment]:
    request = experiment_pb2.CompareSpacesRequest(
        spaces=_names(spaces),
        strategies=_names(strategies),
        clusters=_count("clusters", clusters),
        sample=_count("sample", sample),
        seed=_seed(seed),
    )
    return _experiment("lookalike.v1.ExperimentService/CompareSpaces", request, experiment_pb2.CompareSpacesResponse)


def evolution(model: str | None, neighbors: int | None, sample: int | None, seed: int | None) -> Call[Experiment]:
    request = experiment_pb2.GetEvolutionRequest(
        model=model or "",
        neighbours=_count("neighbors", neighbors),
        sample=_count("sample", sample),
        seed=_seed(seed),
    )
    return _experiment("lookalike.v1.ExperimentService/GetEvolution", request, experiment_pb2.GetEvolutionResponse)


def duplicates(space: str | None, max_distance: float | None, exact_bytes: bool, limit: int | None) -> Call[Experiment]:
    request = experiment_pb2.FindDuplicatesRequest(
        space=space or "",
        max_distance=_max_distance(max_distance),
        exact_bytes=exact_bytes,
        limit=_count("limit", limit),
    )
    return _experiment("lookalike.v1.ExperimentService/FindDuplicates", request, experiment_pb2.FindDuplicatesResponse)


def leaks(split: str, space: str | None, max_distance: float | None, limit: int | None) -> Call[Experiment]:
    request = experiment_pb2.FindLeaksRequest(
        split=split, space=space or "", max_distance=_max_distance(max_distance), limit=_count("limit", limit)
    )
    return _experiment("lookalike.v1.ExperimentService/FindLeaks", request, experiment_pb2.FindLeaksResponse)


def label_issues(space: str | None, limit: int | None, predictions: bool, scores: bool) -> Call[Experiment]:
    request = experiment_pb2.ListLabelIssuesRequest(
        space=space or "", limit=_count("limit", limit), without_predictions=not predictions, scores=scores
    )
    return _experiment(
        "lookalike.v1.ExperimentService/ListLabelIssues", request, experiment_pb2.ListLabelIssuesResponse
    )


def sample(count: int, space: str | None, among: int | None, seed: int | None) -> Call[Experiment]:
    request = experiment_pb2.SampleImagesRequest(
        count=as_count("n", count, 1), space=space or "", among=_count("among", among), seed=_seed(seed)
    )
    return _experiment("lookalike.v1.ExperimentService/SampleImages", request, experiment_pb2.SampleImagesResponse)


def quality(flag: str | None, limit: int | None, where: Where | None) -> Call[Experiment]:
    request = experiment_pb2.ListQualityFlagsRequest(
        flag=flag or "", limit=_count("limit", limit), filter=message_of(where)
    )
    return _experiment(
        "lookalike.v1.ExperimentService/ListQualityFlags", request, experiment_pb2.ListQualityFlagsResponse
    )


def attribution(
    given: Mapping[str, Any], model: str | None, method: Method, class_index: int | None
) -> Call[Attribution]:
    request = experiment_pb2.GetAttributionRequest(
        image=_image(given),
        model=model or "",
        method=_METHODS[_one_of("method", method, _METHODS)],
        class_index=None if class_index is None else as_count("class_index", class_index, 0),
    )
    return make_call(
        "lookalike.v1.ExperimentService/GetAttribution",
        request,
        experiment_pb2.GetAttributionResponse,
        replies.attribution,
    )


def results() -> Call[tuple[StoredResult, ...]]:
    request, reply = experiment_pb2.ListResultsRequest(), experiment_pb2.ListResultsResponse
    return make_call("lookalike.v1.ExperimentService/ListResults", request, reply, replies.stored)


def result_page(name: str, tables: Sequence[str] | str, page_size: int | None, token: str) -> Call[Page[Any]]:
    request = experiment_pb2.GetResultRequest(
        name=name, tables=_names(tables), page_size=_count("page_size", page_size), page_token=token
    )
    return make_call(
        "lookalike.v1.ExperimentService/GetResult", request, experiment_pb2.GetResultResponse, replies.result_page
    )


def _experiment(method: str, request: Any, reply: Any) -> Call[Experiment]:
    return make_call(method, request, reply, lambda got: replies.experiment(got.result, got.served))


def _image(given: Mapping[str, Any]) -> experiment_pb2.ImageName:
    if only_given(given, ("key", "id")) == "key":
        return experiment_pb2.ImageName(key=check_key(given["key"]))
    return experiment_pb2.ImageName(id=check_id(given["id"]))


def _names(names: Sequence[str] | str) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _class_map(classes: ClassMap | None) -> list[experiment_pb2.LabelClasses]:
    return [experiment_pb2.LabelClasses(label=label, classes=_names(names)) for label, names in (classes or {}).items()]


def _one_of(name: str, value: str, known: Mapping[str, Any]) -> str:
    if value not in known:
        raise InvalidArgumentError(f"{name}={value!r} must be {' or '.join(map(repr, known))}.")
    return value


def _max_distance(distance: float | None) -> float | None:
    if distance is None:
        return None
    if (
        isinstance(distance, bool)
        or not isinstance(distance, int | float | np.floating)
        or not 0 <= distance < math.inf
    ):
        raise InvalidArgumentError(f"max_distance={distance!r} must be a number from 0 up, or None for the valley.")
    return float(distance)


def _seed(seed: int | None) -> int | None:
    if seed is None:
        return None
    number = as_int(seed)
    if number is None or not 0 <= number < 1 << 32:
        raise InvalidArgumentError(f"seed={seed!r} must be an integer from 0 to {(1 << 32) - 1}.")
    return number


def _count(name: str, value: int | None) -> int:
    """Return the number on the wire, where 0 means the server's default."""
    return 0 if value is None else as_count(name, value, 0)
