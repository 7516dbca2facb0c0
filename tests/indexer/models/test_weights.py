from __future__ import annotations

import argparse
import hashlib
import types
import urllib.error
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor

from lookalike_indexer.errors import UsageError, WeightsError
from lookalike_indexer.models import availability, weights
from lookalike_indexer.models.availability import weights_status
from lookalike_indexer.models.nodes import trace
from lookalike_indexer.models.presets import fitting, preprocessing, published
from lookalike_indexer.models.statefile import fitted
from lookalike_indexer.models.weights import WeightsRequest, load_pretrained, parse_weights


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch.hub, and no network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refuse(*arguments: object, **options: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "hub" / "checkpoints"


def file(path: Path) -> WeightsRequest:
    return WeightsRequest("file", str(path))


def test_parses_what_weights_can_be():
    assert parse_weights("imagenet") == WeightsRequest("imagenet", "")
    assert parse_weights("imagenet:IMAGENET1K_V1") == WeightsRequest("imagenet", "IMAGENET1K_V1")
    assert parse_weights("untrained") == parse_weights("untrained:0") == WeightsRequest("untrained", "0")
    assert parse_weights("untrained:007") == WeightsRequest("untrained", "7")
    assert parse_weights("my.pth") == WeightsRequest("file", str(Path.cwd() / "my.pth"))
    for wrong in ("untrained:x", "untrained:-1", f"untrained:{1 << 63}"):
        with pytest.raises(UsageError, match="the seed must be a whole number"):
            parse_weights(wrong)


def test_weights_file_is_identified_by_digest_and_its_head_has_the_classes(save_weights):
    for arch in ("squeezenet1_1", "shufflenet_v2_x0_5"):
        path = save_weights(arch, classes=7)
        module, classes, spec = load_pretrained(arch, file(path))
        assert classes == 7
        assert (spec.kind, spec.name) == ("file", str(path))
        assert spec.digest == hashlib.sha256(path.read_bytes()).hexdigest()
        saved = torch.load(path, weights_only=True)
        assert all(torch.equal(value, saved[name]) for name, value in module.state_dict().items())
        assert not module.training


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {name: value for name, value in state.items() if "num_batches_tracked" not in name},
        lambda state: {f"model.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"model.backbone.{name}": value for name, value in state.items()}},
        lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
        lambda state: {"n_averaged": torch.tensor(7)} | {f"module.{name}": value for name, value in state.items()},
        lambda state: {"model": state, "args": argparse.Namespace(lr=0.1, model="shufflenet_v2_x0_5"), "epoch": 3},
    ],
    ids=["wrapped", "as model", "data-parallel", "old", "lightning", "nested", "compiled", "averaged", "references"],
)
def test_usual_ways_of_saving_are_understood(save_weights, change):
    path = save_weights("shufflenet_v2_x0_5", change=change)
    module, _, _ = load_pretrained("shufflenet_v2_x0_5", file(path))
    plain, _, _ = load_pretrained("shufflenet_v2_x0_5", file(save_weights("shufflenet_v2_x0_5")))
    assert torch.equal(module.state_dict()["fc.weight"], plain.state_dict()["fc.weight"])


def test_safetensors_are_detected_by_content(save_weights, tmp_path: Path):
    state = torch.load(save_weights("shufflenet_v2_x0_5"), weights_only=True)
    for name in ("weights.safetensors", "weights.bin"):
        safetensors.torch.save_file(state, tmp_path / name)
        module, classes, spec = load_pretrained("shufflenet_v2_x0_5", file(tmp_path / name))
        assert (classes, spec.digest) == (1000, hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
        assert torch.equal(module.state_dict()["fc.weight"], state["fc.weight"])
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "weights.bin").read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"cut\.safetensors is not a readable safetensors file"):
        load_pretrained("shufflenet_v2_x0_5", file(tmp_path / "cut.safetensors"))


@pytest.mark.parametrize(
    ("arch", "head"),
    [
        ("resnet18", "fc."),
        ("squeezenet1_1", "classifier.1."),
        ("efficientnet_b0", "classifier.1."),
        ("swin_t", "head."),
    ],
)
def test_state_without_a_classifier_embeds_and_has_no_classes(save_weights, arch: str, head: str):
    def behead(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value for name, value in state.items() if not name.startswith(head)}

    whole, _, _ = load_pretrained(arch, file(save_weights(arch)))
    without, classes, _ = load_pretrained(arch, file(save_weights(arch, change=behead)))
    assert classes == 0
    images = torch.rand(2, 3, 224, 224)
    node = trace(whole).head_input()
    with torch.no_grad():
        expected = create_feature_extractor(whole, [node])(images)[node]
        assert torch.equal(create_feature_extractor(without, [node])(images)[node], expected)


