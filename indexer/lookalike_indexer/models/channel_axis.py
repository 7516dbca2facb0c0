"""Channel axis of a node's output: maps and tokens may have channels first or last."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import fx

Shape = tuple[int, ...]
_BATCH = 2
# Added to the height and the width of the second probe: several strides of every network, and different.
_TALLER, _WIDER = 64, 128


def shapes(graph: fx.GraphModule, height: int, width: int) -> dict[fx.Node, Shape]:
    """Return the shape of each node's output for two images, without computing anything.

    A network that only takes one image size fails at another one: the nodes before the failure are included. Nodes
    whose outputs are not tensors with a row for each image are left out.
    """
    tensors = [*graph.parameters(), *graph.buffers()]
    # The copy's tensors have no storage, so that it is small and runs instantly.
    empty = copy.deepcopy(graph, {id(tensor): tensor.detach().to("meta") for tensor in tensors})
    seen = _Shapes(empty)
    try:
        with torch.no_grad():
            seen.run(torch.empty(_BATCH, 3, height, width, device="meta"))
    except (AssertionError, RuntimeError, ValueError):
        pass  # the network rejects a size that it does not take
    by_name = seen.shapes
    return {node: by_name[node.name] for node in graph.graph.nodes if node.name in by_name}


class _Shapes(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.extra_traceback = False
        self.shapes: dict[str, Shape] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and value.ndim >= 2 and value.shape[0] == _BATCH:
            self.shapes[n.name] = tuple(value.shape)
        return value


def channel_axes(graph: fx.GraphModule, crop: int, wanted: Collection[fx.Node]) -> dict[fx.Node, int]:
    """Return the channel axis of the wanted nodes whose outputs are vectors, maps or tokens.

    Positions are the axes that grow with the image, which a second, larger one shows. If the network takes only one
    size (ViT), or pools maps to a fixed size, the shapes for the square image decide: two equal axes are a map's
    positions. An axis is the positions of tokens if it has as many as an earlier map (or one more, for the class).
    Undecidable nodes are left out.
    """
    square = shapes(graph, crop, crop)
    if all(len(square.get(node, ())) == 2 for node in wanted):
        return dict.fromkeys(wanted, 1)
    larger = shapes(graph, crop + _TALLER, crop + _WIDER)
    axes: dict[fx.Node, int] = {}
    positions: set[int] = set()
    for node, shape in square.items():
        axis = _axis(shape, larger.get(node, shape), positions)
        if axis is not None:
            axes[node] = axis
            if len(shape) == 4:
                positions.add(_count(shape, axis))
    return {node: axes[node] for node in wanted if node in axes}


def _axis(shape: Shape, larger: Shape, positions: set[int]) -> int | None:
    if len(shape) == 2:
        return 1
    if len(shape) not in (3, 4) or len(shape) != len(larger):
        return None
    fixed = [axis for axis in range(1, len(shape)) if shape[axis] == larger[axis]]
    if len(fixed) == 1:
        return fixed[0]
    if len(fixed) < len(shape) - 1:
        return None
    if len(shape) == 4:
        _, first, second, third = shape
        return 1 if second == third else 3 if first == second else None
    tokens = [axis for axis in (1, 2) if shape[axis] in positions or shape[axis] - 1 in positions]
    return 3 - tokens[0] if len(tokens) == 1 else None


def _count(shape: Shape, axis: int) -> int:
    """Return the number of positions of a map of this shape."""
    count = 1
    for other in range(1, len(shape)):
        count *= shape[other] if other != axis else 1
    return count
