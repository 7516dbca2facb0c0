"""Experiments: requests, and the parsing of tables, settings and pages."""

import grpc
import numpy as np
import pytest

import lookalike
from lookalike import wire
from lookalike.v1 import experiment_pb2


def test_experiment_has_tables_figures_findings_and_settings(client):
    matrix = client.class_matrix()
    assert matrix.kind == "class_matrix"
    assert matrix.settings == {"clustering": "toy/halves"}
    counts = matrix.tables["counts"]
    assert list(counts) == ["label", "images", "cluster"]
    assert counts.rows == 2
    assert counts["label"] == ("dogs", "cats")
    assert counts["images"].dtype == np.int64
    assert counts.records()[1] == {"label": "cats", "images": 5, "cluster": 1}
    assert matrix.figures == {"purity": 1.0, "nmi": 0.9999999999}
    assert matrix.findings == ("Every label has a cluster of its own.",)
    assert matrix.served.generation == 1
    assert repr(matrix) == "<Experiment class_matrix: counts (2), purity 1, nmi 1>"
    assert repr(counts) == "<Table of 2 rows: label, images, cluster>"
    with pytest.raises(KeyError, match="the columns are label, images, cluster"):
        counts["lable"]


@pytest.mark.parametrize(
    ("ask", "method", "told"),
    [
        (lambda c: c.image_clusters(key="dogs/01.jpg", members=7), "GetImageClusters", {"members": "7"}),
        (lambda c: c.class_accuracies("alexnet", metric="top5", best=3), "GetClassAccuracies",
         {"models": "['alexnet']", "metric": "2", "best": "3"}),
        (lambda c: c.class_matrix("toy/halves"), None, {"clustering": "toy/halves"}),
        (lambda c: c.oddballs("toy/halves", label="dogs", limit=5), "ListOddballs",
         {"clustering": "toy/halves", "label": "dogs", "limit": "5"}),
        (lambda c: c.mistakes("alexnet", label="dogs", limit=5), "ListMistakes",
         {"model": "alexnet", "label": "dogs", "limit": "5"}),
        (lambda c: c.split_label("dogs", space="toy", k=2, seed=0), "SplitLabel",
         {"label": "dogs", "space": "toy", "k": "2", "seed": "0"}),
        (lambda c: c.split_label("dogs"), "SplitLabel", {"label": "dogs"}),
        (lambda c: c.interpret_clusters(samples=4), "InterpretClusters", {"samples": "4"}),
        (lambda c: c.explain(id=3, space="toy", neighbors=2), "ExplainImage", {"space": "toy", "neighbours": "2"}),
        (lambda c: c.choose_k("toy", first=3, last=9, sample=50, seeds=2, seed=0), "ChooseK",
         {"space": "toy", "first": "3", "last": "9", "sample": "50", "seeds": "2", "seed": "0"}),
        (lambda c: c.dendrogram("alexnet", clusters=3, most=9), "GetDendrogram",
         {"model": "alexnet", "clusters": "3", "most": "9"}),
        (lambda c: c.map("toy", method="umap", sample=7, seed=1), "GetMap",
         {"space": "toy", "method": "3", "sample": "7", "seed": "1"}),
        (lambda c: c.compare("toy", strategies=["kmeans", "whitened"], clusters=2, sample=9), "CompareSpaces",
         {"spaces": "['toy']", "strategies": "['kmeans', 'whitened']", "clusters": "2", "sample": "9"}),
        (lambda c: c.evolution("resnet18", neighbors=3, sample=9, seed=4), "GetEvolution",
         {"model": "resnet18", "neighbours": "3", "sample": "9", "seed": "4"}),
        (lambda c: c.duplicates("toy", max_distance=0.25, exact_bytes=True, limit=3), "FindDuplicates",
         {"space": "toy", "max_distance": "0.25", "exact_bytes": "True", "limit": "3"}),
        (lambda c: c.leaks("fold", space="toy", max_distance=0, limit=3), "FindLeaks",
         {"split": "fold", "space": "toy", "max_distance": "0.0", "limit": "3"}),
        (lambda c: c.label_issues("toy", limit=9, predictions=False, scores=True), "ListLabelIssues",
         {"space": "toy", "limit": "9", "without_predictions": "True", "scores": "True"}),
        (lambda c: c.sample(4, space="toy", among=9, seed=0), "SampleImages",
         {"count": "4", "space": "toy", "among": "9", "seed": "0"}),
        (lambda c: c.quality("blurry", limit=2, where="width > 9"), "ListQualityFlags",
         {"flag": "blurry", "limit": "2"}),
    ],
)  # fmt: skip
def test_arguments_arrive(client, ask, method, told):
    found = ask(client)
    assert method is None or found.kind == method
    assert told.items() <= dict(found.settings).items()


