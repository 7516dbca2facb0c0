from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.verify import verify as command
from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import NotFoundError
from lookalike_indexer.verification.examination import VerifySettings

# On one worker of pytest-xdist: each worker would make the collection anew.
pytestmark = pytest.mark.xdist_group("verification")

EMBEDDINGS = "embeddings/shufflenet_v2_x0_5/part-000001.parquet"
ASSIGNMENTS = "assignments/part-000001.parquet"


def file(storage, ending):
    """Return the one file of the newest generation whose path has this ending."""
    [path] = [path for path in generations.require_latest(storage).files if path.endswith(ending)]
    return path


def replaced(name, edit):
    """Return an edit of one column of a table."""

    def change(table):
        position = table.schema.get_field_index(name)
        values = edit(table.column(name).to_numpy().copy())
        return table.set_column(position, table.schema.field(name), pa.array(values, table.schema.field(name).type))

    return change


def test_intact_collection_has_no_damage(storage, verify):
    report = verify(storage, VerifySettings(images=6))
    assert report.damages == []
    assert report.generation == 4
    looked = {check.name: check.looked for check in report.checks}
    assert looked == {
        "manifests": 4,
        "files": 26,
        "tables": 23,
        "join": 3,
        "assignments": 11,
        "indexes": 1,
        "embeddings of shufflenet_v2_x0_5": 6,
    }
    assert report.checks[-1].note == "within 0.005 of their length (float32)"


def test_deep_verification_reads_all_images(storage, verify):
    report = verify(storage, VerifySettings(deep=True))
    assert report.damages == []
    assert (report.checks[-1].looked, report.checks[-3].looked) == (11, 11)


def test_any_flipped_byte_of_any_file_is_found_and_the_file_named(storage, verify, flip):
    flips = random.Random(11)
    for path in sorted(storage.walk()):
        if path.startswith(".lock"):
            continue
        good = storage.read(path)
        positions = {0, len(good) - 1, *(flips.randrange(len(good)) for _ in range(2))}
        for position in positions:
            flip(storage, path, position)
            report = verify(storage)
            assert path in [damage.path for damage in report.damages], (path, position)
            storage.local(path).write_bytes(good)
    assert verify(storage).damages == []


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_truncated_or_missing_file_is_reported(storage, verify, cut):
    local = storage.local(EMBEDDINGS)
    size = local.stat().st_size
    if cut:
        os.truncate(local, size - cut)
        expected = f"has {size - cut:,} bytes and the manifest says {size:,}"
    else:
        local.unlink()
        expected = "is missing"
    [damage] = verify(storage).damages
    assert (damage.path, damage.what) == (EMBEDDINGS, expected)


def test_file_of_an_older_generation_is_verified(storage, verify, flip):
    newest = generations.require_latest(storage)
    path = file(storage, "counts.parquet")
    generations.publish(storage, dataclasses.replace(newest, results={}))
    flip(storage, path, 50)
    assert [damage.path for damage in verify(storage).damages] == [path]


def test_with_the_newest_manifest_damaged_the_one_before_is_verified(storage, verify, flip):
    path = layout.generation(4)
    flip(storage, path, storage.read(path).index(b'"generation": 4') + 2)
    report = verify(storage)
    assert report.generation == 3
    [damage] = report.damages
    assert damage.path == "generations/000004.json"
    assert "checksum" in damage.what
    assert damage.mend.startswith("remove it to return to")


def test_manifest_under_another_number(storage, verify):
    shutil.copy(storage.local(layout.generation(3)), storage.local(layout.generation(5)))
    [damage] = verify(storage).damages
    assert (damage.path, damage.what) == ("generations/000005.json", "is the manifest of generation 3; it was renamed")


def test_place_without_a_collection(tmp_path, verify):
    with pytest.raises(NotFoundError, match="holds no collection"):
        verify(Storage(tmp_path))


def swap(values):
    values[[0, 1]] = values[[1, 0]]
    return values


FORGED = {
    "an assignment": (ASSIGNMENTS, "cluster", lambda values: (values + 1) % 3, "nearest centroid"),
    "a distance": (ASSIGNMENTS, "distance", lambda values: values + 0.5, "and its nearest centroid is"),
    "ids of assignments": (ASSIGNMENTS, "id", lambda values: values + 40, "has other ids than embeddings/"),
    "ids of embeddings": (EMBEDDINGS, "id", lambda values: values + 40, "that its images do not have"),
    "the order of images": ("images/part-000001.parquet", "id", swap, "has ids that do not ascend"),
    "keys of images": ("images/part-000001.parquet", "key", swap, "has other keys, labels or URIs than the listing"),
    "ids of rejects": (
        "rejects/shufflenet_v2_x0_5/part-000000.parquet",
        "id",
        lambda values: values + 40,
        "do not have",
    ),
    "ids of the listing": ("source/part-000001.parquet", "id", lambda values: values - 4, "has ids that do not ascend"),
}


