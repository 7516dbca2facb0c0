from __future__ import annotations

import pytest
import torch
import torchvision

from lookalike_indexer.models.channel_axis import channel_axes, shapes
from lookalike_indexer.models.nodes import TracedNetwork, trace


def traced(arch: str) -> TracedNetwork:
    """Return a network on the meta device, since only its shapes matter."""
    with torch.device("meta"):
        return trace(torchvision.models.get_model(arch, weights=None))


def axes(network: TracedNetwork, crop: int, *names: str) -> list[int | None]:
    nodes = [network.nodes[name] for name in names]
    found = channel_axes(network.graph, crop, nodes)
    return [found.get(node) for node in nodes]


def test_swin_has_its_channels_last_but_for_the_last_map():
    swin = traced("swin_t")
    names = ["features.0.0", "features.0.1", "features.1.0.add", "features.3.1.mlp", "norm", "permute", "flatten"]
    assert axes(swin, 224, *names) == [1, 3, 3, 3, 3, 1, 1]
    # 96 channels of 96 x 96 positions: equal sizes are ambiguous, a larger image is not.
    assert shapes(swin.graph, 384, 384)[swin.nodes["features.0.0"]] == (2, 96, 96, 96)
    assert axes(swin, 384, "features.0.0", "features.0.1") == [1, 3]


def test_nodes_without_an_output_per_image_are_left_out():
    attention = "features.1.0.attn."
    names = [f"{attention}_get_relative_position_bias", f"{attention}features_1_0_attn_qkv_weight"]
    assert axes(traced("swin_t"), 224, *names) == [None, None]


def test_vit_has_fixed_size_and_reports_tokens():
    # conv_proj's 14 x 14 positions are the 196 tokens; the class token makes 197.
    names = ["conv_proj", "reshape", "permute", "encoder.layers.encoder_layer_3.add", "encoder.ln", "getitem_5"]
    assert axes(traced("vit_b_16"), 224, *names) == [1, 1, 2, 2, 2, 1]


@pytest.mark.parametrize(
    ("arch", "name", "axis"),
    [
        ("convnext_tiny", "features.5.0.block.3", 3),  # a Linear inside of a block works on the last axis
        ("convnext_tiny", "features.5.0.add", 1),
        ("alexnet", "avgpool", 1),  # 6 x 6 for images of any size
        ("resnet18", "avgpool", 1),
        ("squeezenet1_1", "classifier.1", 1),
    ],
)
def test_maps_of_other_networks(arch: str, name: str, axis: int):
    assert axes(traced(arch), 224, name) == [axis]


def test_ambiguous_window_axes_are_left_out():
    graph = torch.fx.symbolic_trace(Windows())
    node = next(node for node in graph.graph.nodes if node.op == "call_method")
    assert channel_axes(graph, 56, [node]) == {}


class Windows(torch.nn.Module):
    """64 windows of 49 positions, for images of 56 x 56 only, as in MaxViT."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = torch.nn.Conv2d(3, 64, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.maps(images).reshape(-1, 64, 49, 64)
