"""Transfer of a network as bytes, to machines that have neither its weights file nor a way to get it."""

from __future__ import annotations

import safetensors.torch
import torch

from lookalike_indexer.collection.spec import ModelSpec
from lookalike_indexer.errors import DataLossError
from lookalike_indexer.models.statefile import fitted
from lookalike_indexer.models.untrained import state_digest, untrained

_DIGEST = "digest"


def carried(module: torch.nn.Module) -> bytes:
    """Return the whole state of a network on the CPU, as a safetensors file with its digest."""
    # Copies, because safetensors rejects tensors that share memory.
    state = {name: value.detach().clone().contiguous() for name, value in module.state_dict().items()}
    return safetensors.torch.save(state, {_DIGEST: state_digest(module)})


def restored(spec: ModelSpec, data: bytes) -> torch.nn.Module:
    """Return the network from the bytes of `carried`, in eval mode, on the CPU. Raise DataLossError if it differs."""
    state = safetensors.torch.load(data)
    if spec.weights.kind == "untrained":
        module = untrained(spec.arch, int(spec.weights.name), spec.preprocessing.crop)
        module.load_state_dict(state)
    else:
        module, _ = fitted(spec.arch, state, "The network of this run")
    if state_digest(module).encode() not in data[: 8 + int.from_bytes(data[:8], "little")]:
        raise DataLossError(f"The network {spec.arch} did not arrive as it was sent; run the command again.")
    return module
