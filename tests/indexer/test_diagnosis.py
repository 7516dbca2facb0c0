"""`lookalike doctor --model`: is the model's library installed, and are its weights cached?"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.doctor import doctor

needs_open_clip = [
    pytest.mark.skipif(not importlib.util.find_spec("open_clip"), reason="open_clip is not installed"),
    pytest.mark.xdist_group("open_clip"),
]
needs_timm = pytest.mark.skipif(not importlib.util.find_spec("timm"), reason="timm is not installed")


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub from which timm and open_clip download."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def without_package(monkeypatch) -> None:
    """Make the package with weights of EfficientNet-Lite0 count as not installed."""
    monkeypatch.setattr("lookalike_indexer.models.timm_models._PACKAGE_MODULE", "no_such_package_of_weights")


def told(model, code):
    result = CliRunner().invoke(doctor, ["--model", model, "--json"])
    assert result.exit_code == code, result.output
    return {one["topic"]: one for one in json.loads(result.stdout)}


def put(hub, repository, name):
    """Write a file of a repository to the cache, as its library does."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    path = folder / "snapshots" / "abc" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    return str(path)


@pytest.mark.parametrize(
    ("model", "library", "repository", "name", "option"),
    [
        pytest.param("open_clip/ViT-B-32", "open_clip_torch", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
                     "open_clip_model.safetensors", "--weights open_clip:laion2b_s34b_b79k", marks=needs_open_clip),
        pytest.param("timm/tf_efficientnet_lite0", "timm", "timm/tf_efficientnet_lite0.in1k", "model.safetensors",
                     "--weights imagenet", marks=needs_timm),
    ],
)  # fmt: skip
def test_weights_are_looked_for_where_their_library_keeps_them(
    hub, without_package, model, library, repository, name, option
):
    found = told(model, 0)
    assert found[library]["ok"]
    assert found[library]["found"][0].isdigit()
    assert found[f"{model} weights"]["found"] == "not cached"
    assert "downloads them" in found[f"{model} weights"]["meaning"]
    path = put(hub, repository, name)
    found = told(model, 0)[f"{model} weights"]
    assert (found["found"], found["meaning"]) == (path, f"{option} works without a network")


@pytest.mark.parametrize(
    ("model", "library", "module", "extra"),
    [("open_clip/ViT-B-32", "open_clip_torch", "open_clip", "clip"), ("timm/resnet18", "timm", "timm", "timm")],
)
def test_missing_library_is_reported_with_its_extra(monkeypatch, model, library, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    found = told(model, 1)[f"{model} weights"]
    assert not found["ok"]
    assert f"install it with: pip install 'lookalike[{extra}]'" in found["meaning"]


@pytest.mark.parametrize(
    ("model", "close"),
    [
        pytest.param("open_clip/ViT-B-33", "open_clip/ViT-B-32", marks=needs_open_clip),
        pytest.param("timm/tf_efficientnet_lite9", "timm/tf_efficientnet_lite", marks=needs_timm),
        ("resnet151", "resnet152"),
    ],
)
def test_unknown_model_is_reported_with_close_names(model, close):
    found = told(model, 1)[f"{model} weights"]
    assert close in found["meaning"]


@pytest.mark.parametrize("model", [pytest.param("open_clip/ViT-B-32", marks=needs_open_clip)])
def test_weights_of_another_activation_are_not_named(hub, model):
    """The first weights that open_clip lists for ViT-B-32 are rejected: they need another activation."""
    assert "open_clip:openai " not in told(model, 0)[f"{model} weights"]["meaning"]