def test_image_is_named_by_key_or_id(client, toy):
    client.explain(key="cats/07.jpg")
    client.image_clusters(id=0)
    assert toy.requests[0].image.key == "cats/07.jpg"
    assert toy.requests[1].image.WhichOneof("name") == "id"
    for wrong in ({}, {"key": "x", "id": 1}):
        with pytest.raises(lookalike.InvalidArgumentError, match="key"):
            client.explain(**wrong)


def test_class_map_names_one_class_or_several(client, toy):
    client.class_accuracies(class_map={"dogs": ["beagle", "pug"], "cats": "tabby"})
    mapped = {entry.label: list(entry.classes) for entry in toy.requests[0].class_map}
    assert mapped == {"dogs": ["beagle", "pug"], "cats": ["tabby"]}
    client.explain(id=1, class_map={"dogs": "pug"})
    client.mistakes(class_map={"dogs": "pug"})
    for request in toy.requests[1:]:
        assert [list(entry.classes) for entry in request.class_map] == [["pug"]]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda c: c.class_accuracies(metric="top3"), "metric='top3' must be 'top1' or 'top5'"),
        (lambda c: c.attribution(key="x", method="lime"), "method='lime' must be 'cam' or 'gbp'"),
        (lambda c: c.attribution(key="x", class_index=-1), "class_index=-1 must be"),
        (lambda c: c.map(method="mds"), "method='mds' must be 'pca' or 'tsne' or 'umap'"),
        (lambda c: c.choose_k(first=-1), "first=-1 must be an integer"),
        (lambda c: c.compare(seed=1 << 40), "must be an integer from 0"),
        (lambda c: c.oddballs(limit=1.5), "limit=1.5 must be an integer"),
        (lambda c: c.split_label("dogs", seed=-1), "seed=-1 must be an integer"),
        (lambda c: c.duplicates(max_distance=-0.5), "max_distance=-0.5 must be a number from 0 up"),
        (lambda c: c.leaks("fold", max_distance=float("nan")), "max_distance=nan must be a number from 0 up"),
        (lambda c: c.sample(0), "n=0 must be"),
    ],
)
def test_wrong_arguments_are_found_before_the_call(client, toy, ask, said):
    with pytest.raises(lookalike.InvalidArgumentError, match=said):
        ask(client)
    assert toy.calls == []


def test_attribution_is_an_image_of_a_class(client):
    found = client.attribution(key="dogs/01.jpg", method="gbp")
    assert found.png.startswith(b"\x89PNG")
    assert (found.class_index, found.class_name, found.probability) == (256, "Newfoundland", 0.75)
    assert client.attribution(id=1, class_index=0).probability is None


def test_stored_results_are_listed_with_settings_of_every_kind(client, toy):
    [one] = client.results()
    assert (one.name, one.kind, one.tables) == ("map/toy", "map", {"points": 11, "axes": 2})
    assert one.settings == {"perplexity": 30.5, "seed": 1234, "whiten": True, "color": None, "labels": ["dogs", 7]}
    assert (one.figures, one.findings, one.out_of_date) == ({"kept": 0.25}, ("Two arcs.",), False)
    toy.generation = 2
    assert client.results()[0].out_of_date
    assert client.result("map/toy").out_of_date


