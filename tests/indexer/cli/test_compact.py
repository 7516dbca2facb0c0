"""`lookalike compact`: fewer files, and every command on the collection still gives the same output."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.cli.build import build
from lookalike_indexer.cli.cluster import cluster
from lookalike_indexer.cli.compact import compact
from lookalike_indexer.cli.embed import embed
from lookalike_indexer.cli.gc import gc
from lookalike_indexer.cli.index import index
from lookalike_indexer.cli.matrix import matrix
from lookalike_indexer.cli.verify import verify
from lookalike_indexer.collection import layout, parts
from lookalike_indexer.collection.current import covers
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.schema import COMPUTE
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.experiments.stored_results import out_of_date
from lookalike_indexer.indexing.files import read_index

# On one worker of pytest-xdist: each worker would make the collection anew.
pytestmark = pytest.mark.xdist_group("compact")

MODEL = "squeezenet1_1"
SMALL = ["--model", MODEL, "--weights", "untrained:4", "--workers", "1", "--compute", "float32", "--part-size", "4"]
LAYER = ["--layer", "features.3"]
SPACES = (MODEL, f"{MODEL}.features.3.avg")


def run(command, *arguments, code=0):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def draw(folder: Path, numbers: range) -> None:
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        path = folder / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of 17 images and a reject in seven parts, in two spaces; clustered, indexed, with a result."""
    folder = tmp_path_factory.mktemp("grown")
    photos, collection = folder / "photos", folder / "c"
    draw(photos, range(6))
    (photos / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    run(index, photos, "--collection", collection, *SMALL, *LAYER)
    for numbers in (range(6, 8), range(8, 13), range(13, 14), range(14, 17)):
        draw(photos, numbers)
        run(embed, photos, "--collection", collection, *SMALL, *LAYER)
    run(index, photos, "--collection", collection, *SMALL, *LAYER)
    run(matrix, "--collection", collection, "--keep", "kept")
    return collection


@pytest.fixture
def collection(grown: Path, tmp_path: Path) -> Path:
    """A copy of the collection; its source stays in place."""
    return Path(shutil.copytree(grown, tmp_path / "c"))


@pytest.fixture
def photos(grown: Path, tmp_path: Path, collection: Path) -> Path:
    """A copy of the source, known to the collection, to change."""
    from lookalike_indexer.cli.relocate import relocate

    moved = Path(shutil.copytree(grown.parent / "photos", tmp_path / "photos"))
    run(relocate, collection, moved)
    return moved


def opened(collection: Path) -> CollectionReader:
    return CollectionReader.open(str(collection))


def told(collection: Path):
    """Return everything that a collection contains, whatever its files."""
    reader = opened(collection)
    manifest = reader.manifest
    storage = Storage(collection)
    listing = [row for path in manifest.listing for row in parts.read_part(storage, path).to_pylist()]
    return {
        "listing": listing,
        "images": reader.images().to_pylist(),
        "rejects": {name: reader.rejects(name).to_pylist() for name in manifest.models},
        "predictions": {name: reader.predictions(name).to_pylist() for name in manifest.models},
        "ids": {name: reader.ids(name).tolist() for name in manifest.spaces},
        "vectors": {
            name: reader.vectors(name, np.arange(reader.space(name)[1].rows)).tobytes() for name in manifest.spaces
        },
        "assignments": {
            name: [column.tolist() for column in vars(reader.assignments(name)).values()]
            for name in manifest.clusterings
        },
        "index": {
            name: (entry.rows, entry.path, manifest.files[entry.path].sha256)
            for name, entry in manifest.indexes.items()
        },
    }


def embedded(photos: Path, collection: Path, *options) -> dict:
    return json.loads(run(embed, photos, "--collection", collection, *SMALL, *options, "--json").stdout)


def test_compact_keeps_all_data_in_one_part_per_table(collection: Path):
    before = told(collection)
    assert len(opened(collection).manifest.listing) == 7
    done = json.loads(run(compact, collection, "--json").stdout)
    manifest = opened(collection).manifest
    assert (done["parts_before"], done["parts_after"], done["merged"], done["into"]) == (7, 1, 7, 1)
    # Listing, images, predictions, rejects, two spaces, and a clustering of one of them.
    assert (done["files"], done["new_files"], done["apart"]) == (7 * 7, 7, 0)
    tables = [manifest.listing, manifest.images]
    tables += [entry.parts for entry in (*manifest.spaces.values(), *manifest.indexes.values())]
    tables += [paths for entry in manifest.clusterings.values() for paths in (entry.parts, entry.assignments)]
    tables += [paths for entry in manifest.models.values() for paths in (entry.predictions, entry.rejects)]
    assert [len(paths) for paths in tables] == [1] * len(tables)
    assert {layout.part_number(path) for paths in tables for path in paths} == {7}
    assert told(collection) == before
    assert manifest.results
    assert not any(out_of_date(manifest, name) for name in manifest.results)
    assert run(verify, collection, "--deep").output.count("damaged") == 0
    assert all(manifest.files[path].compute == "float32" for space in SPACES for path in manifest.spaces[space].parts)


def test_nothing_is_rebuilt_after_compact(grown: Path, collection: Path):
    photos = grown.parent / "photos"
    run(compact, collection)
    before = opened(collection).manifest
    report = json.loads(run(index, photos, "--collection", collection, *SMALL, *LAYER, "--json").stdout)
    assert (report["embed"]["embedded"], report["embed"]["new"], report["embed"]["skipped"]) == (0, 0, 18)
    assert report["build"]["reused"]
    assert opened(collection).manifest == before
    again = json.loads(run(compact, collection, "--json").stdout)
    assert (again["merged"], again["generation"]) == (0, before.generation)


def test_index_grows_further_and_is_merged_again(collection: Path, photos: Path):
    run(compact, collection)
    draw(photos, range(17, 23))
    assert embedded(photos, collection, *LAYER)["embedded"] == 6
    assert [layout.part_number(path) for path in opened(collection).manifest.listing] == [7, 8, 9]
    index_before = opened(collection).index()
    run(compact, collection)
    manifest = opened(collection).manifest
    # An index and a clustering of the first 17 images end there; later parts are merged separately.
    assert [layout.part_number(path) for path in manifest.listing] == [7, 10]
    assert opened(collection).index() == index_before
    run(index, photos, "--collection", collection, *SMALL, *LAYER)
    before = told(collection)
    run(compact, collection)
    manifest = opened(collection).manifest
    assert [layout.part_number(path) for path in manifest.listing] == [11]
    assert told(collection) == before
    assert run(verify, collection, "--deep").output.count("damaged") == 0
    assert embedded(photos, collection, *LAYER)["embedded"] == 0


def test_index_of_the_first_images_stays_valid(collection: Path, photos: Path):
    draw(photos, range(17, 20))
    embedded(photos, collection, *LAYER)
    run(compact, collection)
    reader = opened(collection)
    entry = reader.index()
    assert not covers(reader.manifest, entry)
    assert entry.parts == reader.manifest.spaces[MODEL].parts[:1]
    vectors = reader.vectors(MODEL, np.arange(17))
    found = read_index(reader, entry).search(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 1)[1]
    assert found[:, 0].tolist() == list(range(17))
    assert [layout.part_number(path) for path in reader.manifest.listing] == [8, 7]
    run(verify, collection, "--deep")


def test_index_of_changed_embeddings_keeps_them(collection: Path, photos: Path):
    draw(photos, range(17, 20))
    Image.new("RGB", (30, 30), (10, 90, 30)).save(photos / "a" / "18.png")
    run(index, photos, "--collection", collection, *SMALL, *LAYER, "--max-pixels", 500)
    before = opened(collection).index()
    # With another limit the image can be read, so the last part of the space is revised.
    assert embedded(photos, collection, *LAYER, "--max-pixels", 1000)["recovered"] == 1
    run(compact, collection)
    reader = opened(collection)
    merged = f"embeddings/{MODEL}/part-000008.parquet"
    assert reader.index().parts == [merged, before.parts[-1]]
    assert reader.manifest.spaces[MODEL].parts[0] == merged
    assert reader.manifest.spaces[MODEL].parts[1:] != before.parts[-1:]
    assert reader.manifest.rows(reader.index().parts) == 19
    run(verify, collection, "--deep")
    run(index, photos, "--collection", collection, *SMALL, *LAYER, "--max-pixels", 1000)
    run(compact, collection)
    assert opened(collection).index().parts == [f"embeddings/{MODEL}/part-000009.parquet"]
    run(verify, collection, "--deep")


def test_parts_of_another_compute_type_are_not_merged(collection: Path, photos: Path):
    draw(photos, range(17, 20))
    options = [*SMALL, *LAYER]
    options[options.index("float32")] = "bfloat16"
    run(embed, photos, "--collection", collection, *options)
    run(index, photos, "--collection", collection, *options)
    run(compact, collection)
    manifest = opened(collection).manifest
    assert [manifest.files[path].compute for path in manifest.spaces[MODEL].parts] == ["float32", "bfloat16"]
    with parts.open_part(Storage(collection), manifest.spaces[MODEL].parts[0]) as part:
        assert part.schema_arrow.metadata[COMPUTE] == b"float32"
    run(verify, collection, "--deep")


def test_parts_are_not_merged_across_the_end_of_another_model(collection: Path, photos: Path):
    second = ["--model", "shufflenet_v2_x0_5", "--weights", "untrained:2"]
    run(embed, photos, "--collection", collection, *second, *SMALL[4:])
    draw(photos, range(17, 22))
    embedded(photos, collection, *LAYER)
    run(index, photos, "--collection", collection, *SMALL, *LAYER)
    assert [len(entry.parts) for entry in opened(collection).manifest.spaces.values()] == [7, 9, 9]
    run(compact, collection)
    assert [len(entry.parts) for entry in opened(collection).manifest.spaces.values()] == [1, 2, 2]
    run(embed, photos, "--collection", collection, *second, *SMALL[4:])
    run(compact, collection)
    assert [len(entry.parts) for entry in opened(collection).manifest.spaces.values()] == [1, 1, 1]
    run(verify, collection, "--deep")


def test_labels_and_names_still_follow_the_source(collection: Path, photos: Path):
    run(compact, collection)
    (photos / "b").rename(photos / "c")
    report = embedded(photos, collection, *LAYER)
    assert (report["embedded"], report["renamed"]) == (0, 8)
    labels = set(opened(collection).images(["label"]).column("label").to_pylist())
    assert labels == {"a", "c"}
    run(verify, collection, "--deep")


def test_parts_hold_at_most_the_requested_rows(collection: Path):
    run(compact, collection, "--rows", 8)
    manifest = opened(collection).manifest
    assert [manifest.rows([path]) for path in manifest.listing] == [7, 8, 3]
    again = run(compact, collection, "--rows", 8)
    assert "nothing to merge in 3 parts" in again.output


def test_dry_run_writes_nothing_and_reports_the_same(collection: Path):
    def files():
        return {path: path.stat().st_mtime_ns for path in collection.rglob("*") if not path.name.startswith(".lock")}

    before = files()
    planned = json.loads(run(compact, collection, "--dry-run", "--json").stdout)
    assert files() == before
    assert "would merge 7 parts into 1: 49 files" in run(compact, collection, "--dry-run").output
    done = json.loads(run(compact, collection, "--json").stdout)
    for name in ("parts_before", "parts_after", "merged", "into", "files", "new_files", "bytes", "apart"):
        assert planned[name] == done[name]


def test_old_files_go_with_the_old_generations(collection: Path):
    before = told(collection)
    run(compact, collection)
    run(gc, collection, "--keep", 1)
    assert len(list((collection / "embeddings" / MODEL).iterdir())) == 1
    assert told(collection) == before
    run(verify, collection, "--deep")


@pytest.mark.parametrize("after", [0, 1, 2, 4, 6])
def test_stopped_run_leaves_the_collection_intact_and_can_repeat(collection: Path, photos: Path, monkeypatch, after):
    before = told(collection)
    staged, done = Storage.staged, []

    def stopping(storage, path):
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(path)
        return staged(storage, path)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "staged", stopping)
        assert CliRunner().invoke(compact, [str(collection)]).exit_code != 0
    assert len(done) == after
    assert told(collection) == before
    assert run(verify, collection).output.count("damaged") == 0
    if after % 4 == 0:
        # The remaining files must not be confused with others.
        draw(photos, range(17, 20))
        assert embedded(photos, collection, *LAYER)["embedded"] == 3
        run(index, photos, "--collection", collection, *SMALL, *LAYER)
        before = told(collection)
    run(compact, collection)
    assert len(opened(collection).manifest.listing) == 1
    assert told(collection) == before
    run(verify, collection, "--deep")