@pytest.mark.parametrize("name", FORGED)
def test_inconsistent_tables_with_correct_digests_are_found(storage, verify, forge, name):
    ending, column, edit, expected = FORGED[name]
    path = file(storage, ending)
    assert generations.require_latest(storage).files[path].rows, "there is nothing to forge"
    forge(storage, path, replaced(column, edit))
    damages = {damage.path: damage.what for damage in verify(storage).damages}
    assert expected in damages[path]


def test_image_missing_from_the_tables_is_found(storage, verify, forge):
    path = "images/part-000001.parquet"
    forge(storage, path, lambda table: table.slice(1))
    assert (
        "lacks images that no rejects table has either"
        in {damage.path: damage.what for damage in verify(storage).damages}[path]
    )


def test_missing_embedding_is_found(storage, verify, forge):
    forge(storage, EMBEDDINGS, lambda table: table.slice(1))
    report = verify(storage)
    damages = {damage.path: damage.what for damage in report.damages}
    assert "lacks images that its model did not reject" in damages[EMBEDDINGS]
    assert "says 11 rows of the space shufflenet_v2_x0_5 and lists 10" in damages["generations/000001.json"]


def test_other_columns_than_a_table_should_have(storage, verify, forge):
    forge(storage, EMBEDDINGS, lambda table: table.rename_columns(["id", "vector"]))
    [damage] = verify(storage).damages
    assert damage.what.startswith("has the columns id int64, vector fixed_size_list")
    assert "should have id int64, embedding fixed_size_list" in damage.what


def test_table_of_another_model(storage, verify, forge):
    forge(storage, EMBEDDINGS, lambda table: table.replace_schema_metadata({b"lookalike.fingerprint": b"f" * 64}))
    [damage] = verify(storage).damages
    assert "has the fingerprint ffffffffffffffff, but the manifest has" in damage.what


def other_vectors(table):
    column = table.column("embedding").combine_chunks()
    values = column.flatten().to_numpy().copy()
    values[: column.type.list_size] *= 1.5
    return table.set_column(
        1, table.schema.field("embedding"), pa.FixedSizeListArray.from_arrays(pa.array(values), type=column.type)
    )


def test_embeddings_that_differ_from_their_images_are_found(storage, verify, forge):
    forge(storage, EMBEDDINGS, other_vectors)
    damages = {damage.path: damage.what for damage in verify(storage, VerifySettings(deep=True)).damages}
    assert "that is off by 0.33 of its length from what its file gives now" in damages[EMBEDDINGS]


def test_index_of_other_embeddings(storage, verify, forge):
    def turned(table):
        column = table.column("embedding").combine_chunks()
        values = column.flatten().to_numpy().reshape(len(column), -1)[:, ::-1].copy()
        return table.set_column(
            1,
            table.schema.field("embedding"),
            pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=column.type),
        )

    forge(storage, EMBEDDINGS, turned)
    damages = {damage.path: damage.what for damage in verify(storage).damages}
    assert "does not find row" in damages[file(storage, ".faiss")]