def test_pages_of_a_stored_result_become_whole_tables(client, toy):
    found = client.result("map/toy")
    assert toy.calls == ["GetResult"] * 3
    points, axes = found.tables["points"], found.tables["axes"]
    assert (points.rows, axes.rows, axes["axis"]) == (11, 2, ("x", "y"))
    assert points["id"].tolist() == list(range(11))
    assert points["x"].dtype == np.float64
    assert points["x"].tolist() == [row / 2 for row in range(11)]
    assert points["xy"].tolist() == [[row, -row] for row in range(11)]
    assert points["odd"].dtype == np.bool_
    assert points["id"][points["odd"]].tolist() == [1, 3, 5, 7, 9]
    assert [near.tolist() for near in points["near"][:4]] == [[], [0], [0, 1], [1, 2]]
    assert points["near_keys"][1] == ("dogs/00.jpg",)
    assert points.records()[3]["near"] == [1, 2]
    assert not points["x"].flags.writeable


def test_missing_values_are_none_or_nan(client):
    points = client.result("map/toy").tables["points"]
    assert points["label"][9:] == ("cats", None)
    assert points["cluster"].dtype == np.float64
    assert np.isnan(points["cluster"]).tolist() == [False] * 10 + [True]
    assert points.records()[10]["cluster"] is None


def test_some_tables_in_pages_of_a_size(client, toy):
    found = client.result("map/toy", tables="axes", page_size=3)
    assert list(found.tables) == ["axes"]
    assert [request.page_size for request in toy.requests] == [3] * 4


def test_new_generation_between_pages_is_an_error(client, toy):
    def newer(method, reply):
        toy.generation = 2

    toy.change = newer
    with pytest.raises(lookalike.GenerationChangedError):
        client.result("map/toy")


def test_errors_of_the_server_are_ours(client, toy):
    with pytest.raises(lookalike.NotFoundError, match="it has: map/toy"):
        client.result("map/other")
    toy.fail(grpc.StatusCode.FAILED_PRECONDITION, "No image has a label.", times=1)
    with pytest.raises(lookalike.FailedPreconditionError, match="No image has a label") as caught:
        client.class_matrix()
    assert not isinstance(caught.value, lookalike.GenerationChangedError)


@pytest.mark.parametrize(
    "column",
    [
        experiment_pb2.Column(name="c"),
        experiment_pb2.Column(name="c", numbers=wire.encode(np.zeros(3))),
        experiment_pb2.Column(name="c", texts=experiment_pb2.Texts(values=["a"])),
        experiment_pb2.Column(name="c", numbers=wire.encode(np.zeros((2, 1, 1)))),
        experiment_pb2.Column(name="c", numbers=wire.encode(np.zeros(2)), nulls=wire.encode(np.array([2]))),
        experiment_pb2.Column(name="c", numbers=wire.encode(np.zeros(2)), nulls=wire.encode(np.array([-1]))),
        experiment_pb2.Column(name="c", numbers=wire.encode(np.zeros(2)), offsets=wire.encode(np.array([0, 1]))),
        experiment_pb2.Column(name="c", numbers=wire.encode(np.zeros(2)), offsets=wire.encode(np.array([0, 2, 1]))),
        experiment_pb2.Column(name="c", numbers=wire.encode(np.zeros(2)), offsets=wire.encode(np.array([0, 3, 2]))),
    ],
)  # fmt: skip
def test_column_that_contradicts_itself_is_a_protocol_error(client, toy, column):
    def spoil(method, reply):
        del reply.result.tables[0].columns[:]
        reply.result.tables[0].columns.append(column)

    toy.change = spoil
    with pytest.raises(lookalike.ProtocolError, match="cannot be read"):
        client.class_matrix()
