from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time

import msgspec
import pytest

from lookalike_indexer.collection.lock import OWNER, Owner, owner, writing
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


def test_second_writer_fails_immediately_and_names_the_owner(storage, holder):
    with pytest.raises(CollectionLockedError) as refused:
        writing(storage).__enter__()
    assert re.fullmatch(
        rf"Another process is writing to {storage.root}: 'lookalike .*', process {holder.pid} on "
        rf"{re.escape(socket.gethostname())}, for \d+ s; wait until it has finished, then run the command again\.",
        str(refused.value),
    )


@pytest.mark.parametrize(
    ("seconds", "told"), [(90, "1 minute"), (7300, "2 hours"), (86400 * 3, "3 days"), (0.2, "0 s"), (-500, "0 s")]
)
def test_lock_error_names_owner_and_age(storage, holder, seconds, told):
    sign(storage, since=time.time() - seconds)
    with pytest.raises(CollectionLockedError, match=f"'lookalike index', process 77 on far, for {told}; wait"):
        writing(storage).__enter__()


def test_owner_on_another_machine_may_be_gone_for_good(storage, holder):
    sign(storage)
    with pytest.raises(CollectionLockedError, match=r"if far no longer exists, remove .*/\.lock\)"):
        writing(storage).__enter__()


@pytest.mark.parametrize("note", [b"", b"[1, 2]", b'{"pid": "x"}', b"\xff", None])
def test_lock_with_an_unreadable_note_is_held(storage, holder, note):
    path = storage.local(OWNER)
    path.unlink() if note is None else path.write_bytes(note)
    with pytest.raises(CollectionLockedError, match=r"Another process is writing to .*collection; wait until"):
        writing(storage).__enter__()


def test_note_goes_with_the_lock_and_a_dead_owners_is_replaced(storage):
    storage.root.mkdir()
    sign(storage)
    with writing(storage):
        assert owner(storage).pid == os.getpid()
        assert owner(storage).since == pytest.approx(time.time(), abs=60)
    assert owner(storage) is None
    assert [path.name for path in storage.root.iterdir()] == [".lock"]


def test_lock_can_be_taken_without_sweeping(storage):
    storage.root.mkdir()
    (storage.root / ".tmp-0a0b0c0d-part").write_bytes(b"half")
    with writing(storage, sweep=False):
        assert (storage.root / ".tmp-0a0b0c0d-part").exists()


def sign(storage, since=0.0):
    storage.local(OWNER).write_bytes(msgspec.json.encode(Owner(77, "far", "lookalike index", since)))


def test_leftovers_of_a_writer_at_work_are_not_swept(storage, holder):
    leftover = storage.root / ".tmp-0a0b0c0d-part"
    leftover.write_bytes(b"half")
    with pytest.raises(CollectionLockedError):
        writing(storage).__enter__()
    assert leftover.exists()


def test_killed_writer_releases_its_lock_and_its_leftovers_are_removed(storage, holder):
    leftover = storage.root / ".tmp-0a0b0c0d-part"
    leftover.write_bytes(b"half")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with writing(storage):
        assert not leftover.exists()


def test_lock_is_given_back_after_an_error(storage):
    with pytest.raises(ValueError, match="stop"), writing(storage):
        raise ValueError("stop")
    with writing(storage):
        pass


def test_first_writer_that_writes_nothing_leaves_no_folder(storage):
    with pytest.raises(RuntimeError), writing(storage):
        raise RuntimeError
    assert not storage.root.exists()
    with writing(storage):
        storage.local("kept").touch()
    assert storage.local("kept").exists()


def test_existing_empty_folder_stays(storage):
    storage.root.mkdir()
    with writing(storage):
        pass
    assert storage.root.exists()


def test_two_writers_in_one_process_exclude_each_other(storage):
    with writing(storage), pytest.raises(CollectionLockedError):
        writing(Storage(storage.root)).__enter__()


def test_path_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(IndexerError, match="cannot be written to"):
        writing(Storage(tmp_path / "file" / "collection")).__enter__()