def test_verify_counts_images_that_it_cannot_embed_again(storage, verify, made, tmp_path):
    """One file is gone, one has other bytes, and one was only touched, which is embedded again."""
    names = sorted(path for path in made.pictures.rglob("*.png"))
    moved, changed, touched = names[:3]
    bytes_before, changed_times, times = changed.read_bytes(), changed.stat(), touched.stat()
    moved.rename(tmp_path / "moved.png")
    changed.write_bytes(names[4].read_bytes())
    os.utime(touched, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    try:
        report = verify(storage, VerifySettings(deep=True))
    finally:
        (tmp_path / "moved.png").rename(moved)
        changed.write_bytes(bytes_before)
        os.utime(changed, ns=(changed_times.st_atime_ns, changed_times.st_mtime_ns))
        os.utime(touched, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert report.damages == []
    check = report.checks[-1]
    assert check.looked == 9
    assert check.note.endswith("; 1 are gone from the source; 1 have changed in the source")


def test_verify_without_the_images_reports_no_checked_embedding(storage, made, tmp_path):
    made.pictures.rename(tmp_path / "moved")
    try:
        result = CliRunner().invoke(command, [str(storage.root)])
    finally:
        (tmp_path / "moved").rename(made.pictures)
    assert result.exit_code == 0, result.output
    assert "are gone from the source; no embedding was checked; if the images are elsewhere now" in result.output
    assert f"lookalike relocate {storage.root} FOLDER" in result.output
    said = f"{storage.root} is as it was written, generation 4; not checked: embeddings of shufflenet_v2_x0_5."
    assert result.output.splitlines()[-1] == said


def test_damaged_network_embeds_nothing(storage, verify, flip):
    path = "models/shufflenet_v2_x0_5/batchnorm.npz"
    flip(storage, path, 500)
    report = verify(storage, VerifySettings(images=4))
    assert [damage.path for damage in report.damages] == [path]
    assert "not embedded again" in report.checks[-1].note


MENDS = {
    EMBEDDINGS: "embed",
    "embeddings/shufflenet_v2_x0_5.conv5.max/part-000002.parquet": "embed",
    "images/part-000001.parquet": "embed",
    "rejects/shufflenet_v2_x0_5/part-000001.parquet": "embed",
    "predictions/shufflenet_v2_x0_5/part-000000.parquet": "embed",
    "models/shufflenet_v2_x0_5/batchnorm.npz": "embed",
    "centroids.parquet": "cluster",
    ASSIGNMENTS: "cluster",
    ".faiss": "build",
    ".ids.parquet": "build",
}


@pytest.mark.parametrize("ending", MENDS)
def test_suggested_command_repairs_the_file(storage, verify, flip, made, ending):
    path = file(storage, ending)
    good = storage.read(path)
    flip(storage, path, len(good) // 2)
    [damage] = verify(storage).damages
    assert damage.mend.startswith("remove it and run")
    assert f"lookalike {MENDS[ending]} " in damage.mend
    storage.local(path).unlink()
    getattr(made, MENDS[ending])(storage)
    assert storage.read(path) == good
    assert verify(storage).damages == []
    assert generations.numbers(storage) == [1, 2, 3, 4]


def test_repairs_name_the_whole_command(storage, verify, flip):
    commands = {
        "source/part-000000.parquet": "index again into a new folder with: lookalike index",
        EMBEDDINGS: "--model shufflenet_v2_x0_5 --weights untrained:5",
        "embeddings/shufflenet_v2_x0_5.conv5.max/part-000002.parquet": "--layer conv5.2 --pool max",
        "centroids.parquet": "--space shufflenet_v2_x0_5 --name k3 --clusters 3",
        ".faiss": "--space shufflenet_v2_x0_5 --name main --index ",
        "counts.parquet": "run the experiment again",
    }
    for ending in commands:
        flip(storage, file(storage, ending), 30)
    damages = {damage.path: damage.mend for damage in verify(storage).damages}
    for ending, expected in commands.items():
        assert expected in damages[file(storage, ending)]


def test_verify_reports_checks_and_exits_with_1_on_damage(storage, flip):
    good = CliRunner().invoke(command, [str(storage.root)])
    assert good.exit_code == 0
    assert f"{storage.root} is as it was written, generation 4." in good.output
    assert "manifests" in good.output
    stages = [line for line in good.stderr.splitlines() if line.startswith("Verifying ")]
    assert (stages[0], stages[-1]) == (
        "Verifying files (1 of 8).",
        "Verifying changes since the generation (8 of 8).",
    )
    assert len(stages) == 8
    assert "Verifying" not in good.stdout
    flip(storage, EMBEDDINGS, 700)
    bad = CliRunner().invoke(command, [str(storage.root)])
    assert bad.exit_code == 1
    expected = f"damaged: {storage.root}/{EMBEDDINGS} is not what was written: its SHA-256 differs; remove it and run"
    assert expected in bad.output
    as_json = CliRunner().invoke(command, [str(storage.root), "--json"])
    assert as_json.exit_code == 1
    report = json.loads(as_json.stdout)
    assert report["generation"] == 4
    assert [damage["path"] for damage in report["damages"]] == [EMBEDDINGS]
    assert {"name": "manifests", "looked": 4, "unit": "generations", "note": ""} in report["checks"]
    assert CliRunner().invoke(command, [str(storage.root / "images")]).exit_code == 1


def test_each_path_of_a_manifest_is_looked_at_a_fixed_number_of_times(make_collection, verify, monkeypatch):
    parsed = []
    number = layout.part_number
    monkeypatch.setattr(layout, "part_number", lambda path: parsed.append(path) or number(path))
    counts = []
    for parts in (8, 32):
        storage = make_collection(np.eye(parts, 4, dtype=np.float32), part_rows=1, name=f"of {parts} parts")
        del parsed[:]
        assert verify(storage).damages == []
        counts.append(len(parsed))
    assert 0 < counts[1] <= 4 * counts[0]
