"""Network rewritten for gradients: no in-place operations, and a separate module for each ReLU.

captum hooks modules. Networks call ReLU as a function, use one ReLU module in several places, and overwrite values that
a hook has to keep. The traced graph can be changed in these respects without changing the network.
"""

from __future__ import annotations

import copy
import operator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from lookalike_indexer.models.channel_axis import channel_axes, shapes
from lookalike_indexer.models.nodes import TracedNetwork

_POOLING = (
    torch.nn.MaxPool2d,
    torch.nn.AvgPool2d,
    torch.nn.AdaptiveAvgPool2d,
    torch.nn.AdaptiveMaxPool2d,
)
_RELU_FUNCTIONS = (functional.relu, torch.relu, torch.relu_, functional.relu_)
_IN_PLACE: dict[Any, Any] = {operator.iadd: operator.add, operator.imul: operator.mul, operator.isub: operator.sub}


@dataclass(frozen=True)
class GradientGraph:
    """Maps normalized images (n, 3, crop, crop) to logits (n, classes), sharing the network's weights.

    `maps` is the module that outputs the last feature maps, None if the network has none that its classifier reads;
    `relus` is its number of ReLUs.
    """

    module: fx.GraphModule
    maps: torch.nn.Module | None
    relus: int


def gradient_graph(traced: TracedNetwork, crop: int) -> GradientGraph:
    """Rewrite a traced network; the network itself is unchanged."""
    last = last_maps(traced, crop)
    maps = torch.nn.Identity() if last is not None else None
    graph = fx.Graph()
    parts: dict[str, Any] = {}
    copied: dict[fx.Node, fx.Node] = {}
    for node in traced.graph.graph.nodes:
        if node.op == "output":
            break
        made = graph.node_copy(node, lambda old: copied[old])
        _leave_inputs(made)
        if node.op == "get_attr":
            parts[str(node.target)] = attrgetter(str(node.target))(traced.graph)
        elif node.op == "call_module":
            made.target = f"own_{made.name}"
            parts[made.target] = _separate_copy(_module(traced, node))
        elif _is_relu(node):
            graph.erase_node(made)
            made = graph.call_module(f"relu_{node.name}", (copied[node.args[0]],))
            parts[str(made.target)] = torch.nn.ReLU()
        if node is last:
            made = graph.call_module("last_maps", (made,))
            parts["last_maps"] = maps
        copied[node] = made
    graph.output(copied[traced.nodes[traced.logits]])
    module = fx.GraphModule(parts, graph).eval()
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return GradientGraph(module, maps, sum(isinstance(part, torch.nn.ReLU) for part in module.modules()))


def last_maps(traced: TracedNetwork, crop: int) -> fx.Node | None:
    """Return the last feature maps that the classifier depends on, before they are pooled.

    None for networks without such maps: those without convolutions, or with tokens after them (ViT), which mix
    positions.
    """
    known = shapes(traced.graph, crop, crop)
    leading = _ancestors(traced.nodes[traced.logits])
    nodes = [node for node in traced.graph.graph.nodes if node in leading and node in known]
    maps = [node for node in nodes if _is_map(known[node]) and not isinstance(_module(traced, node), _POOLING)]
    maps = [node for node, axis in channel_axes(traced.graph, crop, maps).items() if axis == 1]
    if not maps:
        return None
    after = nodes[nodes.index(maps[-1]) + 1 :]
    return None if any(len(known[node]) == 3 for node in after) else maps[-1]


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2] * shape[3] > 1


def _ancestors(node: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    open_nodes = [node]
    while open_nodes:
        for source in open_nodes.pop().all_input_nodes:
            if source not in found and source.op != "placeholder":
                found.add(source)
                open_nodes.append(source)
    return found


def _module(traced: TracedNetwork, node: fx.Node) -> torch.nn.Module | None:
    return traced.graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def _is_relu(node: fx.Node) -> bool:
    return (node.op == "call_function" and node.target in _RELU_FUNCTIONS) or (
        node.op == "call_method" and node.target in ("relu", "relu_")
    )


def _separate_copy(module: torch.nn.Module | None) -> torch.nn.Module | None:
    """Return a copy of one call's module with the same weights, and with separate activations that are not in place."""
    if module is None:
        return None
    tensors = [*module.parameters(), *module.buffers()]
    own = copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
    holder = torch.nn.ModuleDict({"part": own})
    for parent in list(holder.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, torch.nn.ReLU6):  # captum does not treat it as a ReLU
                setattr(parent, name, torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Hardtanh(0, 6)))
            elif getattr(part, "inplace", False):
                part.inplace = False  # type: ignore[assignment]
    return holder["part"]


def _leave_inputs(node: fx.Node) -> None:
    """Make a copied call of a function or method leave its inputs unchanged."""
    if node.op == "call_function":
        node.target = _IN_PLACE.get(node.target, node.target)
        if node.kwargs.get("inplace"):
            node.kwargs = {**node.kwargs, "inplace": False}
    elif node.op == "call_method" and str(node.target).endswith("_"):
        node.target = str(node.target).rstrip("_")
