from __future__ import annotations

import pytest
import torch

from lookalike_indexer.errors import UsageError
from lookalike_indexer.models.architecture import build, head_weight
from lookalike_indexer.models.nodes import trace


@pytest.mark.parametrize(
    ("arch", "layer", "head"),
    [
        ("resnet18", "flatten", "fc.weight"),
        ("shufflenet_v2_x0_5", "mean", "fc.weight"),
        ("mnasnet0_5", "mean", "classifier.1.weight"),
        ("mobilenet_v3_small", "classifier.1", "classifier.3.weight"),
        ("squeezenet1_1", "features.12.cat", "classifier.1.weight"),
        ("alexnet", "classifier.5", "classifier.6.weight"),
        ("densenet121", "flatten", "classifier.weight"),
        ("regnet_y_400mf", "flatten", "fc.weight"),
        ("efficientnet_b0", "flatten", "classifier.1.weight"),
    ],
)
def test_finds_what_the_classifier_reads(arch: str, layer: str, head: str):
    module = build(arch, 10, transform_input=False)
    assert trace(module).head_input() == layer
    assert head_weight(module) == head


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "layer"),
    [
        ("vit_b_32", "getitem_5"),
        ("swin_t", "flatten"),
        ("convnext_tiny", "classifier.1"),
        ("googlenet", "flatten"),
        ("inception_v3", "flatten"),
        ("maxvit_t", "classifier.4"),
    ],
)
def test_finds_what_the_classifier_reads_in_large_networks(arch: str, layer: str):
    assert trace(build(arch, 10, transform_input=True)).head_input() == layer


def test_module_means_its_last_node():
    traced = trace(build("resnet18", 10, transform_input=False))
    assert traced.resolve("layer4") == "layer4.1.relu_1"
    assert traced.resolve("layer4.1.bn2") == "layer4.1.bn2"
    assert traced.logits == "fc"


def test_unknown_layer_is_reported_with_close_names():
    traced = trace(build("resnet18", 10, transform_input=False))
    with pytest.raises(UsageError, match=r"no layer 'layer4\.1\.bn9'; did you mean .*layer4\.1\.bn"):
        traced.resolve("layer4.1.bn9")


def test_tracing_shares_the_weights():
    module = build("squeezenet1_1", 10, transform_input=False)
    graph = trace(module).graph
    assert next(graph.parameters()).data_ptr() == next(module.parameters()).data_ptr()
    assert not any(isinstance(part, torch.nn.Dropout) and part.training for part in graph.modules())


@pytest.mark.parametrize(
    ("arch", "asked", "found"),
    [
        ("alexnet", "conv1", "features.1"),
        ("alexnet", "conv5", "features.11"),
        ("vgg11_bn", "conv2", "features.4"),
        ("resnet18", "conv1", "conv1"),
        ("resnet18", "layer1", "layer1.1.relu_1"),
    ],
)
def test_convolutions_can_be_named_by_their_number(arch: str, asked: str, found: str):
    assert trace(build(arch, 10, transform_input=False)).resolve(asked) == found


@pytest.mark.parametrize("name", ["conv0", "conv6"])
def test_unknown_convolution_number_is_rejected(name: str):
    with pytest.raises(UsageError, match=f"no layer '{name}': it has 5 convolutions"):
        trace(build("alexnet", 10, transform_input=False)).resolve(name)
