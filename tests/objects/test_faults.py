"""Network faults of an object store: replies that are lost, truncated, or rejected for a while."""

from __future__ import annotations

from collections import Counter

import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.doctor import doctor
from lookalike_indexer.collection.location import open_storage
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.errors import IndexerError

pytestmark = pytest.mark.xdist_group("object store")

MANIFEST = "generations/000001.json"


def first(count, fault, method, part):
    """Return a fault for the first calls of a method whose path contains a text."""
    seen = Counter()

    def choose(asked, path):
        if asked == method and part in path:
            seen["calls"] += 1
            if seen["calls"] <= count:
                return fault
        return ""

    return choose


def test_publish_with_a_lost_reply_succeeds(bucket, broken):
    settings = broken(first(1, "lost", "PUT", MANIFEST))
    storage = open_storage(f"{bucket}/collection")
    with writing(storage):
        storage.publish(MANIFEST, b"mine")
    assert storage.read(MANIFEST) == b"mine"
    assert sum(method == "PUT" and MANIFEST in path for method, path in settings.asked) == 2


def test_briefly_busy_store_causes_no_error(bucket, broken):
    broken(first(2, "busy", "PUT", "images/part-0"))
    storage = open_storage(f"{bucket}/collection")
    with writing(storage), storage.staged("images/part-0") as temporary:
        temporary.write_bytes(b"data")
    assert storage.read("images/part-0") == b"data"


def test_truncated_object_is_read_again_or_rejected(bucket, broken):
    storage = open_storage(f"{bucket}/collection")
    with writing(storage), storage.staged("images/part-0") as temporary:
        temporary.write_bytes(bytes(range(256)) * 4096)
    broken(first(1, "short", "GET", "images/part-0"))
    reader = open_storage(f"{bucket}/collection")
    reader._cache.folder.mkdir(parents=True, exist_ok=True)
    for copy in reader._cache.folder.rglob("*"):
        if copy.is_file():
            copy.unlink()
    try:
        found = reader.local("images/part-0").read_bytes()
    except IndexerError:
        found = reader.local("images/part-0").read_bytes()
    assert found == bytes(range(256)) * 4096


def test_store_without_conditional_writes_is_rejected(bucket, broken):
    broken(lambda method, path: "forgetful" if method == "PUT" else "")
    storage = open_storage(f"{bucket}/collection")
    with writing(storage), pytest.raises(IndexerError, match=r"s3://tests does not support conditional writes"):
        storage.publish(MANIFEST, b"mine")
    assert open_storage(f"{bucket}/collection").list("generations") == []
    told = CliRunner().invoke(doctor, [f"{bucket}/collection"])
    assert told.exit_code == 1
    assert "!! create only once  no - s3://tests does not support conditional writes" in told.output
    assert "ok list " in told.output


def test_doctor_accepts_a_complete_store(bucket):
    told = CliRunner().invoke(doctor, [f"{bucket}/collection"])
    assert told.exit_code == 0, told.output
    assert told.output.count("ok ") == 3
    assert list(open_storage(bucket).walk()) == []


def test_doctor_rejects_an_unsupported_url():
    told = CliRunner().invoke(doctor, ["ftp://host/pictures"])
    assert told.exit_code == 2
    assert "give a folder, or s3://, gs://, az://" in told.output
