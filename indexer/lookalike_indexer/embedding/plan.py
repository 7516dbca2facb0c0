"""Plan of a model and its spaces, decided once and shared by every process of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from lookalike_indexer.collection.spec import ModelSpec, SpaceSpec, WeightsSpec, digest_of
from lookalike_indexer.embedding.settings import Decode, Dtype
from lookalike_indexer.errors import MismatchError
from lookalike_indexer.models.compute import Compute
from lookalike_indexer.models.network import Network, Node
from lookalike_indexer.models.nodes import trace
from lookalike_indexer.models.untrained import restore, state_digest, untrained
from lookalike_indexer.models.weights import WeightsRequest, load_pretrained


@dataclass(frozen=True)
class SpacePlan:
    """A space to fill: its name, node (by its full name), dimension, stored type and fingerprint."""

    name: str
    node: Node
    dim: int
    dtype: Dtype
    fingerprint: str


@dataclass(frozen=True)
class ModelPlan:
    """A model in the form that every process of a run loads.

    `alias` is its name in the collection, `statistics` the local path of its batch-norm statistics ("" if it needs
    none). `decode` is where JPEGs are decoded, `compiled` whether the network is compiled for its device. `class_names`
    has a name for each class.
    """

    alias: str
    spec: ModelSpec
    statistics: str
    spaces: tuple[SpacePlan, ...]
    compute: Compute
    batch_size: int
    decode: Decode = "cpu"
    compiled: bool = False
    class_names: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        return model_identity(self.spec)

    @property
    def arithmetic(self) -> str:
        """The factors that determine rounding, with the number type last, as recorded in the manifest."""
        words = [("nvjpeg", self.decode == "gpu"), ("compiled", self.compiled), (self.compute, True)]
        return " ".join(word for word, applies in words if applies)

    @property
    def nodes(self) -> list[Node]:
        return [space.node for space in self.spaces]


def model_identity(spec: ModelSpec) -> str:
    """Return the digest of a model's identity, independent of the location of its weights."""
    return digest_of(SpaceSpec(spec, "", "avg").fingerprint)


def load_module(spec: ModelSpec, statistics: str, weights_file: str | None = None) -> torch.nn.Module:
    """Return the network of a spec, in eval mode, on the CPU.

    `weights_file` overrides the location of weights of kind "file" or "imagenet". Raise WeightsError if they are not
    available. Raise MismatchError if they differ from those of the spec.
    """
    weights = spec.weights
    if weights.kind == "untrained":
        module = untrained(spec.arch, int(weights.name), spec.preprocessing.crop)
        if statistics:
            restore(module, Path(statistics).read_bytes(), statistics)
        loaded = WeightsSpec(weights.kind, weights.name, state_digest(module))
    elif weights_file is not None:
        module, _, loaded = load_pretrained(spec.arch, WeightsRequest("file", str(Path(weights_file).absolute())))
    else:
        module, _, loaded = load_pretrained(spec.arch, WeightsRequest(weights.kind, weights.name))
    if loaded.digest != weights.digest:
        raise MismatchError(
            f"The weights {loaded} of {spec.arch} have the digest {loaded.digest[:16]}, but the collection was made "
            f"with {weights} of digest {weights.digest[:16]}; give the file that it was made with."
        )
    return module


def load_network(plan: ModelPlan, device: str) -> Network:
    """Return the plan's network on a device, from its weights on this machine."""
    return network_of(plan, load_module(plan.spec, plan.statistics), device)


def network_of(plan: ModelPlan, module: torch.nn.Module, device: str) -> Network:
    """Return the plan's network on a device, from a module in eval mode on the CPU."""
    fixed = plan.batch_size if plan.compiled else None
    return Network(trace(module), plan.nodes, plan.spec.preprocessing, device, plan.compute, fixed)