def test_unexpected_tensors_are_named_without_the_common_prefix(save_weights):
    def lightning(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {f"model.{name}": value for name, value in state.items()} | {"loss.weight": torch.zeros(2)}

    path = save_weights("shufflenet_v2_x0_5", change=lightning)
    with pytest.raises(WeightsError, match=r"its tensors are: 1 unexpected \(such as loss\.weight\)"):
        load_pretrained("shufflenet_v2_x0_5", file(path))


def test_vision_transformer_is_built_for_the_size_of_its_position_embeddings():
    module = get_model("vit_b_32", weights=None, image_size=96)
    fitted_module, classes = fitted("vit_b_32", dict(module.state_dict()), "x")
    assert (fitted_module.image_size, classes) == (96, 1000)
    with torch.no_grad():
        assert fitted_module(torch.rand(1, 3, 96, 96)).shape == (1, 1000)


def test_transforms_give_images_of_the_size_that_the_weights_take():
    assert fitting("vit_b_16", "", 224) == preprocessing(published("vit_b_16"))
    of_384 = fitting("vit_b_16", "", 384)
    assert of_384 == preprocessing(published("vit_b_16", "IMAGENET1K_SWAG_E2E_V1"))
    assert (of_384.resize, of_384.crop, of_384.interpolation) == (384, 384, "bicubic")
    assert fitting("vit_h_14", "", 518).crop == 518
    assert fitting("vit_h_14", "", 224) == preprocessing(published("vit_h_14", "IMAGENET1K_SWAG_LINEAR_V1"))
    none = fitting("vit_b_32", "", 384)
    assert (none.resize, none.crop, none.mean) == (384, 384, preprocessing(published("vit_b_32")).mean)
    assert fitting("resnet50", "", None) == preprocessing(published("resnet50"))
    with pytest.raises(UsageError, match=r"384 x 384 .* name one of IMAGENET1K_SWAG_E2E_V1"):
        fitting("vit_b_16", "IMAGENET1K_V1", 384)
    with pytest.raises(UsageError, match="leave --preprocess out"):
        fitting("vit_b_32", "IMAGENET1K_V1", 384)


def test_early_densenet_names_are_understood(save_weights):
    def old(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        renamed = {}
        for name, value in state.items():
            for part in ("norm", "relu", "conv"):
                if "denselayer" in name:
                    name = name.replace(f".{part}1.", f".{part}.1.").replace(f".{part}2.", f".{part}.2.")
            renamed[name] = value
        return renamed

    _, classes, _ = load_pretrained("densenet121", file(save_weights("densenet121", change=old)))
    assert classes == 1000


def test_weights_of_another_network_are_rejected_with_examples(save_weights):
    path = save_weights("squeezenet1_1")
    with pytest.raises(WeightsError) as caught:
        load_pretrained("shufflenet_v2_x0_5", file(path))
    assert "does not fit the model shufflenet_v2_x0_5" in str(caught.value)
    assert "missing (such as conv1.0.weight)" in str(caught.value)
    assert "unexpected (such as features.0.weight)" in str(caught.value)
    with pytest.raises(WeightsError, match=r"of another shape \(such as features.0.weight\)"):
        load_pretrained("squeezenet1_0", file(path))


def test_files_without_weights_are_rejected(tmp_path: Path, save_weights):
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty.pth").touch()
    torch.save(types.SimpleNamespace(weights=1), tmp_path / "pickled.pth")
    for name in ("text.pth", "empty.pth", "pickled.pth"):
        with pytest.raises(WeightsError, match=rf"{name} is not a plain state dict"):
            load_pretrained("squeezenet1_1", file(tmp_path / name))
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="has no state dict"):
        load_pretrained("squeezenet1_1", file(tmp_path / "list.pth"))
    with pytest.raises(WeightsError, match=r"There is no weights file .*none\.pth"):
        load_pretrained("squeezenet1_1", file(tmp_path / "none.pth"))


def test_non_finite_weights_are_rejected(save_weights):
    def spoil(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        state["features.0.bias"][0] = float("nan")
        return state

    with pytest.raises(WeightsError, match="not finite"):
        load_pretrained("squeezenet1_1", file(save_weights("squeezenet1_1", change=spoil)))


def test_without_network_and_file_the_error_names_the_file_and_place(hub: Path):
    path, cached = weights_status("resnet152")
    assert (path, cached) == (hub / "resnet152-f82ba261.pth", False)
    with pytest.raises(WeightsError) as caught:
        load_pretrained("resnet152", parse_weights("imagenet"))
    assert f"download resnet152-f82ba261.pth from torchvision to {path}" in str(caught.value)
    assert str(caught.value).endswith("or --model timm/tf_efficientnet_lite0 --weights package.")
    assert "no route to host" in str(caught.value)


def test_damaged_cached_file_is_rejected(hub: Path):
    path, _ = weights_status("squeezenet1_1")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a download")
    assert weights_status("squeezenet1_1") == (path, True)
    with pytest.raises(
        WeightsError, match=r"is damaged or another file: its SHA-256 begins with \w{8}, not with b8a52dc0"
    ):
        load_pretrained("squeezenet1_1", parse_weights("imagenet"))


def test_cached_published_weights_are_loaded(hub: Path, save_weights, monkeypatch: pytest.MonkeyPatch):
    saved = save_weights("squeezenet1_1", seed=5)
    digest = hashlib.sha256(saved.read_bytes()).hexdigest()
    hub.mkdir(parents=True)
    (hub / f"squeezenet-{digest[:8]}.pth").write_bytes(saved.read_bytes())
    entry = types.SimpleNamespace(name="IMAGENET1K_V9", url=f"https://example.invalid/squeezenet-{digest[:8]}.pth")
    for module, name in ((weights, "published_weights"), (availability, "published")):
        monkeypatch.setattr(module, name, lambda arch, name="": entry)
    _, classes, spec = load_pretrained("squeezenet1_1", parse_weights("imagenet"))
    assert (classes, str(spec), spec.digest) == (1000, "imagenet:IMAGENET1K_V9", digest)
    assert spec.pretrained


def test_unknown_models_and_weights_are_reported_with_close_names(hub: Path):
    with pytest.raises(
        UsageError, match=r"no classification model 'zzz'; Python's .*list_models\(\) lists the names\."
    ):
        weights_status("zzz")
    with pytest.raises(UsageError, match="no classification model 'resnet151'; did you mean resnet1"):
        weights_status("resnet151")
    with pytest.raises(UsageError, match="no weights 'V3' for resnet50; it has: IMAGENET1K_V1, IMAGENET1K_V2"):
        load_pretrained("resnet50", parse_weights("imagenet:V3"))
