"""Experiments on a real server: results equal those of the functions; each mistake has its code and sentence."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import tracemalloc
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lookalike import wire
from lookalike.v1 import experiment_pb2 as pb
from lookalike.v1 import filter_pb2, types_pb2
from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.manifest import AttributeColumn, AttributesEntry
from lookalike_indexer.collection.parts import read_part, write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.choose_k import choose_k
from lookalike_indexer.experiments.classes import class_accuracies
from lookalike_indexer.experiments.compare import COSTS, compare
from lookalike_indexer.experiments.duplicates import duplicates
from lookalike_indexer.experiments.evolution import evolution
from lookalike_indexer.experiments.explain import explain
from lookalike_indexer.experiments.image_clusters import image_clusters
from lookalike_indexer.experiments.image_quality import image_quality
from lookalike_indexer.experiments.interpret import interpret_clusters
from lookalike_indexer.experiments.label_issues import label_issues
from lookalike_indexer.experiments.leaks import leaks
from lookalike_indexer.experiments.map2d import map2d
from lookalike_indexer.experiments.matrix import class_matrix
from lookalike_indexer.experiments.mistakes import mistakes
from lookalike_indexer.experiments.oddballs import oddballs
from lookalike_indexer.experiments.partitions import STRATEGIES
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.sample import spread_sample
from lookalike_indexer.experiments.split import split_label
from lookalike_indexer.experiments.view import View
from lookalike_indexer.graph.graph_stage import run_graph
from lookalike_indexer.graph.settings import GraphSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.quality.flags import COLUMNS
from lookalike_server.common.limits import Limits
from lookalike_server.common.observe_settings import ObserveSettings
from lookalike_server.processes import result_encoding as tables
from lookalike_server.processes.experiment_runner import LocalExperimentRunner, RunnerConfig

CODE = grpc.StatusCode


def experiment_runner(toy: Any, limits: Limits | None = None) -> LocalExperimentRunner:
    return LocalExperimentRunner(RunnerConfig(str(toy.root), None, 1, limits or Limits()))


def view_of(toy: Any) -> View:
    return View(CollectionReader.open(str(toy.root)))


@pytest.fixture
def toy(make_toy):
    """500 images in 5 clusters, two thirds of them labeled, with predictions of an untrained network."""
    made = make_toy(clusters=5)
    storage = made.storage
    draft = generations.require_latest(storage)
    random = np.random.default_rng(1)
    classes = np.argsort(random.random((len(made.ids), 1000)), axis=1)[:, :5].astype(np.int32)
    columns = [
        made.ids.tolist(),
        classes.tolist(),
        [[f"class {one}" for one in row] for row in classes.tolist()],
        np.sort(random.random((len(made.ids), 5)), axis=1)[:, ::-1].tolist(),
    ]
    kind = schema.predictions(5)
    table = pa.table([pa.array(values, field.type) for values, field in zip(columns, kind, strict=True)], kind)
    write_part(storage, layout.predictions("tiny", 0), table)
    model = dataclasses.replace(draft.models["tiny"], predictions=[layout.predictions("tiny", 0)])
    generations.publish(storage, dataclasses.replace(draft, models={"tiny": model}))
    return made


def same(message: pb.ExperimentResult, result: Result) -> None:
    assert message == tables.encoded(result)


async def test_served_matrix_equals_that_of_the_function(toy, serve) -> None:
    async with serve(toy, experiment_runner=experiment_runner(toy)) as served:
        reply = await served.experiment.GetClassMatrix(pb.GetClassMatrixRequest(clustering="tiny/k5"))
        by_default = await served.experiment.GetClassMatrix(pb.GetClassMatrixRequest())
    same(reply.result, class_matrix(view_of(toy), "tiny/k5"))
    assert by_default.result == reply.result
    assert (reply.served.generation, reply.served.space, reply.served.pretrained) == (2, "tiny", False)
    assert reply.served.timings.search_us > 0
    [counts] = [table for table in reply.result.tables if table.name == "counts"]
    columns = {column.name: column for column in counts.columns}
    # Every image except the last, without an embedding, and those whose id is divisible by 3, without a label.
    assert wire.decode(columns["count"].numbers).sum() == np.count_nonzero(toy.ids % 3)


async def test_image_is_explained_by_key_or_id(toy, serve) -> None:
    image_id = int(toy.ids[30])
    async with serve(toy, experiment_runner=experiment_runner(toy)) as served:
        by_id = await served.experiment.ExplainImage(
            pb.ExplainImageRequest(image=pb.ImageName(id=image_id), neighbours=3)
        )
        by_key = await served.experiment.ExplainImage(
            pb.ExplainImageRequest(image=pb.ImageName(key=toy.key(image_id)), neighbours=3)
        )
        mapped = await served.experiment.ExplainImage(
            pb.ExplainImageRequest(
                image=pb.ImageName(id=image_id), class_map=[pb.LabelClasses(label="label1", classes=["7", "class 8"])]
            )
        )
    same(by_id.result, explain(view_of(toy), 30, neighbors=3))
    assert by_key.result == by_id.result
    same(mapped.result, explain(view_of(toy), 30, class_map={"label1": ["7", "class 8"]}))


async def test_every_served_experiment_equals_its_function(toy, serve) -> None:
    view = view_of(toy)
    class_map = {"label1": ["class 1", "2"]}
    calls: list[tuple[str, Any, Result]] = [
        (
            "GetImageClusters",
            pb.GetImageClustersRequest(image=pb.ImageName(id=int(toy.ids[9])), members=4),
            image_clusters(view, 9, members=4),
        ),
        (
            "ListOddballs",
            pb.ListOddballsRequest(clustering="tiny/k5", label="label2", limit=3),
            oddballs(view, "tiny/k5", label="label2", limit=3),
        ),
        ("ListOddballs", pb.ListOddballsRequest(), oddballs(view)),
        (
            "ListMistakes",
            pb.ListMistakesRequest(
                label="label1",
                limit=3,
                class_map=[pb.LabelClasses(label=label, classes=names) for label, names in class_map.items()],
            ),
            mistakes(view, "tiny", label="label1", limit=3, class_map=class_map),
        ),
        ("SplitLabel", pb.SplitLabelRequest(label="label1", k=3, seed=0), split_label(view, "label1", k=3, seed=0)),
        (
            "InterpretClusters",
            pb.InterpretClustersRequest(samples=2, seed=7),
            interpret_clusters(view, samples=2, seed=7),
        ),
        (
            "GetClassAccuracies",
            pb.GetClassAccuraciesRequest(
                metric=pb.ACCURACY_METRIC_TOP5,
                best=1,
                class_map=[pb.LabelClasses(label=label, classes=names) for label, names in class_map.items()],
            ),
            class_accuracies(view, ["tiny"], metric="top5", best=1, class_map=class_map),
        ),
        (
            "ChooseK",
            pb.ChooseKRequest(first=3, last=5, sample=200, seeds=2, seed=7),
            choose_k(view, first=3, last=5, sample=200, seeds=2, seed=7),
        ),
        ("GetMap", pb.GetMapRequest(), map2d(view)),
        (
            "GetMap",
            pb.GetMapRequest(space="tiny", method=pb.MAP_METHOD_TSNE, sample=100, seed=7),
            map2d(view, space="tiny", method="tsne", sample=100, seed=7),
        ),
    ]
    async with serve(toy, experiment_runner=experiment_runner(toy)) as served:
        for method, request, expected in calls:
            reply = await getattr(served.experiment, method)(request)
            same(reply.result, expected)
            assert reply.result.tables


@pytest.fixture
def cared_for(toy):
    """The same with a graph, copies, and measures of quality."""
    storage = toy.storage
    draft, _ = run_graph(storage, generations.require_latest(storage), GraphSettings(k=4), Silent())
    columns = schema.attributes(COLUMNS.items())
    random, parts, entry_parts = np.random.default_rng(2), draft.images, []
    for number, path in enumerate(parts):
        ids = read_part(storage, path, ["id"]).column("id")
        values = [
            pa.array({"bool": drawn < 0.1, "int64": (drawn * 2**62).astype(np.int64), "float64": drawn}[kind])
            for kind in COLUMNS.values()
            for drawn in [random.random(len(ids))]
        ]
        entry_parts.append(layout.attributes("quality", "0" * 64, number))
        write_part(storage, entry_parts[-1], pa.table([ids, *values], schema=columns))
    described = [AttributeColumn(name, kind, len(toy.ids), []) for name, kind in COLUMNS.items()]
    entry = AttributesEntry(described, len(toy.ids), entry_parts, "0" * 64)
    generations.publish(storage, dataclasses.replace(draft, attributes={"quality": entry}))
    return toy


async def test_data_set_checks_match_their_functions(cared_for, serve) -> None:
    view = view_of(cared_for)
    near = float(next(view.reader.stream_graph("tiny"))[2][:, 0].mean())
    calls: list[tuple[str, Any, Result]] = [
        ("FindDuplicates", pb.FindDuplicatesRequest(), duplicates(view)),
        (
            "FindDuplicates",
            pb.FindDuplicatesRequest(space="tiny", max_distance=near, limit=2),
            duplicates(view, "tiny", near, limit=2),
        ),
        ("FindDuplicates", pb.FindDuplicatesRequest(exact_bytes=True), duplicates(view, exact_bytes=True)),
        (
            "FindLeaks",
            pb.FindLeaksRequest(split="label", max_distance=near, limit=5),
            leaks(view, "label", max_distance=near, limit=5),
        ),
        ("ListLabelIssues", pb.ListLabelIssuesRequest(), label_issues(view)),
        (
            "ListLabelIssues",
            pb.ListLabelIssuesRequest(limit=3, without_predictions=True, scores=True),
            label_issues(view, limit=3, predictions=False, scores=True),
        ),
        ("SampleImages", pb.SampleImagesRequest(count=7, among=90, seed=3), spread_sample(view, 7, among=90, seed=3)),
        ("ListQualityFlags", pb.ListQualityFlagsRequest(), image_quality(view)),
        (
            "ListQualityFlags",
            pb.ListQualityFlagsRequest(flag="dark", limit=2, filter=filter_pb2.Filter(text="label = 'label1'")),
            image_quality(view, "dark", 2, "label = 'label1'"),
        ),
    ]
    async with serve(cared_for, experiment_runner=experiment_runner(cared_for)) as served:
        for method, request, expected in calls:
            reply = await getattr(served.experiment, method)(request)
            same(reply.result, expected)
            # No reply contains the location of files.
            assert not {"uri"} & {column.name for table in reply.result.tables for column in table.columns}
    assert [len(result.tables["groups"]) for _, _, result in calls[1:2]] == [2]
    assert calls[3][2].tables["leaks"].num_rows == 5


async def test_comparison_has_the_scores_of_the_function_and_costs_of_its_own(toy, serve) -> None:
    request = pb.CompareSpacesRequest(
        spaces=["tiny"], strategies=["kmeans", "whitened"], clusters=4, sample=200, seed=7
    )
    expected = compare(view_of(toy), spaces=["tiny"], strategies=["kmeans", "whitened"], clusters=4, sample=200, seed=7)
    async with serve(toy, experiment_runner=experiment_runner(toy)) as served:
        result = (await served.experiment.CompareSpaces(request)).result
        by_default = (await served.experiment.CompareSpaces(pb.CompareSpacesRequest())).result
    for table in (*result.tables, *by_default.tables):
        assert [column.name for column in table.columns][:2] == ["space", "strategy"]
    lasting = dataclasses.replace(expected, tables={"scores": expected.tables["scores"]})
    costs = [table for table in result.tables if table.name == COSTS]
    assert [table.rows for table in costs] == [2]
    result.tables.remove(costs[0])
    same(result, lasting)
    [scores] = [table for table in by_default.tables if table.name == "scores"]
    assert scores.rows == len(STRATEGIES) + 1  # and the stored clustering


async def test_steps_of_a_model_are_followed(toy, serve) -> None:
    storage = toy.storage
    draft = generations.require_latest(storage)
    models, spaces, clusterings = {}, {}, {}
    for step in ("net@1", "net@2"):
        models[step] = draft.models["tiny"]
        spaces[step] = dataclasses.replace(draft.spaces["tiny"], model=step)
        clusterings[f"{step}/k5"] = dataclasses.replace(draft.clusterings["tiny/k5"], space=step)
    steps = dataclasses.replace(draft, models=models, spaces=spaces, clusterings=clusterings, indexes={})
    generations.publish(storage, dataclasses.replace(steps, default_space="net@1"))
    request = pb.GetEvolutionRequest(model="net", neighbours=4, sample=90, seed=7)
    async with serve(toy, experiment_runner=experiment_runner(toy)) as served:
        reply = await served.experiment.GetEvolution(request)
    same(reply.result, evolution(view_of(toy), model="net", k=4, sample=90, seed=7))
    assert {figure.name: figure.value for figure in reply.result.figures}["steps"] == 2


async def test_tree_needs_the_weights_of_the_model(toy, serve, refused) -> None:
    async with serve(toy, experiment_runner=experiment_runner(toy)) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.experiment.GetDendrogram(pb.GetDendrogramRequest(most=5))
    assert refused(caught.value).code is CODE.FAILED_PRECONDITION


async def test_experiments_own_refusals_have_their_codes(toy, serve, refused) -> None:
    async with serve(toy, experiment_runner=experiment_runner(toy)) as served:
        for method, request, code, said in (
            ("ListOddballs", pb.ListOddballsRequest(label="cats"), CODE.NOT_FOUND, "has the label 'cats'"),
            ("SampleImages", pb.SampleImagesRequest(count=600), CODE.INVALID_ARGUMENT, "choose 1 to"),
            ("ListQualityFlags", pb.ListQualityFlagsRequest(), CODE.FAILED_PRECONDITION, "lookalike quality"),
            ("ListQualityFlags", pb.ListQualityFlagsRequest(flag="sharp"), CODE.NOT_FOUND, "no quality flag 'sharp'"),
            ("SplitLabel", pb.SplitLabelRequest(label="cats"), CODE.NOT_FOUND, "has the label 'cats'"),
            ("SplitLabel", pb.SplitLabelRequest(label="label1", k=100_000), CODE.INVALID_ARGUMENT, "100000"),
            ("GetClassAccuracies", pb.GetClassAccuraciesRequest(models=["vgg"]), CODE.NOT_FOUND, "no model 'vgg'"),
            ("GetClassAccuracies", pb.GetClassAccuraciesRequest(), CODE.FAILED_PRECONDITION, "label"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await getattr(served.experiment, method)(request)
            found = refused(caught.value)
            assert (found.code, said in found.message) == (code, True), (method, found.message)


async def test_same_question_is_answered_from_memory_until_the_next_generation(toy, serve) -> None:
    class Counting(LocalExperimentRunner):
        asked = 0

        def answer(self, asked):
            self.asked += 1
            return super().answer(asked)

    counting = Counting(RunnerConfig(str(toy.root), None, 1, Limits()))
    async with serve(toy, experiment_runner=counting) as served:
        first = await served.experiment.GetClassMatrix(pb.GetClassMatrixRequest())
        again = await served.experiment.GetClassMatrix(pb.GetClassMatrixRequest(clustering="tiny/k5"))
        assert counting.asked == 1
        assert again.result == first.result
        storage = toy.storage
        latest = generations.require_latest(storage)
        generations.publish(storage, dataclasses.replace(latest, clusterings={}))
        await served.app.first.reloader.follow()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.experiment.GetClassMatrix(pb.GetClassMatrixRequest())
    assert caught.value.code() == CODE.FAILED_PRECONDITION


async def test_searches_are_answered_while_an_experiment_runs(toy, serve) -> None:
    started, release = threading.Event(), threading.Event()

    class Slow(LocalExperimentRunner):
        def answer(self, asked):
            started.set()
            assert release.wait(60)
            return super().answer(asked)

    slow = Slow(RunnerConfig(str(toy.root), None, 1, Limits()))
    async with serve(toy, experiment_runner=slow) as served:
        running = asyncio.ensure_future(served.experiment.GetClassMatrix(pb.GetClassMatrixRequest()))
        assert await asyncio.to_thread(started.wait, 60)
        query = types_pb2.QueryBatch(ids=types_pb2.Ids(values=[5]))
        for _ in range(20):
            assert list((await served.neighbors(query, 3)).neighbors.counts) == [3]
        assert not running.done()
        release.set()
        assert (await running).result.kind == "class_matrix"


WRONG: list[tuple[str, Any, grpc.StatusCode, str]] = [
    ("GetClassMatrix", pb.GetClassMatrixRequest(clustering="tiny/k9"), CODE.NOT_FOUND, "it has: tiny/k5"),
    ("ListOddballs", pb.ListOddballsRequest(clustering="k6"), CODE.NOT_FOUND, "no clustering 'k6'"),
    ("ListOddballs", pb.ListOddballsRequest(limit=1001), CODE.INVALID_ARGUMENT, "limit is 1001; it must be 0 to 1000"),
    ("ListOddballs", pb.ListOddballsRequest(limit=-1), CODE.INVALID_ARGUMENT, "limit is -1"),
    ("SplitLabel", pb.SplitLabelRequest(), CODE.INVALID_ARGUMENT, "names no label"),
    ("SplitLabel", pb.SplitLabelRequest(label="label1", k=-2), CODE.INVALID_ARGUMENT, "k is -2"),
    ("SplitLabel", pb.SplitLabelRequest(label="label1", space="big"), CODE.NOT_FOUND, "no space 'big'; it has: tiny"),
    ("SplitLabel", pb.SplitLabelRequest(label="label1", seed=-1), CODE.INVALID_ARGUMENT, "seed is -1"),
    ("InterpretClusters", pb.InterpretClustersRequest(samples=101), CODE.INVALID_ARGUMENT, "samples is 101"),
    ("GetImageClusters", pb.GetImageClustersRequest(), CODE.INVALID_ARGUMENT, "names no image"),
    ("GetImageClusters", pb.GetImageClustersRequest(image=pb.ImageName(id=6)), CODE.NOT_FOUND, "no image with id 6"),
    (
        "GetImageClusters",
        pb.GetImageClustersRequest(image=pb.ImageName(id=5), members=101),
        CODE.INVALID_ARGUMENT,
        "members is 101",
    ),
    ("ExplainImage", pb.ExplainImageRequest(image=pb.ImageName(key="x")), CODE.NOT_FOUND, "no image with key 'x'"),
    ("GetClassAccuracies", pb.GetClassAccuraciesRequest(metric=9), CODE.INVALID_ARGUMENT, "metric is 9"),
    (
        "GetClassAccuracies",
        pb.GetClassAccuraciesRequest(class_map=[pb.LabelClasses(label="label1")]),
        CODE.INVALID_ARGUMENT,
        "names no class for the label 'label1'",
    ),
    (
        "GetAttribution",
        pb.GetAttributionRequest(image=pb.ImageName(id=5), model="vgg"),
        CODE.NOT_FOUND,
        "no model 'vgg'; it has: tiny",
    ),
    ("GetAttribution", pb.GetAttributionRequest(method=7), CODE.INVALID_ARGUMENT, "method is 7"),
    ("ChooseK", pb.ChooseKRequest(sample=10_001), CODE.INVALID_ARGUMENT, "sample is 10001; it must be 0 to 10000"),
    ("ChooseK", pb.ChooseKRequest(seeds=101), CODE.INVALID_ARGUMENT, "seeds is 101; it must be 0 to 100"),
    ("ChooseK", pb.ChooseKRequest(first=-1), CODE.INVALID_ARGUMENT, "first is -1"),
    ("ChooseK", pb.ChooseKRequest(space="vgg"), CODE.NOT_FOUND, "no space 'vgg'"),
    ("GetDendrogram", pb.GetDendrogramRequest(model="vgg"), CODE.NOT_FOUND, "no model 'vgg'; it has: tiny"),
    ("GetDendrogram", pb.GetDendrogramRequest(most=1001), CODE.INVALID_ARGUMENT, "most is 1001"),
    ("GetMap", pb.GetMapRequest(method=7), CODE.INVALID_ARGUMENT, "method is 7"),
    ("GetMap", pb.GetMapRequest(sample=10_001), CODE.INVALID_ARGUMENT, "sample is 10001"),
    ("CompareSpaces", pb.CompareSpacesRequest(seed=-1), CODE.INVALID_ARGUMENT, "seed is -1"),
    ("CompareSpaces", pb.CompareSpacesRequest(spaces=["a"] * 1001), CODE.INVALID_ARGUMENT, "which is max_names"),
    ("FindDuplicates", pb.FindDuplicatesRequest(), CODE.FAILED_PRECONDITION, "lookalike graph"),
    ("FindDuplicates", pb.FindDuplicatesRequest(max_distance=-1), CODE.INVALID_ARGUMENT, "max_distance is -1"),
    ("FindLeaks", pb.FindLeaksRequest(), CODE.INVALID_ARGUMENT, "names no column for the split"),
    ("FindLeaks", pb.FindLeaksRequest(split="label"), CODE.FAILED_PRECONDITION, "lookalike graph"),
    ("ListLabelIssues", pb.ListLabelIssuesRequest(limit=1001), CODE.INVALID_ARGUMENT, "limit is 1001"),
    ("SampleImages", pb.SampleImagesRequest(), CODE.INVALID_ARGUMENT, "count is 0"),
    ("GetEvolution", pb.GetEvolutionRequest(neighbours=1025), CODE.INVALID_ARGUMENT, "neighbours is 1025"),
]


async def test_wrong_calls_are_rejected_before_any_work(toy, serve, refused) -> None:
    class Idle(LocalExperimentRunner):
        def answer(self, asked):
            raise AssertionError(f"{asked} was run")

    async with serve(toy, experiment_runner=Idle(RunnerConfig(str(toy.root), None, 1, Limits()))) as served:
        for method, request, code, said in WRONG:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await getattr(served.experiment, method)(request)
            found = refused(caught.value)
            assert (found.code, said in found.message) == (code, True), (method, found.message)


CLASSES = pb.LabelClasses(label="label1", classes=["1", "2", "3"])


async def test_names_in_a_call_are_limited(toy, serve, refused) -> None:
    class Idle(LocalExperimentRunner):
        def answer(self, asked):
            raise AssertionError(f"{asked} was run")

    limits = Limits(max_class_map=7, max_names=3, max_text_bytes=100_000)
    few = [CLASSES, CLASSES]
    many = [pb.LabelClasses()] * 8
    image = pb.ImageName(id=5)
    long = pb.LabelClasses(label="x" * 100_000, classes=["1"])
    async with serve(
        toy, experiment_runner=Idle(RunnerConfig(str(toy.root), None, 1, limits)), limits=limits
    ) as served:
        for method, request, said in (
            (
                "GetClassAccuracies",
                pb.GetClassAccuraciesRequest(class_map=few),
                "has 8 labels and classes; the limit is 7",
            ),
            ("GetClassAccuracies", pb.GetClassAccuraciesRequest(class_map=many), "which is max_class_map"),
            ("ExplainImage", pb.ExplainImageRequest(image=image, class_map=few), "has 8 labels and classes"),
            (
                "GetClassAccuracies",
                pb.GetClassAccuraciesRequest(models=["a"] * 4),
                "has 4 models; the limit is 3, which",
            ),
            ("GetResult", pb.GetResultRequest(tables=["a"] * 4), "has 4 tables; the limit is 3, which is max_names"),
            ("ExplainImage", pb.ExplainImageRequest(image=image, class_map=[long]), "100000, which is max_text_bytes"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await getattr(served.experiment, method)(request)
            found = refused(caught.value)
            assert (found.code, said in found.message) == (CODE.INVALID_ARGUMENT, True), (method, found.message)


async def test_requests_are_not_cached_and_replies_up_to_a_limit(toy, serve) -> None:
    class Same(LocalExperimentRunner):
        def answer(self, asked):
            return pb.ExperimentResult(findings=["x" * 1000]).SerializeToString()

    limits = Limits(max_kept_bytes=20_000)
    classes = [f"class {number}" for number in range(20_000)]
    observe = ObserveSettings(metrics_port=0)
    experiment_runner = Same(RunnerConfig(str(toy.root), None, 1, limits))
    async with serve(toy, experiment_runner=experiment_runner, limits=limits, observe=observe) as served:

        async def ask(number: int) -> None:
            class_map = [pb.LabelClasses(label=f"label{number}", classes=classes)]
            reply = await served.experiment.GetClassAccuracies(pb.GetClassAccuraciesRequest(class_map=class_map))
            assert reply.result.findings == ["x" * 1000]

        tracemalloc.start()
        try:
            for number in range(3):
                await ask(number)
            before = tracemalloc.get_traced_memory()[0]
            for number in range(3, 30):
                await ask(number)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert 10_000 < served.app.cached_bytes <= 20_000
    assert grown < 4_000_000, "the texts of one class_map take a million bytes and more"


async def test_collection_without_labels_predictions_or_clusterings(make_toy, serve, refused) -> None:
    bare = make_toy(np.eye(4, dtype=np.float32), name="bare")
    by_id = pb.ImageName(id=5)
    async with serve(bare, experiment_runner=experiment_runner(bare)) as served:
        for method, request, said in (
            ("GetClassMatrix", pb.GetClassMatrixRequest(), "The space tiny has no clustering; make one with"),
            ("GetClassAccuracies", pb.GetClassAccuraciesRequest(), "No model of the collection bare keeps predictions"),
            ("ExplainImage", pb.ExplainImageRequest(image=by_id), "keeps no predictions of the model tiny"),
            ("GetAttribution", pb.GetAttributionRequest(image=by_id), "keeps no predictions of the model tiny"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await getattr(served.experiment, method)(request)
            found = refused(caught.value)
            assert (found.code, said in found.message) == (CODE.FAILED_PRECONDITION, True), (method, found.message)


async def test_attribution_needs_weights_and_a_known_class(toy, serve, refused) -> None:
    by_id = pb.ImageName(id=5)
    async with serve(toy, experiment_runner=experiment_runner(toy)) as served:
        for request, code, said in (
            (pb.GetAttributionRequest(image=by_id, class_index=1000), CODE.INVALID_ARGUMENT, "classes 0 to 999"),
            (pb.GetAttributionRequest(image=pb.ImageName(id=7)), CODE.NOT_FOUND, "can no longer be read"),
            # The manifest names another digest of the toy's weights.
            (pb.GetAttributionRequest(image=by_id), CODE.FAILED_PRECONDITION, "weights"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.experiment.GetAttribution(request)
            found = refused(caught.value)
            assert (found.code, said in found.message) == (code, True), found.message


async def test_answer_with_too_many_rows_is_rejected(toy, serve, refused) -> None:
    limits = Limits(max_table_rows=4)
    async with serve(toy, experiment_runner=experiment_runner(toy, limits), limits=limits) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.experiment.GetClassMatrix(pb.GetClassMatrixRequest())
    assert refused(caught.value).code == CODE.INVALID_ARGUMENT
    assert "the limit of a reply is 4" in refused(caught.value).message


async def test_server_without_experiments_reports_it_and_searches(make_toy, serve) -> None:
    async with serve(make_toy(clusters=3), experiments=False) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.experiment.GetClassMatrix(pb.GetClassMatrixRequest())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "This server runs no experiments; start it without --no-experiments" in caught.value.details()
        assert not (await served.experiment.ListResults(pb.ListResultsRequest())).results
        health = health_pb2_grpc.HealthStub(served.channel)
        states = {
            name: (await health.Check(health_pb2.HealthCheckRequest(service=name))).status
            for name in ("", "lookalike.v1.ExperimentService")
        }
        assert states[""] == health_pb2.HealthCheckResponse.SERVING
        assert states["lookalike.v1.ExperimentService"] == health_pb2.HealthCheckResponse.NOT_SERVING