@pytest.mark.parametrize("of", ["the same model", "another model"])
def test_interrupted_work_is_finished_first(collection: Path, photos: Path, of):
    name = ["--name", "second"] if of == "another model" else LAYER
    draw(photos, range(17, 19) if of == "the same model" else range(0))
    embedded(photos, collection, *name)
    newest = max((collection / "generations").iterdir())
    newest.unlink()
    refused = run(compact, collection, code=2)
    assert "A run that was stopped, or is still active, left" in refused.output
    assert run(compact, collection, "--dry-run", code=2).output == refused.output
    assert f"lookalike gc {collection}" in refused.output
    assert embedded(photos, collection, *name)["embedded"] == 0
    run(index, photos, "--collection", collection, *SMALL, *LAYER)
    run(compact, collection)
    assert len(opened(collection).manifest.listing) == 1


def test_damaged_file_is_not_merged(collection: Path):
    reader = opened(collection)
    path = collection / reader.manifest.spaces[MODEL].parts[3]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    data[200] ^= 1
    path.write_bytes(data)
    refused = run(compact, collection, code=1)
    assert str(path) in refused.output
    assert opened(collection).manifest.generation == reader.manifest.generation


def test_lost_merged_file_is_rebuilt(collection: Path, photos: Path):
    run(compact, collection)
    before = told(collection)
    manifest = opened(collection).manifest
    lost = [entry.assignments[0] for entry in manifest.clusterings.values()]
    lost += [manifest.spaces[MODEL].parts[0], manifest.models[MODEL].predictions[0]]
    for path in lost:
        (collection / path).unlink()
        assert f"{path} is missing" in run(verify, collection, code=1).output
        run(index, photos, "--collection", collection, *SMALL, *LAYER)
        after = told(collection)
        for clustering, columns in before["assignments"].items():
            # Images embedded in other batches differ in their last bits; their clusters are the same.
            exact = 4 if "assignments" in path else 2
            assert after["assignments"][clustering][:exact] == columns[:exact]
        for name in ("listing", "images", "rejects", "ids"):
            assert after[name] == before[name]
    run(gc, collection, "--keep", 1)
    run(verify, collection, "--deep")


