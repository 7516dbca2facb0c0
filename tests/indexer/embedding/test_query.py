from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.query import QueryEmbedder
from lookalike_indexer.errors import DataLossError, DecodeError, MismatchError, NotFoundError, WeightsError
from lookalike_indexer.images.image_box import Boxed
from lookalike_indexer.models.network import Node


@pytest.fixture
def reader(storage: Storage):
    return lambda: CollectionReader.open(str(storage.root))


@pytest.mark.parametrize("space", ["", "squeezenet1_1.features.6.max"])
def test_stored_image_gets_its_stored_embedding(embed, reader, photos: Path, space: str):
    embed(layers=(Node("features.6", "max"),))
    collection = reader()
    images = collection.images().to_pylist()
    with QueryEmbedder.open(collection, space) as embedder:
        assert embedder.fingerprint == collection.space(space)[1].fingerprint
        rows = np.array([11, 0, 19])
        found = embedder.embed([Path(images[row]["uri"]).read_bytes() for row in rows])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, collection.vectors(space, rows), rtol=1e-4, atol=1e-5)
        assert embedder.embed([]).shape == (0, embedder.embed([(photos / "a" / "00.png").read_bytes()]).shape[1])


def test_image_that_cannot_be_decoded_is_named_by_its_position(embed, reader, photos: Path):
    embed()
    good = (photos / "a" / "00.png").read_bytes()
    with QueryEmbedder.open(reader(), limits=ImageLimits(max_pixels=40 * 32)) as embedder:
        with pytest.raises(DecodeError, match="Image 1 cannot be decoded: not a JPEG"):
            embedder.embed([good, b"bad", b"worse"])
        with pytest.raises(DecodeError, match=r"^Image 0 cannot be cropped: the box 30,0,11,5 is not within the"):
            embedder.embed([Boxed(good, (30, 0, 11, 5))])
        assert len(embedder.embed([good])) == 1
    with (
        QueryEmbedder.open(reader(), limits=ImageLimits(max_pixels=100)) as embedder,
        pytest.raises(DecodeError, match="Image 0 cannot be decoded: the image has 40 x 32 pixels"),
    ):
        embedder.embed([good])


def test_weights_are_found_elsewhere_or_rejected(embed, reader, tmp_path: Path, save_network):
    original, other = save_network(0), save_network(1)
    embed(model="shufflenet_v2_x0_5", weights=str(original))
    moved = original.rename(tmp_path / "moved.pth")
    with pytest.raises(WeightsError, match=r"There is no weights file .*-0\.pth"):
        QueryEmbedder.open(reader())
    QueryEmbedder.open(reader(), weights_file=str(moved)).close()
    with pytest.raises(
        MismatchError, match=rf"weights file:{other} .* have the digest .* was made with file:{original}"
    ):
        QueryEmbedder.open(reader(), weights_file=str(other))


def test_changed_statistics_are_noticed(embed, reader, storage: Storage):
    embed(model="shufflenet_v2_x0_5")
    path = storage.local("models/shufflenet_v2_x0_5/batchnorm.npz")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataLossError, match=r"batchnorm\.npz is not what was written"):
        QueryEmbedder.open(reader())


def test_unknown_space_is_reported(embed, reader):
    embed()
    with pytest.raises(NotFoundError, match="has no space 'none'"):
        QueryEmbedder.open(reader(), "none")


@pytest.mark.slow
def test_true_resnet152_gives_2048_dimensions(embed, reader, storage: Storage, tmp_path: Path, add_photo):
    for number in range(3):
        add_photo(tmp_path / "few" / f"{number}.png", number)
    report = embed(source=str(tmp_path / "few"), model="resnet152", weights="untrained", batch_size=2)
    assert (report.spaces, report.weights, report.pretrained) == (["resnet152"], "untrained:0", False)
    collection = reader()
    stored = np.concatenate([block for _, block in collection.stream()])
    assert stored.shape == (3, 2048)
    assert collection.space()[1].layer == "flatten"
    assert np.isfinite(stored).all()
    assert 0.01 < stored.std() < 100
    assert generations.latest(storage) == collection.manifest
