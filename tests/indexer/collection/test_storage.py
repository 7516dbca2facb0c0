from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import CollectionLockedError, DataLossError, IndexerError, NotFoundError


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path / "collection")


def write(storage, path, data):
    with storage.staged(path) as temporary:
        temporary.write_bytes(data)


def files(storage):
    return sorted(path.name for path in storage.root.rglob("*") if path.is_file())


def test_staged_file_appears_only_when_complete(storage):
    with storage.staged("a/b/file.bin") as temporary:
        temporary.write_bytes(b"some bytes")
        assert not storage.exists("a/b/file.bin")
    assert storage.read("a/b/file.bin") == b"some bytes"
    assert storage.size("a/b/file.bin") == 10
    assert storage.digest("a/b/file.bin") == hashlib.sha256(b"some bytes").hexdigest()
    assert files(storage) == ["file.bin"]


def test_nothing_appears_and_nothing_is_left_when_writing_fails(storage):
    write(storage, "file.bin", b"before")

    def fail():
        with storage.staged("file.bin") as temporary:
            temporary.write_bytes(b"half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert storage.read("file.bin") == b"before"
    assert files(storage) == ["file.bin"]


def test_system_errors_become_one_sentence(storage):
    def fill_the_disk():
        with storage.staged("file.bin"):
            raise OSError(28, os.strerror(28))

    with pytest.raises(
        IndexerError, match=r"file\.bin could not be written: No space left on device; free some space, then"
    ):
        fill_the_disk()
    assert files(storage) == []


def test_place_that_cannot_be_written_to_becomes_one_sentence(storage):
    write(storage, "taken", b"a file where a folder is needed")
    with pytest.raises(IndexerError, match="could not be written"):
        write(storage, "taken/file.bin", b"x")
    with pytest.raises(IndexerError, match="could not be written"):
        storage.publish("taken/000001.json", b"{}")


def test_files_being_written_are_not_listed(storage):
    write(storage, "folder/b", b"")
    write(storage, "folder/a", b"")
    write(storage, "folder/sub/c", b"")
    with storage.staged("folder/d") as temporary:
        temporary.write_bytes(b"x")
        assert storage.list("folder") == ["a", "b"]
    assert storage.list("folder") == ["a", "b", "d"]
    assert storage.list("nowhere") == []


def test_missing_files(storage):
    for ask in (storage.read, storage.size):
        with pytest.raises(NotFoundError, match=r"gone\.bin is missing from the collection"):
            ask("gone.bin")
    with pytest.raises(DataLossError, match=r"gone\.bin is missing from the collection"):
        storage.digest("gone.bin")


def test_only_one_publisher_wins(storage):
    def publish(writer):
        try:
            storage.publish("generations/000001.json", b"%d" % writer * 10_000)
        except CollectionLockedError:
            return None
        return writer

    with ThreadPoolExecutor(16) as pool:
        winners = [writer for writer in pool.map(publish, range(10, 42)) if writer is not None]
    assert len(winners) == 1
    assert storage.read("generations/000001.json") == b"%d" % winners[0] * 10_000
    assert files(storage) == ["000001.json"]


def test_publishing_twice_reports_the_remedy(storage):
    storage.publish("generations/000001.json", b"first")
    with pytest.raises(CollectionLockedError, match=r"000001\.json was published by another process; run the command"):
        storage.publish("generations/000001.json", b"second")
    assert storage.read("generations/000001.json") == b"first"


def test_sweeping_removes_what_killed_writers_left_and_nothing_else(storage):
    write(storage, "embeddings/tiny/part-000000.parquet", b"x")
    for leftover in ("embeddings/tiny/.tmp-0a0b0c0d-part-000001.parquet", "generations/.tmp-0badcafe-000001.json"):
        storage.local(leftover).parent.mkdir(exist_ok=True)
        storage.local(leftover).write_bytes(b"half")
    assert storage.sweep() == 2
    assert files(storage) == ["part-000000.parquet"]
    assert Storage(storage.root / "nowhere").sweep() == 0


def test_killed_writer_leaves_the_old_file_or_the_new_one(storage):
    """SIGKILL while a file is rewritten repeatedly: the final name always has a complete file."""
    script = textwrap.dedent(
        f"""
        from lookalike_indexer.collection.storage import Storage
        storage = Storage({str(storage.root)!r})
        print("ready", flush=True)
        while True:
            for letter in (b"a", b"b"):
                with storage.staged("file.bin") as temporary:
                    with open(temporary, "wb") as file:
                        for _ in range(50):
                            file.write(letter * 10_000)
                            file.flush()
        """
    )
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        with writer:
            assert writer.stdout.readline() == b"ready\n"
            while not storage.exists("file.bin"):
                pass
            writer.send_signal(signal.SIGKILL)
        data = storage.read("file.bin")
        assert data in (b"a" * 500_000, b"b" * 500_000)
        storage.sweep()
        assert files(storage) == ["file.bin"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_publishing_without_hard_links(storage, monkeypatch, number):
    def no_links(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    storage.publish("generations/000001.json", b"first")
    with pytest.raises(CollectionLockedError, match=r"000001\.json was published by another process"):
        storage.publish("generations/000001.json", b"second")
    assert storage.read("generations/000001.json") == b"first"
    assert files(storage) == ["000001.json"]


def test_repeated_link_counts_as_published(storage, monkeypatch):
    """A network file system may lose its reply, so that the client links again."""
    link = os.link

    def twice(*names):
        link(*names)
        link(*names)

    monkeypatch.setattr(os, "link", twice)
    storage.publish("generations/000001.json", b"first")
    assert storage.read("generations/000001.json") == b"first"


def failing(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_step_that_fails_leaves_the_old_file(storage, monkeypatch, step):
    write(storage, "file.bin", b"before")
    monkeypatch.setattr(os, step, failing(errno.EIO))
    with pytest.raises(IndexerError, match=r"file\.bin could not be written: Input/output error\."):
        write(storage, "file.bin", b"after")
    monkeypatch.undo()
    assert storage.read("file.bin") == b"before"
    assert files(storage) == ["file.bin"]


def test_first_error_is_reported_when_cleanup_fails(storage, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    monkeypatch.setattr(os, "unlink", failing(errno.EROFS))
    with pytest.raises(IndexerError, match="No space left on device"):
        write(storage, "file.bin", b"x")


def test_unreadable_disk_is_data_loss_and_missing_permission_is_not(storage, monkeypatch):
    write(storage, "file.bin", b"x")
    asks = (storage.read, storage.digest, storage.size, storage.exists)
    for number, kind in ((errno.EIO, DataLossError), (errno.EACCES, IndexerError)):
        monkeypatch.setattr("io.open", failing(number))
        monkeypatch.setattr(os, "stat", failing(number))
        for ask in asks:
            with pytest.raises(kind, match=r"file\.bin cannot be read: ") as raised:
                ask("file.bin")
            assert type(raised.value) is kind
        monkeypatch.undo()


def test_every_folder_above_a_file_is_synced(storage, monkeypatch):
    write(storage, "a/b/c.bin", b"x")
    write(storage, "a/d.bin", b"x")
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").readlink()) or fsync(number)
    )
    storage.settle(["a/b/c.bin", "a/d.bin"])
    assert synced == [storage.root / "a/b", storage.root / "a", storage.root]


def test_removing_takes_the_folders_that_become_empty(storage):
    write(storage, "a/b/c.bin", b"x")
    write(storage, "a/d.bin", b"x")
    storage.remove("a/b/c.bin")
    assert not storage.local("a/b").exists()
    storage.remove("a/d.bin")
    storage.remove("a/d.bin")
    assert list(storage.root.iterdir()) == []


def test_another_file_under_the_same_name_has_another_stamp(storage):
    write(storage, "file.bin", b"one")
    stamps = {storage.stamp("file.bin"), storage.stamp("file.bin")}
    write(storage, "file.bin", b"two")
    stamps.add(storage.stamp("file.bin"))
    assert len(stamps) == 2
    assert storage.stamp("file.bin").bytes == 3
    with pytest.raises(NotFoundError):
        storage.stamp("gone.bin")


def test_walking_finds_every_complete_file(storage):
    write(storage, "a/b/c.bin", b"x")
    write(storage, "d.bin", b"x")
    (storage.root / "a" / ".tmp-0a0b0c0d-e.bin").write_bytes(b"half")
    assert sorted(storage.walk()) == ["a/b/c.bin", "d.bin"]
