"""Following a folder as its files change; errors are reported and do not stop it."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.cli.index import index
from lookalike_indexer.cli.watch import watch
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.sources.sync import Sync
from lookalike_indexer.upkeep import watching
from lookalike_indexer.upkeep.watching import changes_of, keep_following

# On one worker of pytest-xdist: each worker would make the collection anew.
pytestmark = pytest.mark.xdist_group("watching")


def paint(path, number):
    coarse = np.random.default_rng(number).integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(coarse).resize((40, 32)).save(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("watched")
    (root / "photos").mkdir()
    for number in range(6):
        paint(root / "photos" / f"{number}.png", number)
    options = ["--model", "squeezenet1_1", "--weights", "untrained:1", "--compute", "float32", "--workers", "1"]
    done = CliRunner().invoke(index, [str(root / "photos"), "--collection", str(root / "collection"), *options])
    assert done.exit_code == 0, done.output
    return root


@pytest.fixture
def root(made, tmp_path):
    shutil.copytree(made / "collection", tmp_path / "collection")
    shutil.copytree(made / "photos", tmp_path / "kept")
    yield tmp_path
    shutil.rmtree(made / "photos", ignore_errors=True)
    shutil.copytree(tmp_path / "kept", made / "photos")


@pytest.fixture
def followed(made, root):
    """Follow the folder through some changes, each made by a function; return the results and the errors."""

    def run(*changes):
        done, failed = [], []
        storage = Storage(root / "collection")
        settings = EmbedSettings(str(made / "photos"), workers=1, compute="float32")

        def made_one_by_one():
            for change in changes:
                yield change() is not False

        keep_following(
            storage, settings, Sync(), made_one_by_one(), Silent(),
            lambda published, one: done.append((published.generation, one.changes)), failed.append,
        )  # fmt: skip
        return done, failed

    return run


def keys(root):
    return CollectionReader.open(str(root / "collection")).images().column("key").to_pylist()


def test_each_batch_is_a_generation(made, root, followed):
    photos = made / "photos"
    done, failed = followed(
        lambda: paint(photos / "new.png", 50),
        lambda: None,
        lambda: (photos / "1.png").unlink(),
        lambda: paint(photos / "2.png", 51),
    )
    assert failed == []
    assert [number for number, _ in done] == [2, 3, 4]
    assert [(one.new, one.changed, one.deleted) for _, one in done] == [(1, 0, 0), (0, 0, 1), (0, 1, 0)]
    assert sorted(keys(root)) == ["0.png", "2.png", "3.png", "4.png", "5.png", "new.png"]


def test_failed_run_is_retried(made, root, followed):
    photos, aside = made / "photos", made / "aside"

    def back():
        aside.rename(photos)
        paint(photos / "new.png", 50)
        return False  # as if no events came for a while

    done, failed = followed(lambda: photos.rename(aside) and None, back)
    assert len(failed) == 1
    assert "is not there: the directory" in failed[0]
    assert [one.new for _, one in done] == [1]


def test_another_writer_is_waited_for(made, root, followed):
    photos, storage = made / "photos", Storage(root / "collection")
    held = []

    def hold():
        paint(photos / "new.png", 50)
        held.append(writing(storage))
        held[0].__enter__()

    def release():
        held[0].__exit__(None, None, None)
        return False

    done, failed = followed(hold, release)
    assert "Another process is writing" in failed[0]
    assert [one.new for _, one in done] == [1]


def test_folder_reports_changes_except_in_the_collection_within(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "_QUIET_MS", 50)
    monkeypatch.setattr(watching, "_AGAIN_S", 1)
    (tmp_path / "collection").mkdir()
    changes = changes_of(tmp_path, tmp_path / "collection")
    stop = threading.Event()

    def write():
        number = 0
        while not stop.wait(0.5):
            (tmp_path / "picture").write_text(str(number))
            number += 1

    try:
        # The first look starts the watch; files that are written into the collection afterwards are no change.
        assert next(changes) is False
        (tmp_path / "collection" / "file").write_text("of the collection")
        assert next(changes) is False
        threading.Thread(target=write, daemon=True).start()
        assert any(next(changes) for _ in range(30))
    finally:
        stop.set()
        changes.close()


def test_ctrl_c_ends_watch_cleanly(made, root, monkeypatch):
    def interrupted(*_):
        yield False
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "changes_of", interrupted)
    done = CliRunner().invoke(watch, [str(made / "photos"), "--collection", str(root / "collection"), "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert "is at generation 1" in done.output


def test_list_is_rejected(made, root):
    path = root / "list.txt"
    path.write_text("0.png\n")
    done = CliRunner().invoke(watch, [str(path), "--collection", str(root / "collection")])
    assert (done.exit_code, "lookalike index --sync" in done.output) == (2, True)
