"""Settings that a run takes from the collection if its options do not set them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.defaults import resolve_defaults
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.errors import MismatchError, NotBuiltError, UsageError
from lookalike_indexer.experiments.view import View
from lookalike_indexer.models.network import Node

AS_BEFORE = {"model": "", "weights": ""}


@pytest.fixture
def reader(storage: Storage) -> Callable[[], CollectionReader]:
    return lambda: CollectionReader.open(storage.root)


def test_same_command_without_options_continues(embed, reader, photos: Path, add_photo):
    embed(layers=(Node("features", "max"),), dtype="float16", preprocess="IMAGENET1K_V1")
    before = reader().manifest
    add_photo(photos / "a" / "new.png", 99)
    report = embed(**AS_BEFORE)
    assert (report.new, report.embedded, report.weights) == (1, 1, "untrained:1")
    after = reader().manifest
    assert after.models.keys() == before.models.keys()
    assert {name: space.rows for name, space in after.spaces.items()} == {
        "squeezenet1_1": 21,
        "squeezenet1_1.features.max": 21,
    }
    assert {space.dtype for space in after.spaces.values()} == {"float16"}
    embed(**AS_BEFORE, layers=(Node("features.3", "avg"),))
    assert reader().manifest.spaces["squeezenet1_1.features.3.avg"].dtype == "float16"


def test_file_of_weights_is_taken_again(embed, reader, save_network):
    network = {"model": "shufflenet_v2_x0_5", "weights": str(save_network(1)), "name": "mine"}
    embed(**network)
    assert embed(**AS_BEFORE).model == "mine"
    assert embed(**AS_BEFORE, name="mine").model == "mine"
    assert list(reader().manifest.models) == ["mine"]


def test_with_several_models_the_model_must_be_named(embed, storage: Storage, reader):
    embed()
    embed(name="second", weights="untrained:2")
    with pytest.raises(UsageError, match=r"the models second, squeezenet1_1; choose the one to extend with --name"):
        embed(**AS_BEFORE)
    assert embed(**AS_BEFORE, name="second").weights == "untrained:2"
    assert embed(model="squeezenet1_1", weights="").weights == "untrained:1"
    with pytest.raises(MismatchError, match="second of the collection is a squeezenet1_1, not a resnet18"):
        resolve_defaults(EmbedSettings("x", model="resnet18", name="second"), reader().manifest)


def test_checkpoints_are_no_models_to_continue_with(embed, reader):
    embed()
    embed(name="squeezenet1_1@step2", weights="untrained:2")
    assert embed(**AS_BEFORE).model == "squeezenet1_1"


def test_new_collection_gets_the_published_resnet152():
    made = resolve_defaults(EmbedSettings("x"), None)
    assert (made.model, made.weights, made.alias) == ("resnet152", "imagenet", "resnet152")
    named = resolve_defaults(EmbedSettings("x", name="mine"), None)
    assert (named.model, named.alias) == ("resnet152", "mine")
    assert resolve_defaults(named, None) == named


def test_weights_without_a_classifier_give_embeddings_but_no_predictions(embed, reader, save_network, tmp_path: Path):
    whole = save_network(3)
    state = torch.load(whole, weights_only=True)
    torch.save({name: value for name, value in state.items() if not name.startswith("fc.")}, tmp_path / "bare.pth")
    embed(model="shufflenet_v2_x0_5", weights=str(whole), name="whole")
    embed(model="shufflenet_v2_x0_5", weights=str(tmp_path / "bare.pth"), name="bare")
    found = reader()
    rows = np.arange(20)
    assert (found.vectors("bare", rows) == found.vectors("whole", rows)).all()
    assert found.manifest.models["bare"].predictions == []
    assert found.manifest.models["whole"].predictions
    with pytest.raises(NotBuiltError, match="no predictions of the model bare, whose weights have no classifier"):
        View(found).predicted("bare")
    assert embed(**AS_BEFORE, name="bare").embedded == 0


def test_vision_transformer_of_384_pixels_embeds(embed, reader, save_vit, photos: Path):
    for picture in list(photos.rglob("*"))[3:]:
        if picture.is_file() and picture.name != "00.png":
            picture.unlink()
    report = embed(model="vit_b_32", weights=str(save_vit(384)), name="vit")
    spec = reader().manifest.models["vit"].spec
    assert (spec.preprocessing.resize, spec.preprocessing.crop, report.embedded) == (
        384,
        384,
        reader().manifest.spaces["vit"].rows,
    )
