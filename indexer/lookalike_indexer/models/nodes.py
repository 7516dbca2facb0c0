"""Nodes of a network by name, and the node that its classifier reads."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import fx
from torch.nn import Module
from torchvision.models.feature_extraction import NodePathTracer

from lookalike_indexer.errors import UsageError
from lookalike_indexer.models.timm_models import opaque_modules


@dataclass(frozen=True)
class TracedNetwork:
    """A network as a graph; `nodes` are its nodes by torchvision's names, in order of execution."""

    graph: fx.GraphModule
    nodes: dict[str, fx.Node]

    @property
    def logits(self) -> str:
        """The last node: the classifier's output."""
        return list(self.nodes)[-1]

    def resolve(self, name: str) -> str:
        """Return the node of that name, the last node of the module of that name, or the activation of a convolution.

        Networks that only number their layers (AlexNet, VGG, SqueezeNet) have no "conv5"; it then means the fifth
        executed convolution, with the ReLU if one follows directly, as in Caffe. UsageError suggests similar names. A
        network has hundreds of nodes; torchvision's get_graph_node_names lists them.
        """
        if name in self.nodes:
            return name
        inside = [node for node in self.nodes if node.startswith(f"{name}.")]
        if inside:
            return inside[-1]
        if _CONVOLUTION.fullmatch(name):
            return self._convolution(name)
        close = difflib.get_close_matches(name, self.nodes, n=3)
        last = ", ".join(list(self.nodes)[-4:-1])
        guess = f"did you mean {', '.join(close)}?" if close else f"its last ones are {last}."
        raise UsageError(f"The model has no layer {name!r}; {guess}")

    def _convolution(self, name: str) -> str:
        """Return the activations of the convolution with this number."""
        convolutions = [node for node, made in self.nodes.items() if isinstance(self._module(made), torch.nn.Conv2d)]
        number = int(name.removeprefix("conv"))
        if not 1 <= number <= len(convolutions):
            raise UsageError(
                f"The model has no layer {name!r}: it has {len(convolutions)} convolutions, from conv1 on."
            )
        found = convolutions[number - 1]
        users = list(self.nodes[found].users)
        after = next((node for node, made in self.nodes.items() if users[:1] == [made]), None)
        is_relu = after is not None and isinstance(self._module(self.nodes[after]), torch.nn.ReLU)
        return after if after is not None and is_relu else found

    def head_input(self) -> str:
        """Return the node that the last classifier layer with weights reads, skipping dropout: the usual embedding."""
        head = next((node for node in reversed(self.nodes.values()) if isinstance(self._module(node), _HEADS)), None)
        source = head.args[0] if head is not None else None
        while isinstance(source, fx.Node) and isinstance(self._module(source), torch.nn.Dropout):
            source = source.args[0]
        for name, node in self.nodes.items():
            if node is source:
                return name
        raise UsageError("The input of this model's classifier was not found; name a layer with --layer.")

    def _module(self, node: fx.Node) -> torch.nn.Module | None:
        return self.graph.get_submodule(str(node.target)) if node.op == "call_module" else None


_CONVOLUTION = re.compile(r"conv\d+")
_HEADS = (torch.nn.Linear, torch.nn.Conv2d)


def trace(module: torch.nn.Module) -> TracedNetwork:
    """Trace a network in eval mode; the names are those of torchvision's feature extraction in that mode.

    The network's parts are shared, not copied.
    """
    leaves = [obj for obj in vars(torchvision.ops).values() if isinstance(obj, type) and issubclass(obj, Module)]
    tracer = _Tracer(autowrap_modules=(math, torchvision.ops), leaf_modules=[*leaves, *opaque_modules()])
    graph = tracer.trace(module)
    nodes = {name: node for node, name in tracer.node_to_qualname.items()}
    return TracedNetwork(fx.GraphModule(tracer.root, graph).eval(), nodes)


class _Tracer(NodePathTracer):  # type: ignore[misc]
    """Names nodes as torchvision does, but finds the last node of a name in a table, without searching all nodes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._latest: dict[str, int] = {}

    def _get_node_qualname(self, module_qualname: str, node: fx.Node) -> str:
        inside = f"{module_qualname}." if module_qualname else ""
        name = module_qualname if node.op == "call_module" else f"{inside}{node}"
        base = _NUMBERED.fullmatch(name)
        if base is not None:
            name = base[1]
        before = self._latest.get(name)
        if before is not None:
            name = f"{name}_{before + 1}"
        numbered = _NUMBERED.fullmatch(name)
        self._latest[name] = 0
        if numbered is not None:
            self._latest[numbered[1]] = int(numbered[2])
        return name


_NUMBERED = re.compile(r"(.+)_([0-9]+)")
