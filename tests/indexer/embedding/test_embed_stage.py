from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import MismatchError, NotFoundError, UsageError
from lookalike_indexer.models.network import Node

MODEL = "squeezenet1_1"


@pytest.fixture
def reader(storage: Storage):
    return lambda: CollectionReader.open(str(storage.root))


def vectors(reader: CollectionReader, space: str = "") -> np.ndarray:
    return np.concatenate([block for _, block in reader.stream(space)])


def test_makes_all_tables_of_a_folder(embed, reader, photos: Path):
    report = embed()
    assert (report.images, report.new, report.embedded, report.skipped, report.rejected) == (20, 23, 20, 0, 3)
    assert report.images_per_second > 0
    collection = reader()
    images = collection.images().to_pylist()
    assert len(images) == 20
    assert images[0] == {
        "id": 0,
        "key": "a/00.png",
        "label": "a",
        "uri": str(photos / "a" / "00.png"),
        "bytes": (photos / "a" / "00.png").stat().st_size,
        "format": "PNG",
        "width": 40,
        "height": 32,
        "sha256": hashlib.sha256((photos / "a" / "00.png").read_bytes()).hexdigest(),
    }
    rejects = {row["key"]: row["reason"] for row in collection.rejects(MODEL).to_pylist()}
    assert set(rejects) == {"a/03-broken.jpg", "b/04-empty.png", "zz.gif"}
    assert rejects["b/04-empty.png"] == "the file is empty"
    ids = collection.ids()
    assert ids.tolist() == [row["id"] for row in images]
    assert sorted({*ids.tolist(), *collection.rejects(MODEL).column("id").to_pylist()}) == list(range(23))
    assert vectors(collection).shape == (20, 512)
    assert np.isfinite(vectors(collection)).all()
    assert len(np.unique(vectors(collection), axis=0)) == 20


def test_manifest_records_how_everything_was_made(embed, reader, storage: Storage):
    embed(layers=(Node("features.3", "max"),), dtype="float16")
    manifest = reader().manifest
    assert manifest.default_space == MODEL
    assert list(manifest.spaces) == [MODEL, f"{MODEL}.features.3.max"]
    space = manifest.spaces[f"{MODEL}.features.3.max"]
    assert (space.model, space.layer, space.pooling, space.dim, space.dtype, space.rows) == (
        MODEL,
        "features.3.cat",
        "max",
        128,
        "float16",
        20,
    )
    assert space.fingerprint == manifest.space_spec(f"{MODEL}.features.3.max").fingerprint
    model = manifest.models[MODEL]
    assert (model.spec.arch, str(model.spec.weights), model.spec.weights.pretrained) == (MODEL, "untrained:1", False)
    assert model.compute == "float32"
    # SqueezeNet has no batch norms to calibrate.
    assert model.files == []
    assert manifest.rows(model.predictions) == 20
    for path in manifest.files:
        reader().verify(path)
    there = {str(path.relative_to(storage.root)) for path in storage.root.rglob("*.*") if path.is_file()}
    assert there - {".lock"} == {*manifest.files, "generations/000001.json"}


def test_predictions_are_five_classes_with_falling_probability(embed, reader):
    embed()
    collection = reader()
    (first, *_) = collection.manifest.models[MODEL].predictions
    table = pq.read_table(collection.storage.local(first))
    row = table.to_pylist()[0]
    assert row["id"] == 0
    assert len(row["class_index"]) == 5
    assert row["class_name"] == [f"class {number}" for number in row["class_index"]]
    assert row["probability"] == sorted(row["probability"], reverse=True)
    assert 0 < sum(row["probability"]) <= 1


def test_running_again_embeds_nothing_and_publishes_nothing(embed, storage: Storage, contents):
    embed()
    before = contents(storage)
    report = embed()
    assert (report.embedded, report.new, report.skipped) == (0, 0, 23)
    assert contents(storage) == before
    assert generations.numbers(storage) == [1]


def test_new_files_alone_are_embedded(embed, reader, photos: Path, storage: Storage, contents, add_photo):
    embed()
    before = contents(storage)
    old = vectors(reader())
    add_photo(photos / "a" / "000.png", 50)
    add_photo(photos / "c" / "x.png", 51)
    (photos / "a" / "02.png").unlink()
    add_photo(photos / "a" / "04.png", 52)
    report = embed()
    assert (report.new, report.embedded, report.skipped, report.gone, report.changed) == (2, 2, 23, 1, 1)
    after = contents(storage)
    assert {path: after[path] for path in before} == before
    collection = reader()
    assert collection.manifest.generation == 2
    assert collection.images().column("key").to_pylist()[-2:] == ["a/000.png", "c/x.png"]
    assert collection.ids().tolist()[-2:] == [23, 24]
    assert np.array_equal(vectors(collection)[:20], old)


