from __future__ import annotations

import dataclasses
import errno
import fcntl
import gc
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookalike_indexer.cli.gc import gc as gc_command
from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.garbage import collect
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.manifest import (
    FORMAT,
    ClusteringEntry,
    IndexEntry,
    Manifest,
    ModelEntry,
    ResultEntry,
    SourceEntry,
    SpaceEntry,
)
from lookalike_indexer.collection.parts import write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import ModelSpec, PreprocessingSpec, WeightsSpec
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import DataLossError, NotFoundError

FOREIGN = ["notes.txt", "images/cat.jpg", "embeddings/part-000000.parquet", "indexes/s/not-a-digest.faiss", "source/x"]
SPEC = ModelSpec(
    "squeezenet1_1",
    1000,
    WeightsSpec("untrained", "7", "0" * 64),
    PreprocessingSpec(64, 64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear", True),
)


def snapshot(storage):
    return {path: storage.read(path) for path in storage.walk() if not path.startswith(".lock")}


def run(storage, keep, **options):
    with writing(storage):
        return collect(storage, keep, **options)


def put(storage, path, data=b"x"):
    with storage.staged(path) as temporary:
        temporary.write_bytes(data)


@pytest.fixture
def storage(make_collection):
    """Three generations, each with a space of its own beside the first."""
    storage = make_collection(np.ones((250, 4), np.float32))
    first = generations.require_latest(storage)
    for number in (2, 3):
        path = layout.embeddings(f"extra{number}", 0)
        ids = pa.array(np.arange(4) + number)
        values = pa.FixedSizeListArray.from_arrays(
            pa.array(np.ones(16, np.float32)), type=schema.embeddings(4, "float32").field("embedding").type
        )
        write_part(storage, path, pa.table([ids, values], schema=schema.embeddings(4, "float32")))
        space = dataclasses.replace(first.spaces["tiny"], parts=[path], rows=4)
        spaces = {"tiny": first.spaces["tiny"], f"extra{number}": space}
        generations.publish(storage, dataclasses.replace(first, spaces=spaces))
    return storage


def test_files_and_manifests_of_older_generations_are_removed(storage):
    before = snapshot(storage)
    done = run(storage, 1)
    gone = {"generations/000001.json", "generations/000002.json", "embeddings/extra2/part-000000.parquet"}
    assert set(done.files) == gone
    assert (done.kept, done.removed, done.in_use) == ([3], [1, 2], [])
    assert done.bytes == sum(len(before[path]) for path in gone)
    assert snapshot(storage) == {path: data for path, data in before.items() if path not in gone}
    assert not storage.local("embeddings/extra2").exists()
    assert run(storage, 1).files == []


def test_dry_run_reports_the_same_and_changes_nothing(storage):
    put(storage, "embeddings/tiny/part-000009.parquet")
    before = snapshot(storage)
    said = run(storage, 1, dry_run=True)
    assert snapshot(storage) == before
    done = run(storage, 1)
    assert said == done
    assert len(done.files) == 4


def test_foreign_files_stay_and_are_reported(storage):
    for path in FOREIGN:
        put(storage, path)
    done = run(storage, 1)
    assert done.foreign == sorted(FOREIGN)
    assert all(storage.exists(path) for path in FOREIGN)


def test_generation_is_kept_until_its_reader_ends(storage):
    readers = [CollectionReader.open(str(storage.root), 1)]
    done = run(storage, 1)
    assert (done.kept, done.removed, done.in_use) == ([1, 3], [2], [1])
    assert len(readers[0].ids()) == 250
    readers.clear()
    gc.collect()
    assert run(storage, 1).removed == [1]


def test_unfinished_files_are_removed_in_an_order_safe_to_interrupt(storage):
    left = ["source/part-000003.parquet", "source/part-000004.parquet", "images/part-000003.parquet"]
    left += ["embeddings/tiny/part-000003.parquet", "rejects/tiny/part-000003.parquet", "models/tiny/batchnorm.npz"]
    for path in left:
        put(storage, path)
    assert run(storage, 3).files == [left[3], left[2], left[4], left[5], left[1], left[0]]


def test_nothing_is_removed_while_a_kept_manifest_cannot_be_read(storage):
    path = storage.local("generations/000003.json")
    path.write_bytes(path.read_bytes().replace(b"tiny", b"tyny", 1))
    before = snapshot(storage)
    with pytest.raises(DataLossError, match=r"000003\.json is not what was written"):
        run(storage, 1)
    assert snapshot(storage) == before


def test_empty_place_is_rejected(tmp_path):
    with pytest.raises(NotFoundError, match="holds no collection"):
        collect(Storage(tmp_path), 1)


# A history is a list of generations, each a set of numbers of its things; things with the same number are the same
# files. Part counts only grow, as listings do.
HISTORIES = st.lists(
    st.tuples(st.integers(0, 2), st.sets(st.integers(0, 3)), st.sets(st.integers(0, 3)), st.sets(st.integers(0, 3))),
    min_size=1,
    max_size=6,
)


def publish(
    storage: Storage,
    parts: int,
    spaces: set[int],
    clusterings: set[int],
    results: set[int],
    default_space: str = "",
) -> None:
    """Publish a generation whose files contain their own names, since only the names matter here."""

    def named(*paths: str) -> list[str]:
        for path in paths:
            if not storage.exists(path):
                write_part(storage, path, pa.table({"path": [path]}))
        return list(paths)

    count = range(parts)
    draft = Manifest(
        format=FORMAT,
        generation=0,
        source=SourceEntry("directory", "/pictures"),
        files={},
        listing=named(*(layout.source(part) for part in count)),
        images=named(*(layout.images(part) for part in count)),
        models={"m": ModelEntry(SPEC, "float32", [], named(*(layout.rejects("m", part) for part in count)))},
    )
    # A clustering belongs to an existing space.
    for number in {*spaces, *([0] if clusterings else [])}:
        paths = named(*(layout.embeddings(f"s{number}", part) for part in count))
        draft.spaces[f"s{number}"] = SpaceEntry("m", "l", "avg", 4, "float32", "f", parts, paths)
        index = layout.index(f"s{number}", f"{parts:016x}")
        put(storage, index, index.encode())
        put(storage, layout.index_record(index), b"{}")
        draft.indexes[f"s{number}/main"] = IndexEntry(
            f"s{number}", "Flat", "l2", 0, 0, [], 0, 0, 1, parts, index, f"{parts:016x}"
        )
    for number in clusterings:
        folder = layout.clustering("s0", f"k{number}", f"{parts:016x}")
        assignments = named(*(f"{folder}/assignments/{layout.part_name(part)}" for part in count))
        [centroids] = named(f"{folder}/centroids.parquet")
        draft.clusterings[f"s0/k{number}"] = ClusteringEntry(
            "s0", f"k{number}", 2, "l2", "kmeans", 1, 1, 1, 3, [1.0], parts, centroids, assignments, "d"
        )
    for number in results:
        [path] = named(layout.result("matrix", f"r{number}", f"{parts:016x}", "counts"))
        draft.results[f"matrix/r{number}"] = ResultEntry("matrix", f"r{number}", {}, {}, [], {"counts": path}, "i")
    generations.publish(storage, dataclasses.replace(draft, default_space=default_space))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(history=HISTORIES, keep=st.integers(1, 4), leftovers=st.integers(0, 3))
def test_any_history_leaves_exactly_the_files_of_the_kept_generations(tmp_path_factory, history, keep, leftovers):
    storage = Storage(tmp_path_factory.mktemp("history") / "collection")
    parts = 1
    for more, *things in history:
        parts += more
        publish(storage, parts, *things)
    for number in range(leftovers):
        put(storage, layout.embeddings("s9", number))
    for path in FOREIGN:
        put(storage, path)
    numbers = generations.numbers(storage)
    before = snapshot(storage)

    said = run(storage, keep, dry_run=True)
    assert snapshot(storage) == before
    done = run(storage, keep)
    assert said == done
    after = snapshot(storage)
    assert done.kept == generations.numbers(storage) == numbers[-keep:]
    assert done.bytes == sum(len(before[path]) for path in done.files)
    assert {path: before[path] for path in after} == after
    assert set(before) - set(after) == set(done.files)
    needed = {layout.generation(number) for number in done.kept}
    for number in done.kept:
        reader = CollectionReader.open(str(storage.root), number)
        for path in reader.manifest.files:
            reader.verify(path)
        needed |= {*reader.manifest.files}
        needed |= {layout.index_record(index.path) for index in reader.manifest.indexes.values()}
    assert set(after) == needed | set(FOREIGN)
    assert all(any(folder.iterdir()) for folder in storage.root.rglob("*") if folder.is_dir())


def without_locks_of_manifests(monkeypatch):
    flock = fcntl.flock

    def refusing(descriptor, how):
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".json":
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", refusing)


def test_without_file_locks_old_generations_stay_until_forced(tmp_path, monkeypatch):
    storage = Storage(tmp_path / "collection")
    for parts in (1, 2, 3):
        publish(storage, parts, {0}, set(), set())
    without_locks_of_manifests(monkeypatch)
    told = CliRunner().invoke(gc_command, [str(storage.root), "--keep", "1"])
    assert told.exit_code == 0, told.output
    assert generations.numbers(storage) == [1, 2, 3]
    assert "generations 1, 2 were kept because this file system has no locks" in told.output
    assert "add --assume-unread" in told.output
    told = CliRunner().invoke(gc_command, [str(storage.root), "--keep", "1", "--assume-unread", "--json"])
    assert json.loads(told.stdout)["removed"] == [1, 2]
    assert generations.numbers(storage) == [3]


def test_last_generation_that_can_be_searched_is_kept(tmp_path):
    """Regression: `gc --keep 1` after an `embed` for another space removed what a server could serve."""
    storage = Storage(tmp_path / "collection")
    for parts in (1, 2):
        publish(storage, parts, {0}, set(), set(), default_space="s0")
    latest = generations.require_latest(storage)
    generations.publish(storage, dataclasses.replace(latest, indexes={}))
    told = CliRunner().invoke(gc_command, [str(storage.root), "--keep", "1"])
    assert told.exit_code == 0, told.output
    assert generations.numbers(storage) == [2, 3]
    assert "generation 2 was kept because no newer one has an index" in told.output
    assert all(storage.exists(path) for number in (2, 3) for path in generations.read(storage, number).files)
