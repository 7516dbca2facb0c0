from __future__ import annotations

import dataclasses
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import MismatchError, UsageError
from lookalike_indexer.progress import Silent
from lookalike_indexer.sources.labels import Labels
from lookalike_indexer.sources.listing import ListingReport, check_same_source, update_listing
from lookalike_indexer.sources.open import open_source


@pytest.fixture
def photos(tmp_path: Path, make_picture) -> Path:
    for number in range(7):
        make_picture(tmp_path / "photos" / f"{number}.jpg")
    return tmp_path / "photos"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "collection")


def listed(storage: Storage, source: Path, labels: Path | None = None, part_size: int = 3) -> ListingReport:
    opened = open_source(str(source))
    table = Labels(labels, opened.entry) if labels else None
    return update_listing(storage, opened, table, part_size, Silent())


def test_image_beside_the_shards_of_a_collection_is_named_as_the_reason(storage, tmp_path, make_picture):
    folder = tmp_path / "my shards"
    make_picture(tmp_path / "0.jpg")
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.write(tmp_path / "0.jpg", "0.jpg")
    before = open_source(str(folder)).entry
    make_picture(folder / "preview.jpg")
    with pytest.raises(MismatchError, match="take them out, or leave them out with --exclude"):
        check_same_source(storage, before, open_source(str(folder)).entry)
    check_same_source(storage, before, open_source(str(folder), ["preview.jpg"]).entry)
    with pytest.raises(MismatchError, match=r"lookalike relocate .* '.*/my shards'"):
        check_same_source(storage, dataclasses.replace(before, uri="/elsewhere"), before)


def keys(storage: Storage, report: ListingReport) -> list[list[str]]:
    return [read_part(storage, part).column("key").to_pylist() for part in report.parts]


def test_gives_ids_in_order_in_parts_of_bounded_size(photos: Path, storage: Storage):
    report = listed(storage, photos)
    assert keys(storage, report) == [["0.jpg", "1.jpg", "2.jpg"], ["3.jpg", "4.jpg", "5.jpg"], ["6.jpg"]]
    ids = [read_part(storage, part).column("id").to_pylist() for part in report.parts]
    assert ids == [[0, 1, 2], [3, 4, 5], [6]]
    assert (report.rows, report.new, report.gone, report.changed) == (7, 7, 0, 0)


def test_appends_what_is_new_and_counts_what_went_or_changed(photos: Path, storage: Storage, make_picture):
    before = listed(storage, photos)
    bytes_before = [storage.read(part) for part in before.parts]
    make_picture(photos / "00.jpg")
    make_picture(photos / "7.jpg")
    (photos / "3.jpg").unlink()
    (photos / "1.jpg").write_bytes(b"changed")
    os.utime(photos / "2.jpg", ns=(1, 1))
    report = listed(storage, photos)
    # Nothing was embedded yet, so the listing just follows the files.
    assert (report.rows, report.new, report.gone, report.changed) == (9, 2, 1, 0)
    assert keys(storage, report)[3:] == [["00.jpg", "7.jpg"]]
    assert report.revised == {0}
    first = read_part(storage, report.parts[0]).to_pylist()
    assert [row["bytes"] for row in first[1:2]] == [7]
    assert first[2]["modified_ns"] == 1
    assert read_part(storage, report.parts[3]).column("id").to_pylist() == [7, 8]
    assert [storage.read(part) for part in before.parts] == bytes_before


def test_nothing_new_writes_nothing(photos: Path, storage: Storage):
    before = listed(storage, photos)
    report = listed(storage, photos)
    assert (report.parts, report.new) == (before.parts, 0)


def test_interrupted_listing_continues_with_equal_bytes(photos: Path, storage: Storage):
    whole = [storage.read(part) for part in listed(storage, photos).parts]
    storage.local("source/part-000002.parquet").unlink()
    storage.local("source/part-000001.parquet").unlink()
    assert [storage.read(part) for part in listed(storage, photos).parts] == whole


def test_listing_ignores_leftovers_of_a_run_over_another_source(
    photos: Path, storage: Storage, tmp_path: Path, make_picture
):
    listed(storage, photos)
    make_picture(tmp_path / "others" / "a.jpg")
    report = listed(storage, tmp_path / "others")
    assert (report.rows, report.new, keys(storage, report)) == (1, 1, [["a.jpg"]])


def test_empty_source_is_rejected(tmp_path: Path, storage: Storage):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty has no images"):
        listed(storage, tmp_path / "empty")
    assert storage.list("source") == []


def test_repeated_key_is_named_before_anything_is_written(tmp_path: Path, storage: Storage):
    (tmp_path / "list.txt").write_text("a.jpg\nb.jpg\n./a.jpg\n")
    with pytest.raises(UsageError, match=r"has the key 'a\.jpg' twice \(rows 1 and 3\)"):
        listed(storage, tmp_path / "list.txt")
    pq.write_table(pa.table({"key": ["x", "x"], "image": [b"1", b"2"]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"has the key 'x' twice \(rows 1 and 2\)"):
        listed(storage, tmp_path / "a.parquet")
    assert storage.list("source") == []


def labels_of(storage: Storage, report: ListingReport) -> list[str | None]:
    return [label for part in report.parts for label in read_part(storage, part).column("label").to_pylist()]


def test_labels_file_is_counted_where_it_does_not_fit(photos: Path, storage: Storage, tmp_path: Path):
    (tmp_path / "labels.csv").write_text("key,label\n0.jpg,null\n6.jpg,six\nx.jpg,y\nz.jpg,y\n")
    report = listed(storage, photos, tmp_path / "labels.csv")
    assert labels_of(storage, report) == ["null", None, None, None, None, None, "six"]
    assert (report.without_label, report.unknown_labels) == (5, 2)


def test_labels_file_of_other_keys_is_rejected_before_anything_is_written(
    photos: Path, storage: Storage, tmp_path: Path
):
    (tmp_path / "labels.csv").write_text("key,label\nphotos/0.jpg,x\n")
    with pytest.raises(UsageError, match=r"has, for example, 'photos/0\.jpg', and the source '0\.jpg'"):
        listed(storage, photos, tmp_path / "labels.csv")
    assert storage.list("source") == []


def test_labels_are_corrected_later_and_those_not_mentioned_stay(storage: Storage, tmp_path: Path, make_picture):
    for name in ("cats/1.jpg", "cats/2.jpg", "dogs/3.jpg"):
        make_picture(tmp_path / "photos" / name)
    labels = tmp_path / "labels.csv"
    labels.write_text("key,label\ncats/1.jpg,tiger\n")
    first = listed(storage, tmp_path / "photos", labels)
    assert labels_of(storage, first) == ["tiger", "cats", "dogs"]
    # Without a labels file, and with one that does not name it, an image keeps its earlier label.
    assert labels_of(storage, listed(storage, tmp_path / "photos")) == ["tiger", "cats", "dogs"]
    labels.write_text("key,label\ncats/2.jpg,lynx\ndogs/3.jpg,\n")
    report = listed(storage, tmp_path / "photos", labels)
    assert labels_of(storage, report) == ["tiger", "lynx", None]
    assert report.relabelled == 2