def test_part_depends_on_itself_alone(embed, reader, storage: Storage, contents):
    embed()
    before = contents(storage)
    for path in list(before):
        if "part-000001" in path and not path.startswith("source"):
            storage.local(path).unlink()
    storage.local(f"embeddings/{MODEL}/part-000003.parquet").unlink()
    # A killed run leaves no generation that names them.
    storage.local("generations/000001.json").unlink()
    report = embed()
    # Part 1 has 7 images to embed, part 3 has one; its other file was rejected permanently.
    assert report.skipped == 15
    assert contents(storage) == before


def test_further_layer_is_added_without_touching_the_rest(embed, reader, storage: Storage, contents):
    embed()
    before = contents(storage)
    report = embed(layers=(Node("features.6", "top10"),))
    after = contents(storage)
    assert {path: after[path] for path in before} == before
    new = {path for path in after if path not in before}
    assert new == {
        *(f"embeddings/{MODEL}.features.6.top10/part-{part:06d}.parquet" for part in range(4)),
        "generations/000002.json",
    }
    assert report.spaces == [MODEL, f"{MODEL}.features.6.top10"]
    assert reader().ids(f"{MODEL}.features.6.top10").tolist() == reader().ids().tolist()
    assert reader().manifest.default_space == MODEL


def test_images_removed_since_are_rejected_for_a_new_layer(embed, reader, photos: Path, storage, contents):
    embed()
    before = contents(storage)
    (photos / "b" / "01.png").unlink()
    report = embed(layers=(Node("features.6", "avg"),))
    assert (report.gone, report.rejected) == (1, 1)
    after = contents(storage)
    assert {path: after[path] for path in before} == before
    collection = reader()
    assert collection.manifest.spaces[f"{MODEL}.features.6.avg"].rows == 19
    assert len(collection.ids()) == 20
    reasons = {row["key"]: row["reason"] for row in collection.rejects(MODEL).to_pylist()}
    assert reasons["b/01.png"] == "there is no such file"
    assert len(reasons) == 4


def test_second_model_embeds_the_same_images(embed, reader, storage: Storage):
    embed()
    embed(model="shufflenet_v2_x0_5", name="second", weights="untrained:2", layers=(Node("stage3", "avg"),))
    collection = reader()
    assert set(collection.manifest.spaces) == {MODEL, "second", "second.stage3.avg"}
    assert collection.manifest.default_space == MODEL
    assert collection.ids("second").tolist() == collection.ids().tolist()
    # Files that no model could read are in the list of each model.
    assert collection.rejects("second").equals(collection.rejects(MODEL))
    assert collection.rejects(MODEL).num_rows == 3
    assert collection.manifest.models["second"].files == ["models/second/batchnorm.npz"]


def test_another_network_of_the_same_name_is_rejected_and_both_are_named(embed):
    embed()
    with pytest.raises(MismatchError) as caught:
        embed(weights="untrained:2")
    text = str(caught.value)
    assert f"The space {MODEL} was made with {MODEL}, weights untrained:1" in text
    assert "not with" in text
    assert "untrained:2" in text
    assert "--name" in text
    with pytest.raises(MismatchError, match=r"squeezenet1_1 of the collection is a squeezenet1_1, not a squeezenet1_0"):
        embed(model="squeezenet1_0", name=MODEL)


def test_statistics_of_another_network_are_rejected_or_replaced(embed, reader, storage: Storage):
    """Rejected if a generation lists them; replaced if a killed run left them."""
    network = {"model": "shufflenet_v2_x0_5", "name": "net"}
    embed(weights="untrained:2", **network)
    path = storage.local("models/net/batchnorm.npz")
    of_two = path.read_bytes()
    with pytest.raises(MismatchError, match=r"untrained:2, .* not of shufflenet_v2_x0_5, weights untrained:3, "):
        embed(weights="untrained:3", **network)
    assert path.read_bytes() == of_two
    before = vectors(reader())
    shutil.rmtree(storage.root)
    embed(weights="untrained:3", **network)
    path.write_bytes(of_two)
    for table in ("generations", "images", "rejects", "predictions", "embeddings"):
        shutil.rmtree(storage.root / table)
    embed(weights="untrained:3", **network)
    of_three = path.read_bytes()
    assert of_three != of_two
    assert not np.allclose(vectors(reader()), before)


