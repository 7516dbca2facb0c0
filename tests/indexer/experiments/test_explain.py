from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.parts import write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.experiments.explain import explain, explain_picture
from lookalike_indexer.experiments.explain_table import explain_table
from lookalike_indexer.experiments.subject import Picture
from lookalike_indexer.experiments.view import View
from lookalike_indexer.progress import Silent

# Tenches and goldfish, one of which is among the others and predicted as one of them; and a ray.
LABELS = ["tench"] * 4 + ["goldfish"] * 4 + [None, "tench"]
TENCH, GOLDFISH, RAY = 0, 1, 6
TOP = [[TENCH, GOLDFISH]] * 4 + [[GOLDFISH, TENCH]] * 4 + [[RAY, TENCH], [GOLDFISH, RAY]]
Explained = Callable[..., View]


@pytest.fixture
def explained(make_collection) -> Explained:
    """Make the collection of LABELS with the given predictions."""

    def make(top: list[list[int]] = TOP, predictions: bool = True) -> View:
        angles = np.array([0.00, 0.02, 0.04, 0.06, 1.00, 1.02, 1.04, 1.06, 2.5, 0.98])
        storage = make_collection(np.stack([np.cos(angles), np.sin(angles)], 1), labels=LABELS)
        manifest = generations.require_latest(storage)
        entry = manifest.models["tiny"]
        spec = dataclasses.replace(entry.spec, weights=dataclasses.replace(entry.spec.weights, kind="file"))
        path = layout.predictions("tiny", 0)
        names = {TENCH: "tench", GOLDFISH: "goldfish", RAY: "stingray", 2: "great white shark"}
        classes = pa.array(np.array(top, np.int32).ravel())
        columns = [classes, pa.array([names[index] for index in classes.to_pylist()])]
        columns.append(pa.array(np.tile(np.array([0.75, 0.25], np.float32), len(top))))
        types = schema.predictions(2)
        lists = [
            pa.FixedSizeListArray.from_arrays(column, type=types.field(place).type)
            for place, column in enumerate(columns, 1)
        ]
        write_part(storage, path, pa.table([pa.array(np.arange(10) * 3 + 1), *lists], types))
        models = {"tiny": dataclasses.replace(entry, spec=spec, predictions=[path] if predictions else [])}
        draft = generations.complete(storage, dataclasses.replace(manifest, models=models))
        draft, _ = run_cluster(storage, draft, ClusterSettings(clusters=3, restarts=3), Silent())
        return View(CollectionReader(storage, generations.publish(storage, draft)))

    return make


def test_misclassified_image_is_nearest_to_its_predicted_class(explained):
    found = explain(explained(), 9, neighbors=2)
    nearest = found.tables["nearest"].to_pydict()
    assert nearest["group"] == ["own", "own", "rival", "rival"]
    assert nearest["key"] == ["00010.jpg", "00007.jpg", "00013.jpg", "00016.jpg"]
    angles = np.array([0.92, 0.94, 0.02, 0.04])
    np.testing.assert_allclose(nearest["distance"], 1 - np.cos(angles), atol=1e-6)
    np.testing.assert_allclose(found.figures["rival_distance"], 1 - np.cos(0.02), atol=1e-6)
    (line,) = found.tables["clusters"].to_pylist()
    assert (line["size"], line["main_label"], line["main_share"], line["own_share"]) == (5, "goldfish", 0.8, 0.2)
    assert nearest["cluster"][2:] == [line["cluster"]] * 2 != nearest["cluster"][:2]
    predictions = found.tables["predictions"].to_pylist()
    assert [(one["rank"], one["class"], one["of_label"]) for one in predictions] == [
        (1, "goldfish", False),
        (2, "stingray", False),
    ]
    assert found.findings[:2] == (
        "tiny takes it for goldfish (75%); its label tench is not among the 2 most probable classes.",
        "Its nearest image of tench is at 0.394, its nearest of goldfish at 0.000 (cosine distances).",
    )
    (odd,) = found.tables["odd"].to_pylist()
    assert (odd["rank"], odd["looks_like"], odd["nearer"]) == (1, "goldfish", True)
    (told,) = [line for line in found.findings if line.startswith("It is odd for ")]
    assert told.endswith(", and it is nearer to the middle of goldfish.")
    assert "it is nearer to the middle of goldfish" in found.findings[2]
    assert "of which 80% are goldfish and 20% tench." in found.findings[3]


