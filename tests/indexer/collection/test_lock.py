from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import CollectionLockedError, IndexerError

HOLD = """
import sys
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.storage import Storage
with writing(Storage(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path / "collection")


@pytest.fixture
def holder(storage):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(storage.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_another_process_is_told_and_does_not_wait(storage, holder):
    with pytest.raises(CollectionLockedError, match=r"Another process is writing to .*collection; wait until"):
        writing(storage).__enter__()


def test_leftovers_of_a_writer_at_work_are_not_swept(storage, holder):
    leftover = storage.root / ".tmp-0a-part"
    leftover.write_bytes(b"half")
    with pytest.raises(CollectionLockedError):
        writing(storage).__enter__()
    assert leftover.exists()


def test_a_killed_writer_blocks_nobody_and_what_it_left_is_swept(storage, holder):
    leftover = storage.root / ".tmp-0a-part"
    leftover.write_bytes(b"half")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with writing(storage):
        assert not leftover.exists()


def test_the_lock_is_given_back_after_an_error(storage):
    with pytest.raises(ValueError, match="stop"), writing(storage):
        raise ValueError("stop")
    with writing(storage):
        pass


def test_two_writers_in_one_process_exclude_each_other(storage):
    with writing(storage), pytest.raises(CollectionLockedError):
        writing(Storage(storage.root)).__enter__()


def test_a_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(IndexerError, match="cannot be written to"):
        writing(Storage(tmp_path / "file" / "collection")).__enter__()
