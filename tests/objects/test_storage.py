"""The storage's operations, in a folder and on an object store."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from tests.objects import other_stores

from lookalike_indexer.collection.location import open_storage
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.objects.cache import Cache
from lookalike_indexer.collection.objects.storage import ObjectStorage
from lookalike_indexer.errors import CollectionLockedError, DataLossError, IndexerError, NotFoundError, UsageError

pytestmark = pytest.mark.xdist_group("object store")
_numbers = itertools.count()


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Start a store besides SeaweedFS once; return its URL and environment variables."""
    with contextlib.ExitStack() as stack:
        found = {}

        def start(name):
            if name not in found:
                found[name] = stack.enter_context(getattr(other_stores, name)(tmp_path_factory.mktemp(name)))
            return found[name]

        yield start


@pytest.fixture(params=["folder", "SeaweedFS", "moto", "azurite"])
def location(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return str(tmp_path / "collection")
    if request.param == "SeaweedFS":
        return f"{request.getfixturevalue('bucket')}/some/collection"
    url, variables = request.getfixturevalue("started")(request.param)
    for name, value in {**variables, "LOOKALIKE_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    return f"{url}/{next(_numbers)}/collection"


def put(storage, path, data=b"data"):
    with storage.staged(path) as temporary:
        temporary.write_bytes(data)


def test_written_file_is_readable_by_every_method(location):
    storage = open_storage(location)
    with writing(storage):
        assert not storage.exists("images/part-0.parquet")
        put(storage, "images/part-0.parquet", b"first")
        put(storage, "images/part-1.parquet", b"second")
        put(storage, "images/more/part-2.parquet", b"third")
        assert storage.exists("images/part-0.parquet")
        assert not storage.exists("images/part-7.parquet")
    for one in (storage, open_storage(location)):
        assert one.exists("images/part-1.parquet")
        assert not one.exists("images")
        assert one.list("images") == ["part-0.parquet", "part-1.parquet"]
        assert one.list("nowhere") == []
        assert one.sizes("images") == {"part-0.parquet": 5, "part-1.parquet": 6}
        assert one.read("images/part-1.parquet") == b"second"
        assert one.local("images/more/part-2.parquet").read_bytes() == b"third"
        assert one.local("images/more/part-2.parquet").suffix == ".parquet"
        assert one.digest("images/part-0.parquet") == hashlib.sha256(b"first").hexdigest()
        assert one.size("images/part-0.parquet") == 5
        written = {path for path in one.walk() if not path.startswith(".")}
        assert written == {"images/part-0.parquet", "images/part-1.parquet", "images/more/part-2.parquet"}
        assert one.shown("images/part-0.parquet") == f"{location}/images/part-0.parquet"
    assert open_storage(location).name == "collection"


def test_files_are_replaced_renamed_and_removed(location):
    storage = open_storage(location)
    with writing(storage):
        put(storage, "a/one", b"old")
        before = storage.stamp("a/one")
        put(storage, "a/one", b"newer")
        assert storage.stamp("a/one") != before
        assert storage.read("a/one") == storage.local("a/one").read_bytes() == b"newer"
        storage.rename("a/one", "a/two")
        assert not storage.exists("a/one")
        assert storage.local("a/two").read_bytes() == b"newer"
        put(storage, "b/three")
        storage.clear("b")
        assert storage.list("b") == []
        assert storage.list("a") == ["two"]
        put(storage, "c/four")
        storage.remove("c/four")
        storage.remove("c/four")
        assert not storage.exists("c/four")


def test_missing_file_is_named_in_the_error(location):
    storage = open_storage(location)
    for read in (storage.read, storage.size, storage.stamp):
        with pytest.raises(NotFoundError, match=r"collection/images/nothing is missing from the collection\.$"):
            read("images/nothing")
    with pytest.raises(DataLossError, match="images/nothing is missing"):
        storage.digest("images/nothing")


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../b"])
def test_path_out_of_the_collection_is_rejected(location, path):
    storage = open_storage(location)
    for read in (storage.read, storage.local):
        with pytest.raises(DataLossError, match="is outside the collection"):
            read(path)


def test_failed_write_leaves_no_file(location):
    storage = open_storage(location)
    with writing(storage):
        with pytest.raises(ValueError, match="embedded null byte"), storage.staged("a/one") as temporary:
            temporary.with_name("half\0").write_bytes(b"half")
        assert storage.list("a") == []


def test_of_many_writers_one_publishes_a_generation(location):
    with writing(open_storage(location)):
        pass

    def publish(number):
        # Each behaves like a process of its own, without the lock.
        storage = open_storage(location)
        try:
            storage.publish("generations/000001.json", str(number).encode())
        except CollectionLockedError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(publish, range(8)) if number is not None]
    assert open_storage(location).read("generations/000001.json") == str(winners[0]).encode()
    assert len(winners) == 1


def test_error_of_a_second_writer_names_the_first(location):
    with (
        writing(open_storage(location)),
        pytest.raises(CollectionLockedError, match=r"Another process is writing to .*collection: 'lookalike"),
        writing(open_storage(location)),
    ):
        pass
    with writing(open_storage(location)):
        pass


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("ftp://host/path", "not a location that Lookalike knows"),
        ("s3:///path", "write s3://BUCKET/PREFIX"),
        ("s3://user:secret@bucket/path", "write s3://BUCKET/PREFIX"),
        ("s3://bucket/a/../b", "has '..' in its path"),
    ],
)
def test_wrong_url_is_rejected_before_the_store_is_asked(location, reason):
    with pytest.raises(UsageError) as refused:
        open_storage(location)
    assert reason in str(refused.value)
    assert "secret" not in str(refused.value)


