"""The nodes of a network by name, and the one that its classifier reads."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from lookalike_indexer.errors import UsageError


@dataclass(frozen=True)
class TracedNetwork:
    """A network as a graph; `nodes` are its nodes by torchvision's names, in order of execution."""

    graph: fx.GraphModule
    nodes: dict[str, fx.Node]

    @property
    def logits(self) -> str:
        """The last node: what the classifier says."""
        return list(self.nodes)[-1]

    def resolve(self, name: str) -> str:
        """The node of that name, or the last node of the module of that name.

        UsageError names close ones. A network has hundreds: all of them are
        listed by torchvision's get_graph_node_names.
        """
        if name in self.nodes:
            return name
        inside = [node for node in self.nodes if node.startswith(f"{name}.")]
        if inside:
            return inside[-1]
        close = difflib.get_close_matches(name, self.nodes, n=3) or list(self.nodes)[-4:-1]
        raise UsageError(f"The model has no layer {name!r}; did you mean {', '.join(close)}?")

    def head_input(self) -> str:
        """The node that the classifier's last layer with weights reads, dropout skipped: the usual embedding."""
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


_HEADS = (torch.nn.Linear, torch.nn.Conv2d)


def trace(module: torch.nn.Module) -> TracedNetwork:
    """Trace a network in eval mode by torchvision's feature extraction; the network's parts are shared, not copied."""
    _, names = get_graph_node_names(module, suppress_diff_warning=True)
    unique = list(dict.fromkeys(names))
    extractor = create_feature_extractor(module, return_nodes=unique, suppress_diff_warning=True).eval()
    output = next(node for node in extractor.graph.nodes if node.op == "output")
    outputs: dict[str, Any] = output.args[0]
    return TracedNetwork(extractor, {name: outputs[name] for name in unique if isinstance(outputs[name], fx.Node)})