def test_many_small_parts_are_reported(collection: Path, photos: Path):
    assert "compact" not in run(embed, photos, "--collection", collection, *SMALL, *LAYER).output
    draw(photos, range(17, 20))
    run(index, photos, "--collection", collection, *SMALL, *LAYER, "--json")
    told = run(index, photos, "--collection", collection, *SMALL, *LAYER).output
    expected = "The collection has 8 small parts, which make every command slower; merge them with: "
    expected += f"lookalike compact {collection}"
    assert expected in told
    assert expected in run(embed, photos, "--collection", collection, *SMALL, *LAYER).output
    run(compact, collection)
    assert "small parts" not in run(index, photos, "--collection", collection, *SMALL, *LAYER).output


def test_later_clusterings_and_indexes_use_the_new_parts(collection: Path):
    run(compact, collection)
    run(cluster, collection, "--clusters", 3)
    run(build, collection, "--index", "flat", "--name", "other")
    manifest = opened(collection).manifest
    assert manifest.indexes[f"{MODEL}/other"].parts == manifest.spaces[MODEL].parts
    run(verify, collection, "--deep")


def test_place_without_a_collection(tmp_path: Path):
    assert "holds no collection" in run(compact, tmp_path, code=1).output


GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("format-*"))


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
def test_collections_of_earlier_formats_are_merged(tmp_path: Path, golden):
    collection = Path(shutil.copytree(golden, tmp_path / "c"))
    before = told(collection)
    manifest = opened(collection).manifest
    run(compact, collection)
    assert len(opened(collection).manifest.files) < len(manifest.files)
    after = told(collection)
    if golden.name == "format-4":
        # A fifth of the images is deleted, so the index drops these images and the listing shrinks.
        left = {image["id"] for image in before["images"]}
        for each in (before, after):
            each["listing"] = [row for row in each["listing"] if row["id"] in left]
        assert {name: rows for name, (rows, *_) in after.pop("index").items()} == dict.fromkeys(
            before.pop("index"), len(left)
        )
    assert after == before
    run(verify, collection, "--deep")
