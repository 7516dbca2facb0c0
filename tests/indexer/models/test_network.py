from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import DeviceError, UsageError
from lookalike_indexer.models.network import Network, Node
from lookalike_indexer.models.nodes import trace
from lookalike_indexer.models.normalize import Normalizer
from lookalike_indexer.models.pooling import pooled
from lookalike_indexer.models.untrained import calibrate, untrained


@pytest.fixture(scope="module")
def pixels() -> list[np.ndarray]:
    generator = np.random.default_rng(3)
    return [generator.integers(0, 256, (3, 64, 64), np.uint8) for _ in range(5)]


@pytest.fixture(scope="module")
def resnet(pixels: list[np.ndarray]) -> torch.nn.Module:
    module = untrained("resnet18", 0)
    spec = PreprocessingSpec(64, 64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", True)
    calibrate(module, module, Normalizer(spec, torch.device("cpu"))(torch.from_numpy(np.stack(pixels))))
    return module


def network(module: torch.nn.Module, spec: PreprocessingSpec, *nodes: Node, compute: str = "float32") -> Network:
    return Network(trace(module), nodes, spec, "cpu", compute)  # type: ignore[arg-type]


def test_several_spaces_and_the_classifier_from_one_pass(resnet, plain_spec, pixels):
    # The addition after bn2 changes its output in place; the original output is wanted.
    nodes = [
        Node("flatten", "avg"),
        Node("layer4.1.bn2", "max"),
        Node("conv1", "top10"),
        Node("layer3.1.relu_1", "avg"),
    ]
    seen = {}
    hooks = [
        resnet.get_submodule(name).register_forward_hook(
            lambda part, given, out, name=name: seen.__setitem__(name, out.clone())
        )
        for name in ("layer4.1.bn2", "conv1", "layer3")
    ]
    images = Normalizer(plain_spec, torch.device("cpu"))(torch.from_numpy(np.stack(pixels)))
    with torch.inference_mode():
        logits = resnet(images)
    for hook in hooks:
        hook.remove()
    cut = network(resnet, plain_spec, *nodes)
    result = cut.embed(pixels)
    assert cut.dims == [512, 512, 64, 256]
    assert [vectors.dtype for vectors in result.embeddings] == [np.float32] * 4
    expected = [
        None,
        seen["layer4.1.bn2"].amax((2, 3)),
        seen["conv1"].flatten(2).sort(2).values[:, :, -math.ceil(32 * 32 / 10) :].mean(2),
        seen["layer3"].mean((2, 3)),
    ]
    for vectors, reference in zip(result.embeddings[1:], expected[1:], strict=True):
        np.testing.assert_allclose(vectors, reference.numpy(), rtol=2e-4, atol=2e-5)
    head = torch.from_numpy(result.embeddings[0]) @ resnet.fc.weight.detach().T + resnet.fc.bias.detach()
    torch.testing.assert_close(head, logits, rtol=1e-4, atol=1e-4)
    top = logits.softmax(1).topk(5, dim=1)
    assert np.array_equal(result.classes, top.indices.numpy())
    np.testing.assert_allclose(result.probabilities, top.values.numpy(), rtol=1e-3)


def test_image_has_the_same_embedding_in_any_place_of_a_batch(resnet, plain_spec, pixels):
    cut = network(resnet, plain_spec, Node("flatten", "avg"))
    together = cut.embed(pixels).embeddings[0]
    turned = cut.embed(pixels[::-1]).embeddings[0][::-1]
    np.testing.assert_allclose(turned, together, rtol=1e-4, atol=1e-5)


def test_run_keeps_tags_and_order_and_passes_empty_batches_through(resnet, plain_spec, pixels):
    cut = network(resnet, plain_spec, Node("flatten", "avg"))
    results = list(cut.run([("a", pixels[:2]), ("b", []), ("c", pixels[2:]), ("d", [])]))
    assert [tag for tag, _ in results] == ["a", "b", "c", "d"]
    assert [None if result is None else len(result.classes) for _, result in results] == [2, None, 3, None]


def test_bfloat16_is_close_to_float32(resnet, plain_spec, pixels):
    exact = network(resnet, plain_spec, Node("flatten", "avg")).embed(pixels).embeddings[0]
    rough = network(resnet, plain_spec, Node("flatten", "avg"), compute="bfloat16").embed(pixels).embeddings[0]
    assert rough.dtype == np.float32
    cosine = (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert 1e-9 < 1 - cosine.min() < 2e-3


def test_few_classes_give_all_of_them(plain_spec, pixels):
    module = untrained("squeezenet1_1", 0)
    module.classifier[1] = torch.nn.Conv2d(512, 3, 1)
    result = network(module, plain_spec, Node("features.12.cat", "avg")).embed(pixels)
    assert result.classes.shape == result.probabilities.shape == (5, 3)
    np.testing.assert_allclose(result.probabilities.sum(1), 1, rtol=1e-5)


def test_node_without_a_vector_output_is_rejected(plain_spec):
    traced = trace(untrained("shufflenet_v2_x0_5", 0))
    number = next(name for name in traced.nodes if name.endswith(("getattr", "floordiv")))
    with pytest.raises(UsageError, match="choose another layer"):
        Network(traced, [Node(number, "avg")], plain_spec, "cpu", "float32")


def test_too_little_memory_names_the_batch_size(resnet, plain_spec, pixels, monkeypatch):
    cut = network(resnet, plain_spec, Node("flatten", "avg"))

    def refuse(images: torch.Tensor) -> dict[str, torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(cut, "forward", refuse)
    with pytest.raises(DeviceError, match="not enough memory for batches of 5; give a smaller --batch-size"):
        cut.embed(pixels)


def test_maps_with_channels_last_are_pooled_over_their_positions(plain_spec, pixels):
    module = untrained("swin_t", 0)
    seen = {}
    cut = network(module, plain_spec, Node("features.7.1.add_1", "max"), Node("permute", "avg"), Node("norm", "avg"))
    hook = module.features.register_forward_hook(lambda part, given, out: seen.setdefault("maps", out.clone()))
    with torch.inference_mode():
        logits = module(cut.normalized(pixels))
    hook.remove()
    result = cut.embed(pixels)
    assert seen["maps"].shape == (5, 2, 2, 768)
    assert cut.dims == [768, 768, 768]
    torch.testing.assert_close(torch.from_numpy(result.embeddings[0]), seen["maps"].amax((1, 2)))
    # The same maps with channels first have the same means.
    torch.testing.assert_close(result.embeddings[1], result.embeddings[2])
    assert result.classes[:, 0].tolist() == logits.argmax(1).tolist()


def test_pooling_by_its_definition():
    maps = torch.arange(2 * 3 * 5 * 5, dtype=torch.float32).reshape(2, 3, 5, 5)
    assert torch.equal(pooled(maps, "avg", 1), maps.mean((2, 3)))
    assert torch.equal(pooled(maps, "max", 1), maps.amax((2, 3)))
    # The highest tenth of 25 positions, rounded up, is 3 of them.
    assert torch.equal(pooled(maps, "top10", 1)[0, 0], torch.tensor(23.0))
    for pooling in ("avg", "max", "top10"):
        expected = pooled(maps, pooling, 1)
        torch.testing.assert_close(pooled(maps.permute(0, 2, 3, 1), pooling, 3), expected)
        torch.testing.assert_close(pooled(maps.flatten(2), pooling, 1), expected)
        torch.testing.assert_close(pooled(maps.flatten(2).transpose(1, 2), pooling, 2), expected)
    vectors = torch.ones(2, 4, dtype=torch.bfloat16)
    assert pooled(vectors, "max", 1).dtype == torch.float32


def test_batches_of_a_compiled_network_are_filled_up(monkeypatch, resnet, plain_spec, pixels):
    sizes = []

    def recording(module):
        def run(images):
            sizes.append(len(images))
            return module(images)

        return run

    monkeypatch.setattr("lookalike_indexer.models.network.compiled", recording)
    fixed = Network(trace(resnet), [Node("flatten", "avg")], plain_spec, "cpu", "float32", 3)
    plain = network(resnet, plain_spec, Node("flatten", "avg"))
    for count in (1, 3, 5):
        found, expected = fixed.embed(pixels[:count]), plain.embed(pixels[:count])
        np.testing.assert_allclose(found.embeddings[0], expected.embeddings[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found.classes, expected.classes)
    # A larger batch, as in a query, is not what it was compiled for.
    assert sizes == [3, 3]


def test_images_may_be_on_the_device_already(resnet, plain_spec, pixels):
    plain = network(resnet, plain_spec, Node("flatten", "avg"))
    mixed = [torch.from_numpy(image) if place % 2 else image for place, image in enumerate(pixels)]
    for images in (mixed, [torch.from_numpy(image) for image in pixels]):
        np.testing.assert_array_equal(plain.embed(images).embeddings[0], plain.embed(pixels).embeddings[0])


# A warning of torch itself when it imports TorchInductor.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.gpu
def test_compiled_network_agrees_with_the_cpu(resnet, plain_spec, pixels):
    here = network(resnet, plain_spec, Node("flatten", "avg")).embed(pixels)
    there = Network(trace(copy.deepcopy(resnet)), [Node("flatten", "avg")], plain_spec, "cuda:0", "bfloat16", 8).embed(
        pixels
    )
    mine, theirs = here.embeddings[0], there.embeddings[0]
    cosine = (mine * theirs).sum(1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() > 0.998


@pytest.mark.gpu
def test_gpu_agrees_with_the_cpu(resnet, plain_spec, pixels):
    nodes = [Node("flatten", "avg")]
    here = network(resnet, plain_spec, *nodes)
    there = Network(trace(copy.deepcopy(resnet)), nodes, plain_spec, "cuda:0", "bfloat16")
    batches = [("a", pixels[:3]), ("b", []), ("c", pixels[3:])]
    for (tag, mine), (other, theirs) in zip(here.run(batches), there.run(batches), strict=True):
        assert tag == other
        if mine is not None:
            assert theirs is not None
            cosine = np.sum(mine.embeddings[0] * theirs.embeddings[0], axis=1) / (
                np.linalg.norm(mine.embeddings[0], axis=1) * np.linalg.norm(theirs.embeddings[0], axis=1)
            )
            assert cosine.min() > 0.998