def test_correctly_classified_image_is_compared_with_the_next_class(explained):
    found = explain(explained(), 0)
    assert found.settings["rival"] == "goldfish"
    assert found.findings[0] == "tiny takes it for tench (75%), as its label tench says; the next is goldfish."
    assert found.tables["odd"].num_rows == 0
    # The image is not its own neighbor.
    assert "00001.jpg" not in found.tables["nearest"].column("key").to_pylist()


def test_image_without_label_has_only_a_rival(explained):
    found = explain(explained(), 8)
    assert set(found.tables["nearest"].column("group").to_pylist()) == {"rival"}
    assert found.findings[0].endswith("; it has no label.")


def test_class_without_a_label_is_represented_by_its_predicted_images(explained):
    found = explain(explained([*TOP[:7], [RAY, TENCH], *TOP[8:9], [RAY, GOLDFISH]]), 9)
    assert found.settings["rival_by"] == "prediction"
    assert found.tables["nearest"].filter(pc.field("group") == "rival").column("key").to_pylist() == [
        "00022.jpg",
        "00025.jpg",
    ]
    assert (
        "No label of the collection stands for stingray, so it is compared with images that tiny takes for stingray."
        in found.findings
    )
    alone = explain(explained([*TOP[:9], [2, TENCH]]), 9)
    assert alone.settings["rival_by"] == "other"
    rivals = alone.tables["nearest"].filter(pc.field("group") == "rival").column("label").to_pylist()
    assert rivals == ["goldfish"] * 4 + [""]


def test_class_map_assigns_labels_to_classes(explained):
    found = explain(explained(), 9, class_map={"tench": ["goldfish"]})
    assert found.findings[0] == "tiny takes it for goldfish (75%), as its label tench says; the next is stingray."


def test_explain_requires_predictions(explained):
    with pytest.raises(NotBuiltError, match="keeps no predictions of the model tiny"):
        explain(explained(predictions=False), 0)


def test_no_image_is_in_both_groups(explained):
    # Row 9, a tench, is predicted as a stingray like row 0, another tench; no label stands for that class.
    found = explain(explained([[RAY, TENCH], *TOP[1:9], [RAY, GOLDFISH]]), 9, neighbors=9)
    groups = {
        group: found.tables["nearest"].filter(pc.field("group") == group).column("key").to_pylist()
        for group in ("own", "rival")
    }
    assert groups == {"own": ["00010.jpg", "00007.jpg", "00004.jpg"], "rival": ["00001.jpg", "00025.jpg"]}
    told = "The nearest image that is taken for stingray is at 0.443 (label tench), the nearest other image of tench at"
    assert any(line.startswith(told) for line in found.findings)


def test_fully_misclassified_label_keeps_its_group(explained):
    found = explain(explained([[RAY, TENCH]] * 4 + TOP[4:8] + [[RAY, TENCH], [RAY, GOLDFISH]]), 9)
    nearest = found.tables["nearest"].to_pydict()
    assert nearest["group"] == ["own"] * 4 + ["rival"]
    assert nearest["key"][-1] == "00025.jpg"


def test_image_outside_of_the_collection_is_explained_as_it_is_seen(explained):
    view = explained()
    vector = np.array([[np.cos(1.025), np.sin(1.025)]], np.float32)
    picture = Picture("new.jpg", vector, np.array([GOLDFISH, TENCH], np.int32), np.array([0.9, 0.1], np.float32))
    found = explain_picture(view, picture, neighbors=2)
    assert (found.settings["key"], found.settings["stored"], found.settings["own_class"]) == ("new.jpg", False, -1)
    assert found.tables["nearest"].column("key").to_pylist() == ["00016.jpg", "00019.jpg"]
    (line,) = found.tables["clusters"].to_pylist()
    # The value of the goldfish, whose angles are around 1.03.
    assert (line["size"], line["main_label"]) == (5, "goldfish")
    assert line["distance"] < 0.05
    assert found.findings[:2] == (
        "tiny takes it for goldfish (90%); it has no label.",
        "Its nearest image of goldfish is at 0.000 (cosine distance).",
    )


def test_one_table_has_the_class_of_each_image_and_that_of_its_label(explained):
    view = explained()
    lines = explain_table([explain(view, row) for row in (0, 9, 8)]).to_pylist()
    assert [(line["key"], line["class_index"], line["is_first"], line["of_label"]) for line in lines] == [
        ("00001.jpg", TENCH, True, True),
        ("00028.jpg", GOLDFISH, True, False),
        ("00028.jpg", TENCH, False, True),
        ("00025.jpg", RAY, True, None),
    ]
    # Tench is not among the stored classes of row 9.
    assert (lines[2]["probability"], lines[2]["at_most"]) == (None, 0.25)
    assert (lines[1]["probability"], lines[1]["at_most"]) == (0.75, None)