def test_url_of_a_file_is_a_folder(tmp_path):
    assert open_storage(f"file://{tmp_path}/a%20b").location == f"{tmp_path}/a b"


def test_missing_bucket_and_wrong_credentials_are_reported_without_secrets(bucket, monkeypatch):
    with pytest.raises(NotFoundError, match="There is no bucket s3://no-such-bucket"):
        open_storage("s3://no-such-bucket/pictures").list("generations")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-9")
    with pytest.raises(IndexerError) as refused:
        open_storage(f"{bucket}/pictures").list("generations")
    assert "refuses access" in str(refused.value)
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in str(refused.value)
    assert "wrong-secret-9" not in str(refused.value)


def test_cache_keeps_fetched_files_up_to_its_limit(bucket, tmp_path, monkeypatch):
    url = f"{bucket}/collection"
    writer = open_storage(url)
    with writing(writer):
        for number in range(6):
            put(writer, f"a/{number}", bytes([number]) * 1000)
    monkeypatch.setattr("lookalike_indexer.collection.objects.cache._IN_USE_S", -1)
    cache = Cache(url, tmp_path / "small", most=3000)
    storage = ObjectStorage(url, cache)
    for number in range(6):
        assert storage.local(f"a/{number}").read_bytes() == bytes([number]) * 1000
    kept = [path for path in (tmp_path / "small").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) <= 3000
    assert storage.local("a/0").read_bytes() == bytes(1000)


def test_invalid_cache_size_is_rejected(bucket, monkeypatch):
    monkeypatch.setenv("LOOKALIKE_CACHE_BYTES", "50G")
    with pytest.raises(UsageError, match="LOOKALIKE_CACHE_BYTES is '50G'; write a number of bytes"):
        open_storage(bucket)


def test_object_is_fetched_once(bucket, broken):
    with writing(open_storage(f"{bucket}/collection")) as _, nullcontext(open_storage(f"{bucket}/collection")) as one:
        pass
    writer = open_storage(f"{bucket}/collection")
    with writing(writer):
        put(writer, "a/one")
    asked = broken(lambda method, path: "").asked
    storage = ObjectStorage(f"{bucket}/collection", Cache("another", writer.scratch / "other"))
    for _ in range(3):
        assert storage.local("a/one").read_bytes() == b"data"
    assert [method for method, path in asked if path.endswith("/a/one")] == ["HEAD", "GET"]
    assert one.name == "collection"
