"""`lookalike duplicates` and `lookalike leaks`, on collections with known near vectors."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

from lookalike_indexer.cli.attach import attach
from lookalike_indexer.cli.duplicates import duplicates
from lookalike_indexer.cli.graph import graph
from lookalike_indexer.cli.leaks import leaks
from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.manifest import AttributeColumn, AttributesEntry
from lookalike_indexer.collection.parts import read_part, write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.stored_results import out_of_date
from lookalike_indexer.quality.measures import measured

# Rows 0, 1, 2 are a chain of near-duplicates, 3 and 4 a pair, 5 to 7 are alone.
ANGLES = np.deg2rad([0, 2, 4, 40, 41, 80, 110, 150])
# The largest image of the chain is row 1; rows 3 and 4 are equally large.
SIZES = [(64, 64), (128, 96), (80, 64), (64, 64), (64, 64), (64, 64), (64, 64), (64, 64)]
NEAR = str(1 - np.cos(np.deg2rad(3)))


@pytest.fixture
def storage(make_collection):
    vectors = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
    storage = make_collection(vectors, labels=["a", "a", "b", "b", "b", "c", None, "c"], part_rows=3)
    latest = generations.require_latest(storage)
    paths = []
    for part, path in enumerate(latest.images):
        images = read_part(storage, path)
        sizes = SIZES[3 * part : 3 * part + 3]
        # Rows 5 and 7 have the same bytes, though their vectors are far apart.
        digests = [("f" * 64 if row in (5, 7) else f"{row:064x}") for row in range(3 * part, 3 * part + len(images))]
        for name, values in (("width", [w for w, _ in sizes]), ("height", [h for _, h in sizes]), ("sha256", digests)):
            at = images.column_names.index(name)
            images = images.set_column(at, images.schema.field(name), pa.array(values, images.schema.field(name).type))
        paths.append(path.replace(".parquet", f".{part:016x}.parquet"))
        write_part(storage, paths[-1], images)
    generations.publish(storage, dataclasses.replace(latest, images=paths))
    assert CliRunner().invoke(graph, [str(storage.root), "-k", "3"]).exit_code == 0
    return storage


def run(command, storage, *options, code=0):
    result = CliRunner().invoke(command, [str(storage.root), *map(str, options)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else " ".join(result.output.split())


def test_groups_are_connected_and_the_largest_image_stays(storage):
    found = json.loads(run(duplicates, storage, "--max-distance", NEAR, "--json"))
    groups = {}
    for line in found["tables"]["images"]:
        groups.setdefault(line["group"], []).append((line["id"], line["keep"], line["exact"]))
    assert groups == {
        1: [(4, True, False), (7, False, False), (1, False, False)],
        2: [(10, True, False), (13, False, False)],
        3: [(16, True, False), (22, False, True)],
    }
    assert [line["images"] for line in found["tables"]["groups"]] == [3, 2, 2]
    assert found["tables"]["groups"][0]["keep"] == "00004.jpg"
    assert found["tables"]["groups"][0]["farthest"] == pytest.approx(1 - np.cos(np.deg2rad(2)), abs=1e-6)
    figures = found["figures"]
    assert (figures["groups"], figures["grouped"], figures["to_delete"], figures["exact"]) == (3, 7, 4, 1)
    assert "7 of 8 images are in 3 groups of duplicates: 4 can go; exact copies: 1." in found["findings"][0]


def test_list_names_removable_files(storage):
    listed = run(duplicates, storage, "--max-distance", NEAR, "--list").splitlines()
    assert listed == [f"/pictures/{name}.jpg" for name in ("00007", "00001", "00013", "00022")]


def test_bytes_alone_need_no_graph(storage, make_collection):
    found = json.loads(run(duplicates, storage, "--exact-bytes", "--json"))
    assert [(line["id"], line["keep"]) for line in found["tables"]["images"]] == [(16, True), (22, False)]
    bare = make_collection(np.eye(3, dtype=np.float32), name="bare")
    assert "0 of 3 images are in 0 groups" in run(duplicates, bare, "--exact-bytes")
    assert "no graph of nearest neighbors; make one with: lookalike graph" in run(duplicates, bare, code=1)


def test_valley_is_found_and_reported(storage):
    told = run(duplicates, storage)
    assert "The cosine distances to the nearest image have a valley at" in told
    assert "7 of 8 images are in 3 groups" in told


def test_without_a_valley_only_copies_are_duplicates(make_collection):
    storage = make_collection(np.eye(8, dtype=np.float32)[[0, 0, 1, 2, 3, 4, 5, 6]])
    assert CliRunner().invoke(graph, [str(storage.root), "-k", "3"]).exit_code == 0
    told = run(duplicates, storage)
    assert "have no valley. Near-duplicates are copies only. Look at them, and give --max-distance D" in told
    assert "2 of 8 images are in 1 group of" in told


def test_montage_and_a_kept_result(storage, tmp_path):
    told = run(duplicates, storage, "--max-distance", NEAR, "--out", tmp_path / "out", "--keep", "near")
    assert (tmp_path / "out" / "duplicates.png").stat().st_size > 2000
    assert "Kept as duplicates/near in generation 4." in told
    manifest = generations.require_latest(storage)
    assert not out_of_date(manifest, "duplicates/near")
    assert CliRunner().invoke(graph, [str(storage.root), "-k", "2"]).exit_code == 0
    assert out_of_date(generations.require_latest(storage), "duplicates/near")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-distance", "near"], "'near' is neither a number nor auto."),
        (["--max-distance", "nan"], "'nan' is neither a number nor auto."),
        (["--max-distance", "-1"], "-1 is below 0."),
    ],
)
def test_invalid_arguments_are_reported_in_one_sentence(storage, options, message):
    assert message in run(duplicates, storage, *options, code=2)


@pytest.fixture
def split(storage, tmp_path):
    table = tmp_path / "splits.csv"
    table.write_text("key,fold\n00001.jpg,train\n00004.jpg,test\n00007.jpg,test\n00010.jpg,train\n00013.jpg,train\n")
    attached = CliRunner().invoke(attach, [str(storage.root), str(table), "--key", "key"])
    assert attached.exit_code == 0, attached.output
    return storage


def test_leaks_are_pairs_between_splits(split, tmp_path):
    found = json.loads(
        run(leaks, split, "--split", "fold", "--max-distance", NEAR, "--json", "--out", tmp_path / "out")
    )
    (line,) = found["tables"]["leaks"]
    assert (line["id"], line["split"], line["other_id"], line["other_split"]) == (1, "train", 4, "test")
    assert found["tables"]["splits"] == [
        {"split": "test", "images": 2, "leaked": 1, "share": 0.5},
        {"split": "train", "images": 3, "leaked": 1, "share": pytest.approx(1 / 3)},
    ]
    assert found["findings"][0].startswith(
        "2 of 5 images have a near-duplicate in another split (column fold): 1 pair;"
    )
    assert "Left out: 3 images without a value of fold." in found["findings"]
    assert (tmp_path / "out" / "leaks.png").stat().st_size > 2000


def test_labels_are_a_split_as_well_and_copies_count(storage):
    told = run(leaks, storage, "--split", "label", "--max-distance", NEAR, "--keep", "labels")
    assert "a and b share 1 pair." in told
    assert "Left out: 1 image without a value of label." in told
    assert not out_of_date(generations.require_latest(storage), "leaks/labels")


def test_missing_column_is_named_with_the_existing_columns(split):
    assert "has no column 'set'; it has: id, key, label," in run(leaks, split, "--split", "set", code=1)
    assert "has one value" not in run(leaks, split, "--split", "fold")


def test_largest_groups_and_the_nearest_pairs_are_enough(storage, monkeypatch):
    found = json.loads(run(duplicates, storage, "--max-distance", NEAR, "--limit", "1", "--json"))
    assert [line["group"] for line in found["tables"]["groups"]] == [1]
    assert {line["group"] for line in found["tables"]["images"]} == {1}
    assert found["figures"]["groups"] == 3
    assert found["findings"][-2] == "Listed are the 1 largest groups."
    pairs = json.loads(run(leaks, storage, "--split", "label", "--max-distance", "0.5", "--limit", "2", "--json"))
    assert len(pairs["tables"]["leaks"]) == 2 < pairs["figures"]["pairs"]
    # The environment names the collection.
    monkeypatch.setenv("LOOKALIKE_COLLECTION", str(storage.root))
    assert CliRunner().invoke(duplicates, ["--exact-bytes"]).exit_code == 0


def test_removable_images_are_deleted_and_files_stay(storage):
    before = json.loads(run(duplicates, storage, "--max-distance", NEAR, "--json"))
    kept = {line["id"] for line in before["tables"]["images"] if line["keep"]}
    gone = {line["id"] for line in before["tables"]["images"]} - kept
    told = run(duplicates, storage, "--max-distance", NEAR, "--apply")
    assert f"Deleted {len(gone)} images. {storage.root} is at generation 4." in told
    assert "Their files stay." in told
    assert f"lookalike compact {storage.root} --purge && lookalike gc {storage.root} --keep 1" in told
    reader = CollectionReader.open(str(storage.root))
    ids = set(reader.images(["id"]).column("id").to_pylist())
    assert kept <= ids
    assert not gone & ids
    assert json.loads(run(duplicates, storage, "--max-distance", NEAR, "--json"))["figures"]["groups"] == 0
    # Nothing is left to delete, and nothing is published.
    again = run(duplicates, storage, "--max-distance", NEAR, "--apply")
    assert "Deleted 0 images" in again
    assert "compact" not in again
    assert generations.numbers(storage) == [1, 2, 3, 4]


def test_images_are_not_deleted_at_an_uncertain_distance(storage):
    told = run(duplicates, storage, "--apply", code=2)
    assert "not sure enough to delete images" in told
    assert "name the distance with --max-distance D" in told
    assert generations.numbers(storage) == [1, 2, 3]
    assert "Deleted 1 image." in run(duplicates, storage, "--exact-bytes", "--apply")


def groups_of(found):
    """Return the rows of each group, in order."""
    groups = {}
    for line in found["tables"]["images"]:
        groups.setdefault(line["group"], set()).add(line["id"] // 3)
    return sorted(groups.values(), key=min)


def with_hashes(storage, hashes, uniform=()):
    """Publish perceptual hashes, as `lookalike quality` stores them; `uniform` are rows of uniform images."""
    latest = generations.require_latest(storage)
    signed = [value - 2**64 if value >= 2**63 else value for value in map(int, hashes)]
    digest = hashlib.sha256(repr(signed).encode()).hexdigest()
    flags = [row in uniform for row in range(len(signed))]
    columns, parts, start = schema.attributes([("phash", "int64"), ("uniform", "bool")]), [], 0
    for part, path in enumerate(latest.images):
        ids = read_part(storage, path, ["id"]).column("id")
        rows = slice(start, start + len(ids))
        start = rows.stop
        parts.append(layout.attributes("quality", digest, part))
        write_part(storage, parts[-1], pa.table([ids, signed[rows], flags[rows]], schema=columns))
    described = [AttributeColumn(name, kind, start, []) for name, kind in (("phash", "int64"), ("uniform", "bool"))]
    entry = AttributesEntry(described, start, parts, digest)
    generations.publish(storage, dataclasses.replace(latest, attributes={**latest.attributes, "quality": entry}))


def test_near_neighbors_with_alike_hashes_are_near_duplicates(storage):
    before = groups_of(json.loads(run(duplicates, storage, "--json")))
    # Rows 5 and 6 differ by two bits. Rows 0 and 3 have the same hash, but row 0 is uniform.
    patterns = [0x3333333333333333, 0x0F0F0F0F0F0F0F0F, 0x5555555555555555]
    with_hashes(storage, [patterns[2], *patterns[:2], patterns[2], 2**64 - 1, 7, 4, 2**40 - 1], uniform=[0])
    found = json.loads(run(duplicates, storage, "--json", "--keep", "today"))
    assert {5, 7} in before
    assert groups_of(found) == [group | {6} if group == {5, 7} else group for group in before]
    assert [line["id"] // 3 for line in found["tables"]["images"] if line["by_hash"]] == [6]
    assert "neighbors whose perceptual hashes differ by at most 8 of 64 bits" in found["findings"][1]
    assert found["findings"][2].startswith("1 of the images are in their groups by perceptual hash alone")
    # An explicit distance is the only rule.
    named = json.loads(run(duplicates, storage, "--max-distance", "0.0001", "--json"))
    assert 6 not in {line["id"] // 3 for line in named["tables"]["images"]}
    assert not out_of_date(generations.require_latest(storage), "duplicates/today")
    generations.publish(storage, dataclasses.replace(generations.require_latest(storage), attributes={}))
    assert out_of_date(generations.require_latest(storage), "duplicates/today")


UNLIKE = 0xAAAAAAAAAAAAAAAA


def scattered(count, seed):
    """Return hashes of unrelated images: about half of their bits differ."""
    return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64).tolist()


def kinds(make_collection, near=(), copies=()):
    """Make a collection of three kinds of twelve images, all about equally far from the others of their kind.

    `near` and `copies` are lists of rows of one kind, whose distances are about 60% and 1% of those of the others.
    """
    random, shape = np.random.default_rng(0), (36, 256)
    vectors = random.normal(size=shape)
    for rows, closeness in [*((rows, 0.6) for rows in near), *((rows, 0.01) for rows in copies)]:
        vectors[rows] = np.sqrt(1 - closeness) * random.normal(size=256) + np.sqrt(closeness) * vectors[rows]
    vectors += 3 * np.repeat(random.normal(size=(3, 256)), 12, axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    storage = make_collection(vectors.astype(np.float32))
    assert CliRunner().invoke(graph, [str(storage.root), "-k", "8"]).exit_code == 0
    return storage


def machine(number):
    """Return a drawing on white: two wheels and a bar, of other sizes and colors for each number."""
    image = Image.new("RGB", (160, 100), "white")
    draw, wheel = ImageDraw.Draw(image), 19 + number % 3
    for center in (40 + number % 2, 118 - number % 4):
        draw.ellipse((center - wheel, 70 - wheel, center + wheel, 70 + wheel), outline="black", width=4 + number % 2)
    draw.line((40, 70, 80, 40 + number % 5, 118, 70), fill=(20 * number % 200, 30, 60), width=7 + number % 3)
    return image


@pytest.mark.parametrize("kind", ["drawings", "photographs"])
def test_similar_objects_on_white_are_not_duplicates(make_collection, request, kind):
    if kind == "photographs":
        files = sorted((request.getfixturevalue("photos_dir") / "caltech101" / "Motorbikes").iterdir())[6:18]
        pictures = [Image.open(path).convert("RGB") for path in files]
    else:
        pictures = [machine(number) for number in range(12)]
    hashes = [measured(picture).phash % 2**64 for picture in pictures]
    apart = [(one ^ other).bit_count() for one, other in itertools.combinations(hashes, 2)]
    assert sum(bits <= 8 for bits in apart) > 20
    # All distances of the kind are similar; then some images are nearer to each other than to others.
    storage = kinds(make_collection, [[0, 1, 2], [3, 4], [5, 6]])
    with_hashes(storage, [*hashes, *scattered(24, 1)])
    found = json.loads(run(duplicates, storage, "--json"))
    assert "no valley. Near-duplicates are copies and neighbors whose perceptual hashes" in found["findings"][1]
    assert found["findings"][1].endswith("Look at them, and give --max-distance D to include others.")
    assert found["figures"]["groups"] == 0
    split = [f"{3 * row + 1:05d}.jpg,{'train' if row % 2 else 'test'}" for row in range(36)]
    table = Path(storage.root) / "splits.csv"
    table.write_text("\n".join(["key,fold", *split]) + "\n")
    attached = CliRunner().invoke(attach, [str(storage.root), str(table), "--key", "key"])
    assert attached.exit_code == 0, attached.output
    assert json.loads(run(leaks, storage, "--split", "fold", "--json"))["figures"]["pairs"] == 0
    # Near images are found if their hashes resemble only each other.
    with_hashes(storage, [*scattered(3, 4), UNLIKE, UNLIKE, *scattered(31, 5)])
    found = json.loads(run(leaks, storage, "--split", "fold", "--json"))
    assert [(line["id"] // 3, line["other_id"] // 3, line["by_hash"]) for line in found["tables"]["leaks"]] == [
        (3, 4, True)
    ]
    assert "Near-duplicates by perceptual hash alone (by_hash), which is not sure: 1." in found["findings"]


def test_alike_hashes_far_from_each_other_are_no_duplicates(make_collection):
    storage = kinds(make_collection, [[4, 5]])
    with_hashes(storage, [*([UNLIKE] * 2), *scattered(2, 2), *([UNLIKE ^ 0xFFFFFFFF] * 2), *scattered(30, 3)])
    neighbors = json.loads(run(graph, storage, "--list", "00001.jpg", "--json"))["tables"]["neighbors"]
    assert "00004.jpg" in {line["key"] for line in neighbors}
    assert groups_of(json.loads(run(duplicates, storage, "--json"))) == [{4, 5}]


def test_hashes_make_no_chains_and_no_sure_group(make_collection):
    # Each hash differs from the next by 6 bits, and from the one after that by 12. All three images are near.
    storage = kinds(make_collection, [[0, 1, 2]])
    with_hashes(storage, [UNLIKE, UNLIKE ^ 0x3F, UNLIKE ^ 0xFFF, *scattered(33, 3)])
    found = json.loads(run(duplicates, storage, "--json"))
    assert groups_of(found) == [{0, 1}]
    assert (found["figures"]["by_hash"], found["figures"]["pairs"]) == (1, 1)
    assert "not sure enough to delete images" in run(duplicates, storage, "--apply", code=2)


def test_deep_valley_is_not_sure_where_hashes_join_images(make_collection):
    storage = kinds(make_collection, [[0, 1]], [[row, row + 1] for row in range(12, 24, 2)])
    assert "sure)" in run(duplicates, storage).replace("(unsure)", "")
    with_hashes(storage, [UNLIKE, UNLIKE, *scattered(34, 4)])
    found = json.loads(run(duplicates, storage, "--json"))
    assert (found["figures"]["groups"], found["figures"]["by_hash"]) == (7, 1)
    told = run(duplicates, storage, "--apply", code=2)
    assert "1 image is in its group by perceptual hash alone, which is not sure enough to delete images" in told
    assert "--max-distance D" in told
    named = f"{found['figures']['max_distance']:.4g}"
    assert f"The distance of auto, without hashes, is {named}." in told
    assert "Deleted 6 images" in run(duplicates, storage, "--max-distance", named, "--apply")
