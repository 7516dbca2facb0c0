"""Single writers on an object store, and leases of generations that are read."""

from __future__ import annotations

import gc
import pickle
import threading

import pytest

from lookalike_indexer.collection.hold import claimed, hold
from lookalike_indexer.collection.location import open_storage
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.objects import holds
from lookalike_indexer.collection.objects.lease import Lease
from lookalike_indexer.collection.objects.store import open_location
from lookalike_indexer.errors import CollectionLockedError, NotFoundError

pytestmark = pytest.mark.xdist_group("object store")

MANIFEST = "generations/000001.json"


class Holder:
    pass


def test_silent_writer_loses_its_lease_and_can_no_longer_publish(bucket):
    location = open_location(f"{bucket}/collection")
    # Its first heartbeat never comes, as if the process was suspended.
    silent = Lease(location, b"silent", heartbeat_s=3600)
    silent.acquire()
    silent.require()
    with pytest.raises(CollectionLockedError, match="silent"):
        Lease(location, b"early", heartbeat_s=3600).acquire()
    # This one counts three heartbeats of a hundredth of a second.
    late = Lease(location, b"late", heartbeat_s=0.01)
    while True:
        try:
            late.acquire()
            break
        except CollectionLockedError:
            pass
    late.require()
    with pytest.raises(CollectionLockedError, match="Another process took over"):
        silent.require()
    silent.release()
    late.require()
    late.release()


def test_heartbeat_keeps_the_lease(bucket):
    location = open_location(f"{bucket}/collection")
    busy = Lease(location, b"busy", heartbeat_s=0.05)
    busy.acquire()
    threading.Event().wait(1)
    # By the store's clock of whole seconds the lease was renewed repeatedly.
    with pytest.raises(CollectionLockedError, match="busy"):
        Lease(location, b"other", heartbeat_s=5).acquire()
    busy.release()
    Lease(location, b"next").acquire()


def test_of_many_writers_one_gets_the_lease(bucket):
    location = open_location(f"{bucket}/collection")
    won: list[int] = []

    def run(number):
        try:
            Lease(location, str(number).encode()).acquire()
        except CollectionLockedError:
            return
        won.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_generation_with_a_reader_is_not_free(bucket):
    storage = open_storage(f"{bucket}/collection")
    with writing(storage):
        storage.publish(MANIFEST, b"{}")
    with claimed(storage, 1) as is_free:
        assert is_free
    holder = Holder()
    hold(open_storage(f"{bucket}/collection"), 1, holder)
    with claimed(storage, 1) as is_free:
        assert not is_free
    del holder
    gc.collect()
    with claimed(storage, 1) as is_free:
        assert is_free


def test_generation_being_removed_is_not_found_by_readers(bucket):
    storage = open_storage(f"{bucket}/collection")
    with writing(storage):
        storage.publish(MANIFEST, b"{}")
    with claimed(storage, 1), pytest.raises(NotFoundError, match="is being removed"):
        hold(storage, 1, Holder())
    with pytest.raises(NotFoundError, match=r"generations/000002\.json is missing"):
        hold(storage, 2, Holder())


def test_hold_of_a_killed_reader_ends(bucket, monkeypatch):
    storage = open_storage(f"{bucket}/collection")
    with writing(storage):
        storage.publish(MANIFEST, b"{}")
    holder = Holder()
    hold(storage, 1, holder)
    monkeypatch.setattr(holds, "HEARTBEAT_S", -1)
    with claimed(storage, 1) as is_free:
        assert is_free


def test_writing_process_stops_when_the_lease_ends(bucket):
    storage = open_storage(f"{bucket}/collection")
    with writing(storage):
        worker = pickle.loads(pickle.dumps(storage))  # noqa: S301  # this process wrote it
        with worker.staged("part") as temporary:
            temporary.write_bytes(b"bytes")
        assert storage.read("part") == b"bytes"
    with writing(open_storage(f"{bucket}/collection")):
        with pytest.raises(CollectionLockedError, match="Another process took over"), worker.staged("part"):
            pass
        assert storage.read("part") == b"bytes"
