from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision

from lookalike_indexer.attribution.attributor import Attributor
from lookalike_indexer.attribution.graph import gradient_graph, last_maps
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.models.nodes import trace
from lookalike_indexer.models.untrained import untrained

PLAIN = PreprocessingSpec(32, 32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear", True)


class Halves(torch.nn.Module):
    """Two classes: the image's brightness, with less weight in the lower half, and the opposite; functional ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.gray = torch.nn.Conv2d(3, 1, 1, bias=False)
        self.head = torch.nn.Linear(32 * 32, 2, bias=False)
        below = torch.cat([torch.full((16 * 32,), 2.0), torch.full((16 * 32,), -1.0)])
        with torch.no_grad():
            self.gray.weight[:] = torch.tensor([0.0, 1.0, -0.5]).reshape(1, 3, 1, 1)
            self.head.weight[:] = torch.stack([below, -below])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = torch.nn.functional.relu(self.gray(images), inplace=True)
        return self.head(maps.flatten(1))


@pytest.fixture
def left_green() -> np.ndarray:
    """Return an image that is green on the left and blue on the right."""
    pixels = np.zeros((3, 32, 32), np.uint8)
    pixels[1, :, :16] = 255
    pixels[2, :, 16:] = 255
    return pixels


@pytest.fixture
def halves() -> Attributor:
    return Attributor(trace(Halves().eval()), "halves", PLAIN, 2)


def test_guided_backpropagation_drops_negative_gradients_at_each_relu(halves, left_green):
    up = halves.attribution(left_green, 0, "gbp")
    # On the right the ReLU is closed, at the bottom its gradient is negative: plain backpropagation gives -1 there.
    expected = np.zeros((32, 32), np.float32)
    expected[:16, :16] = 1
    np.testing.assert_allclose(up, expected)
    np.testing.assert_allclose(halves.attribution(left_green, 1, "gbp"), expected[::-1])


def test_grad_cam_is_where_the_maps_speak_for_the_class(halves, left_green):
    # The map is green minus half of blue; its mean weight is positive for class 0 and negative for class 1.
    cam = halves.attribution(left_green, 0, "cam")
    expected = np.zeros((32, 32), np.float32)
    expected[:, :16] = 1
    np.testing.assert_allclose(cam, expected)
    assert not halves.attribution(left_green, 1, "cam").any()


def test_class_that_the_network_does_not_have(halves, left_green):
    with pytest.raises(UsageError, match="halves has the classes 0 to 1, not 2"):
        halves.attribution(left_green, 2, "cam")


@pytest.mark.parametrize(
    ("arch", "relus"),
    [("resnet18", 17), ("mobilenet_v2", 35), ("shufflenet_v2_x0_5", 37), ("squeezenet1_1", 26)],
)
def test_networks_say_the_same_as_before_and_attribute_to_pixels(arch: str, relus: int):
    network = untrained(arch, 0)
    for name, part in network.named_modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            assert part.running_var is not None, name
            part.running_var.fill_(0.1)
    before = [name for name, part in network.named_modules() if getattr(part, "inplace", False)]
    traced = trace(network)
    graph = gradient_graph(traced, 96)
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(graph.module(images), network(images))
    assert graph.relus == relus
    assert [name for name, part in network.named_modules() if getattr(part, "inplace", False)] == before
    spec = PreprocessingSpec(96, 96, PLAIN.mean, PLAIN.std, "bilinear", True)
    attributor = Attributor(traced, arch, spec, 1000)
    pixels = (images[0].numpy() * 255).astype(np.uint8)
    for method in ("cam", "gbp"):
        found = attributor.attribution(pixels, 3, method)  # type: ignore[arg-type]
        assert found.shape == (96, 96)
        assert found.dtype == np.float32
        assert found.min() >= 0
        np.testing.assert_allclose(found.max(), 1)
    assert not any(part._forward_hooks or part._backward_hooks for part in network.modules())


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("alexnet", "features_11"),  # the last convolution's ReLU, before the pooling
        ("resnet50", "layer4_2_relu_2"),
        ("inception_v3", "cat_14"),
        ("swin_t", "permute"),  # where the channels come first again
        ("vit_b_32", None),
    ],
)
def test_last_maps_are_found_by_shape(arch: str, name: str | None):
    with torch.device("meta"):
        options = {"aux_logits": False, "init_weights": False} if arch == "inception_v3" else {}
        network = torchvision.models.get_model(arch, weights=None, **options)
    node = last_maps(trace(network.eval()), 224)
    assert (node.name if node else None) == name


def test_network_without_maps_or_relus_is_rejected_in_a_sentence():
    class Tokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = torch.nn.Conv2d(3, 8, 8, 8)
            self.mix = torch.nn.Linear(8, 8)
            self.head = torch.nn.Linear(8, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.mix(self.patches(images).flatten(2).transpose(1, 2)).mean(1))

    attributor = Attributor(trace(Tokens().eval()), "vit", PLAIN, 2)
    pixels = np.zeros((3, 32, 32), np.uint8)
    with pytest.raises(NotBuiltError, match=r"vit has no feature maps .* Grad-CAM"):
        attributor.attribution(pixels, 0, "cam")
    with pytest.raises(NotBuiltError, match="vit has no ReLU"):
        attributor.attribution(pixels, 0, "gbp")
