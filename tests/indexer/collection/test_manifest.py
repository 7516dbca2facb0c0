from __future__ import annotations

import dataclasses
import json
import random
import zlib
from pathlib import Path

import pytest

from lookalike_indexer.collection import encoding
from lookalike_indexer.collection.manifest import (
    ClusteringEntry,
    FileEntry,
    IndexEntry,
    Manifest,
    ModelEntry,
    RecallPoint,
    ResultEntry,
    SourceEntry,
    SpaceEntry,
)
from lookalike_indexer.collection.spec import ModelSpec, PreprocessingSpec, SpaceSpec, WeightsSpec
from lookalike_indexer.errors import DataLossError, MismatchError

GOLDEN = Path(__file__).with_name("golden_manifest.json")
GOLDEN_2 = Path(__file__).with_name("golden_manifest_2.json")


def encode(found: Manifest) -> bytes:
    return encoding.encode(found).manifest


def decode(data: bytes, name: str) -> Manifest:
    def no_lists(path: str) -> bytes:
        raise AssertionError(f"{path} is asked for")

    return encoding.decode(data, name, no_lists)


def preprocessing():
    return PreprocessingSpec(232, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", True)


def model(**changes):
    weights = WeightsSpec("imagenet", "ResNet152_Weights.IMAGENET1K_V2", "ab" * 32)
    return dataclasses.replace(ModelSpec("resnet152", 1000, weights, preprocessing()), **changes)


def full():
    """Return a manifest with a value in every field."""
    spec = model()
    part = "embeddings/resnet152/part-000000.parquet"
    assignments = ["clusterings/resnet152/k2/0123456789abcdef/assignments/part-000000.parquet"]
    return Manifest(
        format=2,
        generation=7,
        source=SourceEntry("directory", "/pictures/été 🐈"),
        files={
            part: FileEntry(8192, "cd" * 32, 1, "cpu bfloat16"),
            "indexes/resnet152/fedcba9876543210.faiss": FileEntry(99, "ef" * 32),
        },
        listing=["source/part-000000.parquet"],
        images=["images/part-000000.parquet"],
        models={"resnet152": ModelEntry(spec, "cpu bfloat16", ["predictions/p"], ["rejects/r"], ["models/m"])},
        spaces={
            "resnet152": SpaceEntry(
                "resnet152", "avgpool", "avg", 2048, "float16", SpaceSpec(spec, "avgpool", "avg").fingerprint, 1, [part]
            )
        },
        clusterings={
            "resnet152/k2": ClusteringEntry(
                "resnet152", "k2", 2, "cosine", "spherical", 1234, 25, 3, 512, [10.5, 9.25], 1,
                "clusterings/resnet152/k2/0123456789abcdef/centroids.parquet", assignments, "01" * 32, parts=[part],
            )
        },
        indexes={
            "resnet152/main": IndexEntry(
                "resnet152", "IVF256,SQfp16", "cosine", 256, 8, [RecallPoint(1, 0.5), RecallPoint(8, 0.953)],
                500, 9984, 1234, 1, "indexes/resnet152/fedcba9876543210.faiss", "fe" * 32, parts=[part],
            )
        },
        results={
            "matrix/classes": ResultEntry(
                "matrix", "classes", {"clustering": "resnet152/k2", "limit": 5, "models": ["resnet152"]},
                {"purity": 0.75}, ["Cats and dogs share a cluster."],
                {"counts": "results/matrix/classes/0011223344556677/counts.parquet"}, "0f" * 32,
            )
        },
        default_space="resnet152",
    )  # fmt: skip


def test_manifest_round_trips():
    assert decode(encode(full()), "it") == full()


def test_bytes_of_a_format_never_change():
    """A change here needs a new format number: servers and older versions read these bytes."""
    assert encode(full()) == GOLDEN_2.read_bytes()
    assert decode(GOLDEN_2.read_bytes(), "golden") == full()


def test_format_1_is_read_with_the_arithmetic_of_a_model_on_each_of_its_parts():
    """Format 1 had one index per space, and recorded fewer settings."""
    assert list(json.loads(GOLDEN.read_bytes())["indexes"]) == ["resnet152"]
    assert decode(GOLDEN.read_bytes(), "golden") == dataclasses.replace(full(), format=1)


def many(parts: int) -> Manifest:
    """Return a manifest with long sequences, whose files are in no order."""
    listing = [f"source/part-{part:06d}.parquet" for part in range(parts)]
    images = [f"images/part-{part:06d}.parquet" for part in range(parts)]
    others = full().files
    paths = [*listing, *images, *others]
    random.Random(3).shuffle(paths)
    files = {path: others.get(path, FileEntry(len(path), f"{zlib.crc32(path.encode()):064x}", 1024)) for path in paths}
    return dataclasses.replace(full(), files=files, listing=listing, images=images)


def test_long_sequences_share_stored_lists():
    short, long = encoding.encode(many(1000)), encoding.encode(many(1100))
    assert len(short.manifest) < 6000
    assert encoding.decode(short.manifest, "it", short.lists.__getitem__) == many(1000)
    # 1,000 parts are three full pages of 256 and a last page, which alone is rewritten.
    assert len(short.lists) == 2 * 4
    assert len(set(long.lists) - set(short.lists)) == 2 * 2


def test_sixty_thousand_parts_in_no_order_are_written_and_read():
    manifest = many(60_000)
    encoded = encoding.encode(manifest)
    assert encoding.decode(encoded.manifest, "it", encoded.lists.__getitem__) == manifest


def test_changed_list_is_noticed():
    encoded = encoding.encode(many(100))
    path = next(iter(encoded.lists))
    changed = {**encoded.lists, path: encoded.lists[path].replace(b"1024", b"1025", 1)}
    with pytest.raises(DataLossError, match=rf"here\.json names the list {path}, which is not what was written"):
        encoding.decode(encoded.manifest, "here.json", changed.__getitem__)


def test_equal_manifests_have_equal_bytes_in_any_order():
    backwards = dataclasses.replace(full(), files=dict(reversed(full().files.items())))
    assert encode(backwards) == encode(full())


@pytest.mark.parametrize(
    ("number", "mend"),
    [(5, "a newer one wrote it; get that with: pip install"), (0, "make the collection again with: lookalike index")],
)
def test_unsupported_format_is_rejected_with_a_remedy(number, mend):
    data = encode(dataclasses.replace(full(), format=number))
    with pytest.raises(
        MismatchError, match=rf"here\.json has collection format {number} and .* reads formats 1 to 4: .*{mend}"
    ):
        decode(data, "here.json")


def test_any_flipped_byte_is_noticed():
    data = encode(full())
    flip = random.Random(5)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= flip.randrange(1, 256)
        with pytest.raises(DataLossError, match=r"here\.json is not"):
            decode(bytes(damaged), "here.json")


@pytest.mark.parametrize(
    "edit", [(b"1234", b"1235"), (b'"format": 2', b'"format": 1'), (b"\n", b"\r\n"), (b"}", b"} ")]
)
def test_edited_manifest_is_noticed(edit):
    with pytest.raises(DataLossError, match="not what was written"):
        decode(encode(full()).replace(*edit), "here.json")


def test_manifest_without_a_checksum_is_rejected():
    data = b"{\n" + encode(full()).split(b"\n", 2)[2]
    with pytest.raises(DataLossError, match="checksum"):
        decode(data, "here.json")


def test_future_format_is_rejected_before_its_fields_are_read():
    with pytest.raises(MismatchError, match="format 5"):
        decode(b'{"format": 5, "everything": "else"}', "here.json")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format": 2}', b'{"format": "1"}', b"\xff\xfe", b'"' + b"x" * 9])
def test_other_file_as_manifest_is_data_loss(data):
    with pytest.raises(DataLossError, match=r"here\.json is not (a readable manifest|what was written)"):
        decode(data, "here.json")


def test_every_cut_of_a_manifest_is_noticed():
    data = encode(full()).rstrip()
    for length in range(0, len(data), 97):
        with pytest.raises((DataLossError, MismatchError)):
            decode(data[:length], "cut")


def test_fingerprint_covers_every_setting_that_changes_embeddings():
    base = SpaceSpec(model(), "avgpool", "avg")
    elsewhere = model(weights=WeightsSpec("imagenet", "the same bytes by another name", "ab" * 32))
    assert SpaceSpec(elsewhere, "avgpool", "avg").fingerprint == base.fingerprint
    others = [
        SpaceSpec(model(), "layer4", "avg"),
        SpaceSpec(model(), "avgpool", "max"),
        SpaceSpec(model(arch="resnet101"), "avgpool", "avg"),
        SpaceSpec(model(weights=WeightsSpec("imagenet", "x", "ba" * 32)), "avgpool", "avg"),
        SpaceSpec(model(weights=WeightsSpec("untrained", "x", "ab" * 32)), "avgpool", "avg"),
        SpaceSpec(model(preprocessing=dataclasses.replace(preprocessing(), resize=256)), "avgpool", "avg"),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 7


def test_spec_of_a_space_has_its_fingerprint():
    assert full().space_spec("resnet152").fingerprint == full().spaces["resnet152"].fingerprint