def test_parts_that_a_killed_run_left_for_another_network_are_rebuilt(embed, reader, storage: Storage):
    embed()
    before = vectors(reader())
    storage.local("generations/000001.json").unlink()
    report = embed(weights="untrained:2", name="", layers=())
    assert report.embedded == 20
    assert not np.allclose(vectors(reader()), before)


def test_another_stored_type_is_rejected(embed, storage: Storage, reader):
    embed(dtype="float16")
    assert embed().embedded == 0  # settings that are not given stay unchanged
    assert reader().manifest.spaces[MODEL].dtype == "float16"
    with pytest.raises(MismatchError, match="is stored as float16, not as float32; leave --dtype out"):
        embed(dtype="float32")
    # Files that a killed run left in another type are made again.
    storage.local("generations/000001.json").unlink()
    assert embed(dtype="float32").embedded == 20


def test_float16_is_the_rounded_float32(embed, reader):
    embed()
    embed(name="half", dtype="float16")
    collection = reader()
    assert np.array_equal(vectors(collection).astype(np.float16).astype(np.float32), vectors(collection, "half"))


def test_another_source_is_rejected(embed, tmp_path: Path, add_photo):
    embed()
    add_photo(tmp_path / "others" / "x.png", 1)
    with pytest.raises(MismatchError, match=r"made from the directory .*photos, not from the directory .*others"):
        embed(source=str(tmp_path / "others"))


def test_sources_without_an_image_are_rejected(embed, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="has no images"):
        embed(source=str(tmp_path / "empty"))
    with pytest.raises(NotFoundError):
        embed(source=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("model", [MODEL, "shufflenet_v2_x0_5"])
def test_source_of_broken_images_only_is_rejected_with_an_example(embed, tmp_path: Path, model: str):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"None of the source's files can be decoded \(the first, x\.jpg: not a JPEG"):
        embed(source=str(tmp_path / "broken"), model=model)


def test_text_without_paths_is_explained(embed, tmp_path: Path):
    (tmp_path / "note.txt").write_text("hello\nworld\n")
    with pytest.raises(UsageError) as refused:
        embed(source=str(tmp_path / "note.txt"))
    assert str(refused.value) == (
        f"{tmp_path}/note.txt is read as a list of paths, one a line, and none of its lines names a readable image "
        "(the first, hello: there is no such file); name a folder with images, or mend the list."
    )


def test_parquet_file_gives_the_embeddings_of_its_images(embed, reader, photos: Path, tmp_path: Path):
    paths = sorted(photos.rglob("[01]*.*"), key=lambda path: path.name)
    table = {"key": [p.name for p in paths], "image": [p.read_bytes() for p in paths], "label": ["x"] * len(paths)}
    pq.write_table(pa.table(table), tmp_path / "photos.parquet", row_group_size=5)
    report = embed(source=str(tmp_path / "photos.parquet"))
    assert (report.embedded, report.rejected) == (20, 2)
    images = reader().images().to_pylist()
    assert {row["label"] for row in images} == {"x"}
    assert images[0]["uri"] == f"{tmp_path / 'photos.parquet'}#{paths[0].name}"
    assert images[0]["bytes"] == len(table["image"][0])


def test_labels_come_from_a_file(embed, reader, tmp_path: Path):
    (tmp_path / "labels.csv").write_text("key,label\na/00.png,first\nstrange.png,x\n")
    report = embed(labels=str(tmp_path / "labels.csv"))
    assert (report.without_label, report.unknown_labels) == (1, 1)
    assert reader().images().column("label").to_pylist()[:2] == ["first", "a"]


def test_unknown_layer_or_model_is_reported(embed):
    with pytest.raises(UsageError, match=r"has no layer 'features\.99'; did you mean features"):
        embed(layers=(Node("features.99", "avg"),))
    with pytest.raises(UsageError, match="no classification model"):
        embed(model="squeezenet")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"name": "a/b"}, "cannot be the name"), ({"part_size": 0}, "--part-size"), ({"devices": ()}, "one device")],
)
def test_contradictory_settings_are_reported(embed, changes, message: str):
    with pytest.raises(UsageError, match=message):
        embed(**changes)
