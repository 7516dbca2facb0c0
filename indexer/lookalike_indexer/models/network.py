"""Network with several embedding spaces: one forward pass returns all of them and the logits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.spec import Pooling, PreprocessingSpec
from lookalike_indexer.errors import DeviceError, UsageError
from lookalike_indexer.models.channel_axis import channel_axes
from lookalike_indexer.models.compute import Compute, torch_dtype
from lookalike_indexer.models.nodes import TracedNetwork
from lookalike_indexer.models.normalize import Normalizer
from lookalike_indexer.models.pooling import pooled

# A batch of images, uint8 (3, crop, crop) each; images that were decoded on a GPU are there already.
Pixels = Sequence[npt.NDArray[np.uint8] | torch.Tensor]
T = TypeVar("T")
TOP = 5
_LOGITS = "logits"


@dataclass(frozen=True)
class Node:
    """A node of a network and the pooling of its output."""

    layer: str
    pooling: Pooling


@dataclass(frozen=True)
class BatchResult:
    """The results of one batch of n images.

    `embeddings` has an array of shape (n, dim), float32, for each requested node, in that order; `classes` (n, top),
    int32, the most probable first, and `probabilities` (n, top), float32.
    """

    embeddings: list[Float32]
    classes: npt.NDArray[np.int32]
    probabilities: Float32


class Network:
    """A network on a device, cut so that it returns pooled nodes and logits."""

    def __init__(
        self,
        traced: TracedNetwork,
        nodes: Sequence[Node],
        preprocessing: PreprocessingSpec,
        device: str,
        compute: Compute,
        fixed_batch: int | None = None,
    ) -> None:
        """Cut the network. With a `fixed_batch` it is compiled for that batch size; smaller batches are padded.

        Raise UsageError if the output of a node is not a tensor that can be pooled to a vector for each image.
        """
        self._device = torch.device(device)
        self._compute = compute
        self._crop = preprocessing.crop
        self._normalize = Normalizer(preprocessing, self._device)
        cut = _cut(traced, nodes, _channel_axes(traced, nodes, preprocessing.crop))
        # Convolutions are faster channels last, on CPUs and on tensor cores.
        self._module = cut.to(self._device).to(memory_format=torch.channels_last).eval()
        self._nodes = list(nodes)
        self._fixed_batch: int | None = None
        self._run: Callable[[torch.Tensor], dict[str, torch.Tensor]] = self._module
        self.dims = self._measure()
        if fixed_batch is not None:
            self._fixed_batch, self._run = fixed_batch, compiled(self._module)

    @property
    def module(self) -> fx.GraphModule:
        """The module: maps normalized images to a dict of pooled nodes and logits."""
        return self._module

    def run(self, batches: Iterable[tuple[T, Pixels]]) -> Iterator[tuple[T, BatchResult | None]]:
        """Embed tagged batches of images, each uint8 of shape (3, crop, crop); yield None for an empty batch.

        The next batch is launched before the last one's results are fetched, so that GPU and caller overlap.
        """
        flying: tuple[T, _Flying | None] | None = None
        for tag, batch in batches:
            launched = self._launch(batch) if batch else None
            if flying is not None:
                yield flying[0], flying[1].result() if flying[1] else None
            flying = tag, launched
        if flying is not None:
            yield flying[0], flying[1].result() if flying[1] else None

    def embed(self, batch: Pixels) -> BatchResult:
        """Embed one batch of at least one image."""
        return self._launch(batch).result()

    def normalized(self, images: Pixels) -> torch.Tensor:
        """Return the images normalized for the network's first layer, on its device."""
        return self._normalize(self._gathered(images))

    def _gathered(self, images: Pixels) -> torch.Tensor:
        """Return the images as one tensor on the device."""
        here = [(place, image) for place, image in enumerate(images) if isinstance(image, np.ndarray)]
        if not here:
            return torch.stack([image for image in images if isinstance(image, torch.Tensor)])
        on_gpu = self._device.type == "cuda"
        pixels = torch.empty((len(here), 3, self._crop, self._crop), dtype=torch.uint8, pin_memory=on_gpu)
        np.stack([image for _, image in here], out=pixels.numpy())
        sent = pixels.to(self._device, non_blocking=True)
        if len(here) == len(images):
            return sent
        moved = dict(zip((place for place, _ in here), sent, strict=True))
        return torch.stack([moved.get(place, image) for place, image in enumerate(images)])

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run normalized images, on the device, in the compute type."""
        autocast = torch.autocast(self._device.type, torch_dtype(self._compute), enabled=self._compute != "float32")
        with torch.inference_mode(), autocast:
            if self._fixed_batch is None or len(images) > self._fixed_batch:
                out: dict[str, torch.Tensor] = self._module(images)
                return out
            filled = torch.nn.functional.pad(images, (0, 0, 0, 0, 0, 0, 0, self._fixed_batch - len(images)))
            whole = self._run(filled.contiguous(memory_format=torch.channels_last))
            return {name: value[: len(images)] for name, value in whole.items()}

    def _launch(self, batch: Pixels) -> _Flying:
        with device_errors(self._device, len(batch)), torch.inference_mode():
            out = self.forward(self.normalized(batch))
            probabilities = out.pop(_LOGITS).float().softmax(1)
            top = probabilities.topk(min(TOP, probabilities.shape[1]), dim=1)
            tensors = [*(out[str(number)] for number in range(len(self._nodes))), top.indices, top.values]
            return _Flying.of(tensors)

    def _measure(self) -> list[int]:
        """Return the dimension of each node's vectors, from one black image."""
        black = np.zeros((3, self._crop, self._crop), np.uint8)
        out = self.forward(self.normalized([black]))
        return [int(out[str(number)].shape[1]) for number in range(len(self._nodes))]


