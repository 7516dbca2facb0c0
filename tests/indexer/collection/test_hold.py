from __future__ import annotations

import errno
import fcntl
import gc
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from lookalike_indexer.collection.hold import claimed, hold
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import NotFoundError

READ = """
import sys
from lookalike_indexer.collection.reader import CollectionReader
reader = CollectionReader.open(sys.argv[1])
print("reading", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def storage(make_collection):
    return make_collection(np.ones((10, 4), np.float32))


def is_free(storage):
    with claimed(storage, 1) as free:
        return free


def test_generation_is_held_while_a_reader_exists(storage):
    assert is_free(storage)
    first, second = (CollectionReader.open(str(storage.root)) for _ in range(2))
    assert not is_free(storage)
    del first
    gc.collect()
    assert not is_free(storage)
    assert len(second.ids()) == 10
    del second
    gc.collect()
    assert is_free(storage)


def test_reader_in_another_process_holds_the_generation_until_it_ends(storage):
    reader = subprocess.Popen(
        [sys.executable, "-c", READ, str(storage.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with reader:
        assert reader.stdout.readline() == b"reading\n"
        assert not is_free(storage)
        reader.send_signal(signal.SIGKILL)
        reader.wait()
    assert is_free(storage)


def test_generation_being_removed_cannot_be_opened(storage):
    with claimed(storage, 1) as free:
        assert free
        with pytest.raises(NotFoundError, match=r"000001\.json is being removed"):
            CollectionReader.open(str(storage.root))
    assert len(CollectionReader.open(str(storage.root)).ids()) == 10


def test_generation_removed_before_its_lock_is_not_found(storage, monkeypatch):
    flock = fcntl.flock

    def removed_meanwhile(descriptor, how):
        storage.local("generations/000001.json").unlink()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with pytest.raises(NotFoundError, match=r"000001\.json is missing"):
        hold(storage, 1, object.__new__(type("Holder", (), {})))


def test_file_system_without_such_locks_can_be_read(storage, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    reader = CollectionReader.open(str(storage.root))
    assert len(reader.ids()) == 10
    assert is_free(storage) is None


def nfs_flock():
    """Replace `flock` by NFS's: a byte-range lock, which needs a writable file to be exclusive."""
    flock = fcntl.flock

    def refusing(descriptor, how):
        if how & fcntl.LOCK_EX and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(descriptor, how)

    return refusing


def test_on_nfs_a_held_generation_is_seen_and_a_free_one_can_be_claimed(storage, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", nfs_flock())
    assert is_free(storage) is True
    reader = CollectionReader.open(str(storage.root))
    assert is_free(storage) is False
    del reader
    gc.collect()
    assert is_free(storage) is True


def test_without_write_access_on_nfs_readers_are_unknown(storage, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", nfs_flock())
    opened = os.open

    def read_only(path, flags, *arguments, **named):
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", read_only)
    assert is_free(storage) is None


def test_released_reader_holds_nothing_although_it_is_still_referenced(storage):
    reader, other = (CollectionReader.open(str(storage.root)) for _ in range(2))
    reader.release()
    assert not is_free(storage)
    other.release()
    assert is_free(storage)
    other.release()
    assert len(reader.ids()) == 10
