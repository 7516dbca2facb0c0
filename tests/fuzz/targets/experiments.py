"""Fuzz experiments, stored results and the server's own methods, like request.py; their calls take longer."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz.targets.calls import Methods
from tests.fuzz.targets.toys import toy

from lookalike.v1 import experiment_pb2 as pb
from lookalike.v1 import server_pb2
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import WeightsError
from lookalike_server.batching.workers import Workers
from lookalike_server.common.limits import Limits
from lookalike_server.common.thread_budget import ThreadBudget
from lookalike_server.generation.current import Current
from lookalike_server.generation.loader import Loader
from lookalike_server.live.collection import LiveCollection
from lookalike_server.live.folding import Folding
from lookalike_server.placement.devices import Cpu
from lookalike_server.processes.embedding import Embedder, EmbedQueue
from lookalike_server.processes.experiment_queue import ExperimentQueue
from lookalike_server.processes.experiment_runner import LocalExperimentRunner, RunnerConfig
from lookalike_server.query.reload import Reloader
from lookalike_server.services.collection_list import CollectionList
from lookalike_server.services.experiments import ExperimentServicer
from lookalike_server.services.routing import routed
from lookalike_server.services.server_info import ServerServicer
from lookalike_server.transport.collection_names import CollectionNames

_LIMITS = Limits(max_page_size=50, max_members=10, max_class_map=100, max_names=20)


def _no_network(reader: CollectionReader, space: str) -> Embedder:
    raise WeightsError("The weights are not here.")


def _methods() -> Methods:
    root = str(toy())
    loader = Loader("cpu", [Cpu()], _LIMITS, ThreadBudget(1, 1, 1))
    current = Current(loader.load(CollectionReader.open(root)))
    workers = Workers(1, _LIMITS.max_queue)
    networks = EmbedQueue(_no_network, _LIMITS)
    # In this process, so that unexpected errors of an experiment are found.
    experiments = ExperimentQueue(LocalExperimentRunner(RunnerConfig(root, None, 1, _LIMITS)), _LIMITS)
    reloader = Reloader(root, loader, current, networks, 3600)
    names = CollectionNames(["toys"])
    live = LiveCollection(root, _LIMITS, writable=False)
    folding = Folding(root, current, live, _LIMITS, reloader.load_newest)
    server = routed(
        server_pb2.DESCRIPTOR.services_by_name["ServerService"],
        names,
        {"toys": ServerServicer(current, loader, networks, reloader, live, folding)},
        {"ListCollections": CollectionList(names, {"toys": current}).list_collections},
    )
    return Methods(
        (pb, "ExperimentService", ExperimentServicer(current, _LIMITS, experiments, workers)),
        (server_pb2, "ServerService", server),
    )


_METHODS = _methods()
target, _seed = _METHODS.target, _METHODS.seed


def seeds() -> Iterator[bytes]:
    classes = [pb.LabelClasses(label="label1", classes=["7", "class 8"])]
    for image in (pb.ImageName(id=5), pb.ImageName(key="label2/é 000005.jpg")):
        yield _seed("GetImageClusters", pb.GetImageClustersRequest(image=image, members=3))
        yield _seed("ExplainImage", pb.ExplainImageRequest(image=image, neighbours=2, class_map=classes))
        yield _seed("GetAttribution", pb.GetAttributionRequest(image=image, model="tiny", class_index=7))
    for metric in (pb.ACCURACY_METRIC_TOP1, pb.ACCURACY_METRIC_TOP5):
        accuracies = pb.GetClassAccuraciesRequest(models=["tiny"], metric=metric, best=1, class_map=classes)
        yield _seed("GetClassAccuracies", accuracies)
    yield _seed("GetClassMatrix", pb.GetClassMatrixRequest(clustering="tiny/k3"))
    yield _seed("ListOddballs", pb.ListOddballsRequest(clustering="tiny/k3", label="label1", limit=3))
    yield _seed("SplitLabel", pb.SplitLabelRequest(label="label1", space="tiny", k=3, seed=7))
    yield _seed("InterpretClusters", pb.InterpretClustersRequest(clustering="tiny/k3", samples=2, seed=7))
    yield _seed("FindDuplicates", pb.FindDuplicatesRequest(space="tiny", exact_bytes=True, limit=2))
    yield _seed("FindDuplicates", pb.FindDuplicatesRequest(max_distance=0.5))
    yield _seed("FindLeaks", pb.FindLeaksRequest(split="label", max_distance=0.5, limit=2))
    yield _seed("ListLabelIssues", pb.ListLabelIssuesRequest(space="tiny", limit=2, scores=True))
    yield _seed("SampleImages", pb.SampleImagesRequest(count=3, among=20, seed=7))
    yield _seed("ListQualityFlags", pb.ListQualityFlagsRequest(flag="blurry", limit=2))
    yield _seed("ListResults", pb.ListResultsRequest())
    page = pb.GetResultRequest(name="class_matrix/first", tables=["counts"], page_size=2)
    yield _seed("GetResult", page)
    page.page_token = bytes(4).hex()
    yield _seed("GetResult", page)
    yield _seed("GetServerInfo", server_pb2.GetServerInfoRequest())
    yield _seed("Reload", server_pb2.ReloadRequest())
    yield _seed("GetServerInfo", server_pb2.GetServerInfoRequest(collection="other"))
    yield _seed("ListCollections", server_pb2.ListCollectionsRequest())