def compiled(module: fx.GraphModule) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
    """Compile the module with TorchInductor, with batch norms folded into the preceding convolutions.

    It takes most of a minute for a ResNet152, during the first batch.
    """
    options: dict[str, str | int | bool | Callable[..., Any]] = {"freezing": True}
    run: Callable[[torch.Tensor], dict[str, torch.Tensor]] = torch.compile(module, dynamic=False, options=options)
    return run


class _Flying:
    """Results in transfer from the device."""

    def __init__(self, tensors: list[torch.Tensor], device: torch.device, arrived: torch.cuda.Event | None) -> None:
        self._tensors, self._device, self._arrived = tensors, device, arrived

    @classmethod
    def of(cls, tensors: list[torch.Tensor]) -> _Flying:
        device = tensors[0].device
        if device.type != "cuda":
            return cls(tensors, device, None)
        host = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
        for here, there in zip(host, tensors, strict=True):
            here.copy_(there, non_blocking=True)
        return cls(host, device, torch.cuda.current_stream(device).record_event())

    def result(self) -> BatchResult:
        if self._arrived is not None:
            with device_errors(self._device, len(self._tensors[0])):
                self._arrived.synchronize()
        *embeddings, classes, probabilities = (tensor.numpy() for tensor in self._tensors)
        return BatchResult(embeddings, classes.astype(np.int32), probabilities)


@contextmanager
def device_errors(device: torch.device, batch: int) -> Iterator[None]:
    """Convert torch's device errors to ours."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{device} has not enough memory for batches of {batch}; give a smaller --batch-size."
        ) from error
    except torch.AcceleratorError as error:
        raise DeviceError(
            f"{device} failed ({str(error).splitlines()[0]}); run the command again to continue, or leave out that GPU."
        ) from error


def _channel_axes(traced: TracedNetwork, nodes: Sequence[Node], crop: int) -> list[int]:
    """Return the channel axis of each wanted node's output. Raise UsageError if a node cannot be pooled."""
    wanted = [traced.nodes[node.layer] for node in nodes]
    axes = channel_axes(traced.graph, crop, wanted)
    for node, source in zip(nodes, wanted, strict=True):
        if source not in axes:
            raise UsageError(
                f"The layer {node.layer} gives neither vectors, maps nor tokens whose channels can be told apart from "
                "their positions; choose another layer."
            )
    return [axes[source] for source in wanted]


def _cut(traced: TracedNetwork, nodes: Sequence[Node], axes: Sequence[int]) -> fx.GraphModule:
    """Return the graph with each wanted node pooled immediately, and without dead code.

    Immediately, because later layers may change its output in place (as ResNet adds the shortcut), and because feature
    maps are large.
    """
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    outputs: dict[str, fx.Node] = {}
    wanted = {number: traced.nodes[node.layer] for number, node in enumerate(nodes)}
    for node in traced.graph.graph.nodes:
        if node.op == "output":
            break
        copied[node] = graph.node_copy(node, lambda old: copied[old])
        for number, source in wanted.items():
            if source is node:
                outputs[str(number)] = graph.call_function(pooled, (copied[node], nodes[number].pooling, axes[number]))
    outputs[_LOGITS] = copied[traced.nodes[traced.logits]]
    graph.output(outputs)
    cut = fx.GraphModule(traced.graph, graph)
    cut.graph.eliminate_dead_code()
    cut.delete_all_unused_submodules()
    cut.recompile()
    return cut
